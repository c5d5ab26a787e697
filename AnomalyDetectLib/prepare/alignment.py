"""Alignment: an affine map to the template from the coordinates that the head network predicts in every
voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.prepare.brain_extraction import HeadReading
from AnomalyDetectLib.volume import Affine, BoolArray, Grid, resample

POINTS = 20_000
ROUNDS = 6
PLAUSIBLE_SCALE = (0.65, 1.55)
WORST_OVERLAP = 0.85
WORST_SPREAD_MM = 15.0


@dataclass(frozen=True)
class Alignment:
    """template_from_input: 4x4, RAS mm to template RAS mm. overlap: Dice of the mapped brain with the
    template's.

    spread_mm: median distance between predicted and fitted coordinates. trusted: whether the numbers allow to
    go on;
    problem: what speaks against it.
    """

    template_from_input: Affine
    overlap: float
    spread_mm: float
    problem: str | None

    @property
    def trusted(self) -> bool:
        """No problem was found."""
        return self.problem is None


def align(reading: HeadReading, template_brain: BoolArray, template_grid: Grid) -> Alignment:
    """Robust least-squares affine from the voxels' own coordinates to the predicted ones, inside the brain.

    Iteratively reweighted with Geman-McClure weights, so that a lesion's voxels, whose coordinates are wrong,
    don't count.
    """
    voxels = np.argwhere(reading.brain)
    voxels = voxels[:: max(1, len(voxels) // POINTS)]
    here = voxels @ reading.grid.affine[:3, :3].T + reading.grid.affine[:3, 3]
    there = reading.coordinates[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T.astype(np.float64)
    affine, spread = _fit(here, there)
    moved = resample(
        reading.brain.astype(np.float32),
        reading.grid,
        template_grid,
        source_from_target=np.linalg.inv(affine),
    )
    inside = moved > 0.5
    overlap = float(2 * (inside & template_brain).sum() / max(1, inside.sum() + template_brain.sum()))
    return Alignment(affine, overlap, spread, _problem(affine, overlap, spread))


def _fit(here: NDArray[np.float64], there: NDArray[np.float64]) -> tuple[Affine, float]:
    """The affine map and the median distance in mm that it leaves."""
    centre = here.mean(0)
    design = np.c_[here - centre, np.ones(len(here))]
    weight = np.ones(len(here))
    solution = np.zeros((4, 3))
    distance = np.zeros(len(here))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        solution, *_ = np.linalg.lstsq(design * root, there * root, rcond=None)
        distance = np.linalg.norm(design @ solution - there, axis=1)
        scale = max(1.0, 1.5 * float(np.median(distance)))
        weight = 1 / (1 + (distance / scale) ** 2) ** 2
    affine = np.eye(4)
    affine[:3, :3] = solution[:3].T
    affine[:3, 3] = solution[3] - solution[:3].T @ centre
    return affine, float(np.median(distance))


def _problem(affine: Affine, overlap: float, spread: float) -> str | None:
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    low, high = PLAUSIBLE_SCALE
    if np.linalg.det(affine[:3, :3]) <= 0 or stretch.min() < low or stretch.max() > high:
        return f"the head would have to be stretched {stretch.min():.2f} to {stretch.max():.2f} times to fit the template"
    if overlap < WORST_OVERLAP:
        return f"the aligned brain covers the template's only with Dice {overlap:.2f} (at least {WORST_OVERLAP} is needed)"
    if spread > WORST_SPREAD_MM:
        return f"the anatomy is {spread:.0f} mm away from where the template has it (at most {WORST_SPREAD_MM:.0f} mm)"
    return None
