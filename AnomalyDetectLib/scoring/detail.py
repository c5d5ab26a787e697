"""Detail: what the 2-mm working grid can't carry. The healthy version keeps it wherever the scan is normal;
where it is unusual, it sharpens the score, so that small lesions and borders are seen at the scan's own
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AnomalyDetectLib.prepare.prepared import Prepared, WayBack
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, Volume, resample

NORMAL_Z, ABNORMAL_Z = 5.0, 10.0  # healthy scans have a thousandth of their voxels beyond the first
FULL_DETAIL_Z = 2.0  # half of healthy voxels are far below: there, detail is noise and anatomy
DETAIL_WEIGHT = 0.8  # what one local SD is to the fused z of healthy scans, about
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


def fine_structure(scan: FloatArray, prepared: Prepared, way: WayBack) -> FloatArray:
    """A scan minus the scan as the 2-mm working grid carries it, scan units. scan, result: on `way.input`."""
    return scan - way.to_input(prepared.in_scanner_units(prepared.tensor[0, 0].numpy()))


def sharpened(
    z: FloatArray, fine: FloatArray, prepared: Prepared, expected_sd: FloatArray | None, way: WayBack
) -> FloatArray:
    """z with the scan's fine structure in units of the local SD, in full where |z| is unusual already.

    z, fine: on `way.input`; fine: as `fine_structure`. expected_sd: working units (X,Y,Z), how far healthy
    voxels stray from the anatomy in the scan's own colours; None, of a model that paints none: z as it is.
    """
    if expected_sd is None:
        return z
    image = prepared.tensor[0, 0].numpy()
    unit = prepared.in_scanner_units(image + expected_sd) - prepared.in_scanner_units(image)
    in_sd = fine / np.maximum(way.to_input(unit), 1e-3 * prepared.scale)
    unusual = np.minimum(np.abs(z) / FULL_DETAIL_Z, 1)
    return np.asarray(z + DETAIL_WEIGHT * unusual * in_sd, dtype=np.float32)


def sharpened_on(
    way: WayBack,
    z: FloatArray,
    volume: Volume,
    prepared: Prepared,
    expected_sd: FloatArray | None,
    scan_from_target: Affine,
) -> FloatArray:
    """z (X,Y,Z) on `way.input`, another lattice than the scan's, sharpened by the scan as it lies there.

    volume, prepared, expected_sd: of the scan. scan_from_target: 4x4, RAS mm of the lattice to RAS mm of the
    scan.
    """
    scan = resample(volume.array, volume.grid, way.input, source_from_target=scan_from_target)
    return sharpened(way.to_input(z), fine_structure(scan, prepared, way), prepared, expected_sd, way)


def healthy_version(
    volume: Volume, prepared: Prepared, residual: FloatArray, z: FloatArray, fine: FloatArray, box: BrainBox
) -> FloatArray:
    """The healthy scan (i,j,k) in scan units: the scan minus its residual, without its own detail where it
    is abnormal.

    residual: working units (X,Y,Z). fine: `fine_structure` in the box.
    """
    way = prepared.to_input.on(box.grid)
    scan = volume.array[box.slices]
    brain = prepared.input_brain[box.slices]
    working = prepared.tensor[0, 0].numpy()
    carried = prepared.in_scanner_units(working)
    correction = way.to_input(carried - prepared.in_scanner_units(working - residual))
    unusual = way.to_input(abnormality(z))
    healthy = np.where(brain, scan - correction - unusual * fine, scan)
    return box.expand(
        np.maximum(healthy, min(0.0, float(scan.min()))).astype(np.float32), background=volume.array
    )
