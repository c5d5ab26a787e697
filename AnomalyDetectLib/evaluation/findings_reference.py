"""The plain chain from maps and settings to a labelmap: numpy and scipy, one line a stage, nothing clever.

What `findings.engine` must give, voxel for voxel; the tests and the benchmark hold the engine to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.findings import FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import BoolArray, FloatArray

Spacing = tuple[float, float, float]

EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class ReferenceFindings:
    """labelmap: int32 (i,j,k), ids by descending volume. signs: of each id. n_uncertain: above the limit."""

    labelmap: NDArray[np.int32]
    signs: tuple[str, ...]
    n_uncertain: int


def within(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Voxels (i,j,k) whose centre lies within the radius of a voxel of the mask."""
    if not mask.any():
        return mask
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing)
    near: BoolArray = distance <= radius_mm * (1 + 1e-6)
    return near


def dilated(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Dilation with the ball of the radius."""
    return within(mask, radius_mm, spacing) if radius_mm > 0 else mask


def eroded(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Erosion with the ball of the radius."""
    return ~within(~mask, radius_mm, spacing) if radius_mm > 0 else mask


def mask_of_sign(z: FloatArray, settings: FindingsSettings) -> BoolArray:
    """Threshold or hysteresis of a score (i,j,k) whose sign of interest is positive."""
    strong: BoolArray = np.asarray(z >= np.float32(settings.threshold))
    if settings.hysteresis is None:
        return strong
    labels, _ = ndimage.label(z >= np.float32(settings.hysteresis), EVERY_NEIGHBOUR)
    return np.asarray(np.isin(labels, np.unique(labels[strong])))


def shaped(mask: BoolArray, brain: BoolArray, spacing: Spacing, settings: FindingsSettings) -> BoolArray:
    """Fill, opening, closing, growing; all arrays padded so that nothing is cut at the edge of the scan."""
    if settings.fill_holes:
        mask = ndimage.binary_fill_holes(mask) & brain
    mask = dilated(eroded(mask, settings.open_mm, spacing), settings.open_mm, spacing)
    mask = eroded(dilated(mask, settings.close_mm, spacing), settings.close_mm, spacing) & brain
    if settings.grow_mm > 0:
        return dilated(mask, settings.grow_mm, spacing) & brain
    return eroded(mask, -settings.grow_mm, spacing)


def reference_findings(maps: AnomalyMaps, settings: FindingsSettings) -> ReferenceFindings:
    """What `FindingsEngine(maps).at(settings)` must give."""
    spacing = maps.grid.spacing
    reach = max(settings.open_mm, settings.close_mm, abs(settings.grow_mm))
    margin = [(int(reach / size) + 2,) * 2 for size in spacing]
    brain = np.pad(maps.brain, margin)
    score = np.where(brain, np.pad(np.nan_to_num(maps.score), margin), np.float32(0))
    uncertainty = np.pad(maps.uncertainty, margin)
    bright = shaped(mask_of_sign(score, settings), brain, spacing, settings) & (settings.sign != "dark")
    dark = shaped(mask_of_sign(-score, settings), brain, spacing, settings) & (settings.sign != "bright")
    both = bright & dark
    bright, dark = bright & ~(both & (score < 0)), dark & ~(both & (score >= 0))

    found = []
    n_uncertain = 0
    for sign, mask in (("bright", bright), ("dark", dark)):
        labels, n = ndimage.label(mask, EVERY_NEIGHBOUR)
        for label, box in enumerate(ndimage.find_objects(labels, n), start=1):
            component = labels[box] == label
            count = int(component.sum())
            if count < settings.min_volume_mm3 / maps.grid.voxel_mm3 - 1e-6:
                continue
            mean = float(uncertainty[box][component].astype(float).mean())
            if settings.max_uncertainty is not None and mean > settings.max_uncertainty:
                n_uncertain += 1
                if settings.hide_uncertain:
                    continue
            voxels = np.argwhere(component) + [side.start for side in box]
            found.append((-count, tuple(voxels[0]), sign, voxels))
    found.sort(key=lambda item: item[:2])

    labelmap = np.zeros(brain.shape, dtype=np.int32)
    for identity, (_, _, _, voxels) in enumerate(found, start=1):
        labelmap[tuple(voxels.T)] = identity
    inner = tuple(slice(low, -high) for low, high in margin)
    return ReferenceFindings(labelmap[inner], tuple(item[2] for item in found), n_uncertain)
