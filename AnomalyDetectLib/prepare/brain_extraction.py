"""Brain extraction: the head network reads mask, tissue and template coordinates off a scan of any
contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import fill_voids
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare.head_network import (
    COORDINATE_SCALE_MM,
    HEAD_SPACING,
    HeadNetwork,
    enlarge,
    scale_head,
)
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid, Volume, dice, resample

LARGEST_FIELD_MM = (224.0, 288.0, 288.0)
SMALLEST_BRAIN_ML = 500.0
STRIPPED_BACKGROUND = 0.4
STRIPPED_AGREEMENT = 0.8
STRIPPED_CONTRAST = 0.02
LEVELS = 2000


@dataclass(frozen=True)
class HeadReading:
    """What the network says of a head, on a 2-mm RAS `grid`.

    image: float32 (X,Y,Z), scan units. brain: bool. tissue: float32 (3,X,Y,Z), probability of fluid, grey and
    white matter. coordinates: float32 (3,X,Y,Z), template RAS mm. stripped: the scan had no skull, its own
    outline was kept.
    """

    grid: Grid
    image: FloatArray
    brain: BoolArray
    tissue: FloatArray
    coordinates: FloatArray
    stripped: bool

    @property
    def brain_ml(self) -> float:
        """Volume of the mask in ml."""
        return float(self.brain.sum()) * self.grid.voxel_mm3 / 1000


def head_grid(volume: Volume, multiple: int) -> Grid:
    """A 2-mm RAS lattice over the scan's field of view, its sides multiples of `multiple`.

    A field of view beyond 224 x 288 x 288 mm is cut around the brightest part of the head's upper half.
    """
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(volume.array.shape) - 1
    world = (corners @ volume.affine.T)[:, :3]
    low, high = world.min(0), world.max(0)
    limit = np.array(LARGEST_FIELD_MM)
    if np.any(high - low > limit):
        coarse = volume.array[::4, ::4, ::4]
        bright = np.argwhere(coarse > coarse.mean())
        points = bright * 4.0 @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        top = np.percentile(points[:, 2], 99)
        centre = np.median(points[points[:, 2] > top - 180], 0)
        centre[2] = max(low[2] + limit[2] / 2, min(centre[2], high[2] - limit[2] / 2))
        low, high = np.maximum(low, centre - limit / 2), np.minimum(high, centre + limit / 2)
    count = np.ceil((high - low) / HEAD_SPACING + 1).astype(int)
    shape = np.ceil(count / multiple).astype(int) * multiple
    affine = np.diag([HEAD_SPACING] * 3 + [1.0])
    affine[:3, 3] = (low + high) / 2 - (shape - 1) * HEAD_SPACING / 2
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def read_head(volume: Volume, network: HeadNetwork) -> HeadReading:
    """Find the brain of a scan of any contrast, orientation and resolution.

    Raises `PreparationError` when nothing of a brain's size is found.
    """
    grid = head_grid(volume, network.multiple)
    image = resample(volume.array, volume.grid, grid)
    with torch.inference_mode():
        out = network.predict(scale_head(torch.from_numpy(image))[None, None])
        tissue = torch.softmax(out.tissue[0], 0).numpy()
        coordinates = (enlarge(out.coordinates, grid.shape)[0] * COORDINATE_SCALE_MM).numpy()
        found = (out.mask[0, 0] > 0).numpy()
    brain = one_piece(found)
    outline = stripped_outline(image)
    stripped = outline is not None and dice(brain, outline) >= STRIPPED_AGREEMENT and brain.sum() > 0
    if stripped and outline is not None:
        brain = outline
    reading = HeadReading(grid, image, brain, tissue, coordinates, stripped)
    if reading.brain_ml < SMALLEST_BRAIN_ML:
        raise PreparationError(
            f"{volume.name}: no brain found ({reading.brain_ml:.0f} ml look like one); "
            "check that the scan shows a whole head, or give --brain-mask"
        )
    return reading


def stripped_outline(image: FloatArray) -> BoolArray | None:
    """The foreground (X,Y,Z) of a scan whose background is one constant value, as after skull stripping;
    else None.
    """
    # rounded, because resampling leaves a trace of ringing on a constant background
    step = max(float(np.ptp(image)) / LEVELS, 1e-9)
    levels, counts = np.unique(np.round(image / step), return_counts=True)
    if counts.max() < STRIPPED_BACKGROUND * image.size:
        return None
    background = float(levels[int(np.argmax(counts))]) * step
    return one_piece(np.abs(image - background) > STRIPPED_CONTRAST * float(np.ptp(image)))


def one_piece(mask: NDArray[np.bool_]) -> BoolArray:
    """The largest component after cutting thin bridges, holes filled."""
    core = ndimage.binary_erosion(mask, iterations=2)
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros_like(mask)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    grown = ndimage.binary_dilation(labels == largest, iterations=3) & mask
    return np.asarray(fill_voids.fill(grown), dtype=bool)
