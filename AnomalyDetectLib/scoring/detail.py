"""Detail: the healthy version keeps the scan's own fine structure wherever the scan is normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, Volume

NORMAL_Z, ABNORMAL_Z = 5.0, 10.0  # healthy scans have a thousandth of their voxels beyond the first
MARGIN = 3


@dataclass(frozen=True)
class BrainBox:
    """The part of the scan's grid that holds the brain: maps are computed there and are trivial elsewhere."""

    slices: tuple[slice, slice, slice]
    grid: Grid
    full: Grid

    def expand(self, array: FloatArray, background: FloatArray | None = None) -> FloatArray:
        """The box's values in an array of the whole scan (i,j,k), `background` or 0 around it."""
        whole = np.zeros(self.full.shape, np.float32) if background is None else background.copy()
        whole[self.slices] = array
        return whole


def brain_box(brain: BoolArray, full: Grid) -> BrainBox:
    """The bounding box of the brain with a margin of a few voxels."""
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(brain.any(axis=others))
        low, high = (int(hit[0]), int(hit[-1])) if len(hit) else (0, brain.shape[axis] - 1)
        slices.append(slice(max(0, low - MARGIN), min(brain.shape[axis], high + MARGIN + 1)))
    shape = tuple(s.stop - s.start for s in slices)
    affine: Affine = full.affine.copy()
    affine[:3, 3] = full.affine[:3, :3] @ np.array([s.start for s in slices], float) + full.affine[:3, 3]
    return BrainBox((slices[0], slices[1], slices[2]), Grid((shape[0], shape[1], shape[2]), affine), full)


def abnormality(z: FloatArray) -> FloatArray:
    """0 where |z| is ordinary, 1 where it is not, a ramp between."""
    ramp = (np.abs(z) - NORMAL_Z) / (ABNORMAL_Z - NORMAL_Z)
    return np.clip(ramp, 0, 1).astype(np.float32)


def healthy_version(
    volume: Volume, prepared: Prepared, residual: FloatArray, z: FloatArray, box: BrainBox
) -> FloatArray:
    """The healthy scan (i,j,k) in scan units: the scan minus its residual, without its own detail where it
    is abnormal.

    residual: working units (X,Y,Z). detail = scan minus the scan as the 2-mm working grid carries it.
    """
    way = prepared.to_input.on(box.grid)
    scan = volume.array[box.slices]
    brain = prepared.input_brain[box.slices]
    working = prepared.tensor[0, 0].numpy()
    carried = prepared.in_scanner_units(working)
    correction = way.to_input(carried - prepared.in_scanner_units(working - residual))
    detail = scan - way.to_input(carried)
    unusual = way.to_input(abnormality(z))
    healthy = np.where(brain, scan - correction - unusual * detail, scan)
    return box.expand(
        np.maximum(healthy, min(0.0, float(scan.min()))).astype(np.float32), background=volume.array
    )
