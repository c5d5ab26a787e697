"""CT: Hounsfield units or an 8-bit picture to one brain window, the skull out of the mask, the brain's median
to its usual place.

The head network, trained on heads of random contrasts, finds the brain and its place in CT, too, but its mask
spills into the skull, which is as dark in most MR contrasts as it is bright here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare.brain_extraction import HeadReading, one_piece
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, Volume, resample, resample_mask

CT = "CT"
AIR_HU, BONE_HU = -500.0, 300.0  # of values nobody has named: one in a hundred below, one in 200 above
HOUNSFIELD_REACHES = -200.0  # no picture of 8 bits has such values
WINDOW_HU, WHITE = 80.0, 255.0  # the brain window, from 0 HU, and its brightest grey
ROUNDING = 25.0  # greys by which a picture that was resampled may overshoot
BONE = 245.0  # grey, 77 HU: fresh blood seldom gets there
RIM_MM = 1.5  # bone's partial volume
SKULL_ML = 50.0  # less isn't one: the scan came without
USUAL_MEDIAN = (60.0, 180.0)  # grey of the brain; 0-80 HU gives 107-127 in the training scans
MEDIAN = 0.9  # working units of the brain's median, as in T1


@dataclass(frozen=True)
class BrainWindow:
    """The scan in greys, 0-255 for 0-80 HU. unit: scan units of one grey."""

    volume: Volume
    unit: float


def is_hounsfield(array: FloatArray) -> bool:
    """Whether values (i,j,k) look like Hounsfield units of a head: much air, some bone."""
    low, high = np.percentile(array[::2, ::2, ::2], (1, 99.5))
    return bool(low < AIR_HU and high > BONE_HU)


def is_ct(volume: Volume) -> bool:
    """Whether a scan goes the way of CT: it was given as such, or nobody said and its values look so."""
    return volume.modality == CT or (volume.modality is None and is_hounsfield(volume.array))


def windowed(volume: Volume) -> BrainWindow:
    """The brain window: Hounsfield units are clipped to 0-80 HU, an 8-bit brain window is taken as it is.

    Raises `PreparationError` for values that are neither.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    if low < HOUNSFIELD_REACHES:
        grey = np.clip(volume.array * np.float32(WHITE / WINDOW_HU), 0, WHITE)
        return BrainWindow(volume.with_array(grey), WINDOW_HU / WHITE)
    if low < -ROUNDING or high > WHITE + ROUNDING:
        raise PreparationError(
            f"{volume.name}: CT values from {low:.0f} to {high:.0f} are neither Hounsfield units (air near "
            "-1000) nor an 8-bit brain window (0 to 255); export Hounsfield units"
        )
    return BrainWindow(volume.with_array(np.clip(volume.array, 0, WHITE)), 1.0)


def without_skull(reading: HeadReading, window: BrainWindow) -> tuple[HeadReading, BoolArray]:
    """The reading with the skull cut out of its mask, and the brain on the scan's own grid (i,j,k).

    The skull is the largest piece of saturated voxels, wider by `RIM_MM`; calcifications are pieces of their
    own and stay. A scan that was stripped keeps its mask. Raises `PreparationError` for a whole head without
    a skull.
    """
    grid = window.volume.grid
    spilled = resample_mask(reading.brain, reading.grid, grid)
    skull = _skull(window.volume)
    if skull is None:
        if not reading.stripped:
            raise PreparationError(
                f"{window.volume.name}: nothing in it is as bright and large as a skull; it was given as CT: "
                "check that, or give another modality"
            )
        return reading, spilled
    inner = spilled & ~skull
    brain = one_piece(resample_mask(inner, grid, reading.grid))
    return replace(reading, brain=brain, stripped=False), inner & resample_mask(brain, reading.grid, grid)


def _skull(volume: Volume) -> BoolArray | None:
    saturated = sitk.GetImageFromArray((volume.array >= BONE).astype(np.uint8))
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(saturated))
    largest = pieces == 1
    if sitk.GetArrayViewFromImage(largest).sum() * volume.grid.voxel_mm3 < 1000 * SKULL_ML:
        return None
    radius = [int(RIM_MM / side + 0.5) for side in reversed(volume.grid.spacing)]
    return np.asarray(sitk.GetArrayFromImage(sitk.BinaryDilate(largest, radius)), dtype=bool)


def carried(
    window: BrainWindow, brain: BoolArray, target: Grid, back: Affine
) -> tuple[FloatArray, BoolArray]:
    """Greys and brain at the voxels of `target`, mixed from voxels of the brain (i,j,k) alone: none of bone.

    back: 4x4, RAS mm of the target's space to the scan's.
    """
    grid = window.volume.grid
    total = resample(window.volume.array * brain, grid, target, source_from_target=back)
    share = resample(brain.astype(np.float32), grid, target, source_from_target=back)
    return np.asarray(total / np.maximum(share, 0.5), dtype=np.float32), share > 0.5


def scaled(image: FloatArray, brain: BoolArray, name: str) -> tuple[FloatArray, float]:
    """Greys (X,Y,Z) in working units, 0 outside the brain, and the greys of one unit.

    Raises `PreparationError` when the brain isn't as bright as a brain window shows it.
    """
    median = float(np.median(image[brain])) if brain.any() else 0.0
    low, high = USUAL_MEDIAN
    if not low <= median <= high:
        raise PreparationError(
            f"{name}: the brain's median is {median:.0f} of 255, {low:.0f} to {high:.0f} expected: not a "
            "brain window of about 0-80 HU; export Hounsfield units, or another window"
        )
    scale = median / MEDIAN
    return np.where(brain, image / scale, 0).astype(np.float32), scale
