"""Patch ranking: whether the most unusual patches of a volume lie in its lesions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from AnomalyDetectLib.evaluation.overlap import HIT_SHARE
from AnomalyDetectLib.evaluation.zoo_cases import ZooCase
from AnomalyDetectLib.models.patches import COVER
from AnomalyDetectLib.models.slices import SIZE, to_slices
from AnomalyDetectLib.models.style_inversion import PATCH
from AnomalyDetectLib.volume import BoolArray, FloatArray

COUNT = 10

Patches = NDArray[np.float32]  # (Z,h,w): squares of 8 pixels, half overlapping, of every axial slice


def patch_means(volume: FloatArray | BoolArray, size: int = SIZE) -> Patches:
    """Mean of (X,Y,Z) in every patch of its axial slices, which have `size`² pixels with the air around."""
    slices = to_slices(torch.from_numpy(np.asarray(volume, dtype=np.float32)), size)
    return np.asarray(functional.avg_pool2d(slices, PATCH, PATCH // 2)[:, 0].numpy())


def patches_of_map(score: FloatArray, brain: BoolArray) -> Patches:
    """Mean of a map (X,Y,Z) over the brain in every patch."""
    return np.asarray(patch_means(np.where(brain, score, 0)) / np.maximum(patch_means(brain), 1e-6))


def measured_patches(case: ZooCase, size: int) -> BoolArray:
    """Which patches (Z,h,w) of the measured slices show brain in at least half of their pixels."""
    enough = patch_means(case.prepared.brain, size) >= COVER
    measured = np.zeros(len(enough), bool)
    measured[list(case.slices)] = True
    return enough & measured[:, None, None]


def precision_at_top(score: Patches, case: ZooCase, count: int = COUNT) -> float:
    """Share of the `count` highest patches of the volume of which a lesion covers at least a tenth.

    Of a lesion that touches fewer patches only so many are asked for, so that 1 can be reached. NaN without a
    drawn lesion in a measured patch.
    """
    if case.lesion is None:
        return float("nan")
    size = _size_of(score)
    among = measured_patches(case, size)
    hit = patch_means(case.lesion & case.prepared.brain, size)[among] >= HIT_SHARE
    asked = min(count, int(hit.sum()))
    if asked == 0:
        return float("nan")
    return float(hit[np.argsort(-score[among], kind="stable")[:asked]].mean())


def highest_patches(score: Patches, case: ZooCase) -> NDArray[np.float64]:
    """The highest patch of each measured slice (N,), 0 where no patch shows enough brain."""
    among = measured_patches(case, _size_of(score))
    inside = np.where(among, score, -np.inf)[list(case.slices)].max((1, 2))
    return np.where(np.isfinite(inside), inside, 0).astype(np.float64)


def _size_of(score: Patches) -> int:
    """Pixels of the slices that patches (Z,h,w) were cut from."""
    return int(PATCH + (score.shape[1] - 1) * PATCH // 2)
