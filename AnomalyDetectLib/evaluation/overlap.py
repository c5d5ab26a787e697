"""Which true lesions the findings cover, and which findings touch none."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.volume import BoolArray

HIT_SHARE = 0.1  # of a lesion's voxels: what a finding has to cover for the lesion to count as found


def lesion_labels(truth: BoolArray) -> NDArray[np.int32]:
    """A drawn mask's lesions, numbered from 1: voxels that touch at a side, an edge or a corner."""
    return np.asarray(cc3d.connected_components(truth, connectivity=26), dtype=np.int32)


def lesion_cover(labelmap: NDArray[np.integer], truth: NDArray[np.integer]) -> dict[int, float]:
    """Share of each lesion's voxels (label of `truth`) that findings cover."""
    labels = np.unique(truth[truth > 0])
    if len(labels) == 0:
        return {}
    covered = ndimage.mean((labelmap > 0).astype(np.float32), truth, labels)
    return {int(label): float(share) for label, share in zip(labels, covered, strict=True)}


def false_findings(labelmap: NDArray[np.integer], truth: NDArray[np.integer], margin: int = 2) -> int:
    """Number of findings that touch no lesion, nor its rim of `margin` voxels."""
    near = ndimage.binary_dilation(truth > 0, iterations=margin)
    return len(np.setdiff1d(labelmap[labelmap > 0], labelmap[near]))
