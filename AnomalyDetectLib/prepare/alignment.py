"""Alignment: an affine map to the template from the coordinates that the head network predicts in every
voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from AnomalyDetectLib.prepare.brain_extraction import HeadReading
from AnomalyDetectLib.prepare.template import Template
from AnomalyDetectLib.volume import Affine, dice, resample_mask

POINTS = 20_000
ROUNDS = 6
RADIUS_MM = 80.0
STEP_MM = 1.0
REFINING_STEPS = 60
SHRINKAGE = 0.02
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


def align(reading: HeadReading, template: Template) -> Alignment:
    """Affine map to the template: from the predicted coordinates, then refined on the predicted tissue.

    The first is a robust least-squares fit inside the brain, iteratively reweighted with Geman-McClure
    weights, so that a lesion's voxels, whose coordinates are wrong, don't count. The second moves the tissue
    probabilities onto the template's; it looks at probabilities, not intensities, so it is the same for
    every contrast.
    """
    voxels = np.argwhere(reading.brain)
    voxels = voxels[:: max(1, len(voxels) // POINTS)]
    here = voxels @ reading.grid.affine[:3, :3].T + reading.grid.affine[:3, 3]
    there = reading.coordinates[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T.astype(np.float64)
    affine, spread = _fit(here, there)
    affine = refine(reading, template, affine)
    back = np.linalg.inv(affine)
    overlap = dice(
        resample_mask(reading.brain, reading.grid, template.grid, source_from_target=back), template.brain
    )
    return Alignment(affine, overlap, spread, _problem(affine, overlap, spread))


def refine(reading: HeadReading, template: Template, start: Affine) -> Affine:
    """The affine near `start` under which mask and tissue probabilities differ least from the template's.

    Gradient descent (Adam) on a correction of the twelve parameters, in template space at 4 mm; a step's
    length in mm is the same for shift, turn and stretch, because points are measured in units of the brain's
    radius. In double precision: descent would enlarge what another number of threads changes in the last
    digits. Probabilities are taken as they are: rounded, the few that flip weigh more than all last digits.
    """
    brain = torch.from_numpy(reading.brain.astype(np.float64))
    tissue = torch.from_numpy(reading.tissue.astype(np.float64))
    moving = torch.cat([brain[None], tissue * brain])
    moving = functional.avg_pool3d(moving[None], 2)
    fixed = torch.from_numpy(
        np.concatenate([template.tissue.sum(0, keepdims=True), template.tissue])
    ).double()
    fixed = functional.avg_pool3d(fixed[None], 2)[0]
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 0.5
    voxels = np.indices(fixed.shape[1:]).reshape(3, -1).T
    near = (functional.max_pool3d(fixed[None, :1], 5, 1, 2) > 0.02).flatten().numpy()
    template_affine = template.grid.affine @ coarse
    points = voxels[near] @ template_affine[:3, :3].T + template_affine[:3, 3]
    to_unit = (
        _unit_cube(moving.shape[2:]) @ np.linalg.inv(reading.grid.affine @ coarse) @ np.linalg.inv(start)
    )
    base = torch.tensor(np.c_[points / RADIUS_MM, np.ones(len(points))], dtype=torch.float64)
    target = fixed.flatten(1)[:, torch.from_numpy(near)]
    correction = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([correction], lr=STEP_MM / RADIUS_MM)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, REFINING_STEPS)
    linear = torch.tensor(to_unit, dtype=torch.float64)
    for _ in range(REFINING_STEPS):
        place = (base[:, :3] + base @ correction.T) * RADIUS_MM
        unit = place @ linear[:3, :3].T + linear[:3, 3]
        seen = functional.grid_sample(moving, unit.flip(-1)[None, None, None], align_corners=False)[
            0, :, 0, 0
        ]
        loss = functional.huber_loss(seen, target, delta=0.3) + SHRINKAGE * (correction[:, :3] ** 2).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    change = np.eye(4)
    change[:3, :3] += correction.detach().numpy()[:, :3]
    change[:3, 3] = correction.detach().numpy()[:, 3] * RADIUS_MM
    return np.asarray(np.linalg.inv(change) @ start)


def _unit_cube(shape: tuple[int, ...]) -> Affine:
    """Voxel indices to the -1 ... 1 that `grid_sample` wants, without aligned corners."""
    size = np.array(shape, dtype=float)
    affine = np.diag([*(2.0 / size), 1.0])
    affine[:3, 3] = 1.0 / size - 1.0
    return affine


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
        return f"the head would have to be stretched {stretch.min():.2f} to {stretch.max():.2f} times"
    if overlap < WORST_OVERLAP:
        return (
            f"the aligned brain meets the template's only with Dice {overlap:.2f}, less than {WORST_OVERLAP}"
        )
    if spread > WORST_SPREAD_MM:
        return f"the anatomy is {spread:.0f} mm off the template's, more than {WORST_SPREAD_MM:.0f} mm"
    return None
