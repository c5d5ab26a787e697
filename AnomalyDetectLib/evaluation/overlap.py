"""Which true lesions the findings cover, and which findings touch none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.volume import BoolArray

RIM = 2  # voxels around a lesion that a finding may lie in
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


def false_findings(labelmap: NDArray[np.integer], truth: NDArray[np.integer]) -> int:
    """Number of findings that touch no lesion, nor its `RIM`."""
    near = ndimage.binary_dilation(truth > 0, iterations=RIM)
    return len(np.setdiff1d(labelmap[labelmap > 0], labelmap[near]))


@dataclass(frozen=True)
class Step:
    """What one threshold gives. found: of each lesion, in the order of their labels. false_findings: how
    many.
    """

    threshold: float
    found: tuple[bool, ...]
    false_findings: int


@dataclass(frozen=True)
class Sweep:
    """A scan's lesions, to be compared with the findings of many thresholds.

    labels, near: of the scan's voxels, flat; which lesion, and whether a lesion or its rim is there. sizes:
    voxels by label.
    """

    labels: NDArray[np.integer]
    near: BoolArray
    sizes: NDArray[np.int64]

    @classmethod
    def over(cls, truth: NDArray[np.integer]) -> Sweep:
        """truth: labels (i,j,k)."""
        near = ndimage.binary_dilation(truth > 0, iterations=RIM)
        return cls(truth.ravel(), near.ravel(), np.bincount(truth.ravel()))

    def steps(
        self, engine: FindingsEngine, settings: FindingsSettings, thresholds: Sequence[float]
    ) -> tuple[Step, ...]:
        """What findings of these settings at each threshold find and see falsely, as `lesion_cover` and
        `false_findings` tell it.
        """
        return tuple(self.step(engine, settings.changed(threshold=one)) for one in thresholds)

    def step(self, engine: FindingsEngine, settings: FindingsSettings) -> Step:
        """What the findings of these very settings find and see falsely."""
        findings = engine.at(settings)
        covered = np.bincount(self.labels[findings.voxels], minlength=len(self.sizes))
        labels = np.flatnonzero(self.sizes[1:]) + 1
        touching = np.unique(findings.ranks[self.near[findings.voxels]])
        return Step(
            settings.threshold,
            tuple((covered[labels] >= HIT_SHARE * self.sizes[labels]).tolist()),
            len(findings.ids) - len(touching),
        )
