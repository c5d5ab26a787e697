"""Simulated lesions for measuring: blurred ellipsoids with partial-volume edges, not the generator of the
training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.prepare.intensity import GREY_OF_WHITE
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray, Volume, smooth

SUBSAMPLES = 3
GAP_MM = 6.0


@dataclass(frozen=True)
class LesionPlan:
    """volume_ml: range, log-uniform. contrast: range of |change| over the grey-white difference. count:
    range.
    """

    volume_ml: tuple[float, float] = (0.5, 20.0)
    contrast: tuple[float, float] = (0.15, 0.60)
    count: tuple[int, int] = (1, 3)
    edge_mm: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class SimulatedLesion:
    """label: its number in the truth. centre_voxel: i,j,k. volume_ml; contrast: signed, grey-white
    differences.
    """

    label: int
    centre_voxel: tuple[int, int, int]
    volume_ml: float
    contrast: float


@dataclass(frozen=True)
class SimulatedCase:
    """scan: with lesions. clean: without. truth: int32 labels (i,j,k), a lesion's voxels at half its
    weight.
    """

    scan: Volume
    clean: Volume
    truth: NDArray[np.int32]
    lesions: tuple[SimulatedLesion, ...]


def simulate(
    volume: Volume, prepared: Prepared, rng: np.random.Generator, plan: LesionPlan | None = None
) -> SimulatedCase:
    """`add_lesions` in a prepared scan of any contrast; its unit is T1's grey-white difference, as a share of
    white matter.
    """
    return add_lesions(volume, prepared.input_brain, (1 - GREY_OF_WHITE) * prepared.scale, rng, plan)


def add_lesions(
    volume: Volume,
    brain: BoolArray,
    grey_white: float,
    rng: np.random.Generator,
    plan: LesionPlan | None = None,
) -> SimulatedCase:
    """Add ellipsoids of uniform change inside the brain's solid part, apart from each other.

    grey_white: white minus grey matter in scan units. Each ellipsoid's partial-volume share is computed on a
    3x3x3 sub-lattice and blurred by its edge; intensity changes by share x contrast x |grey_white|.
    """
    plan = plan or LesionPlan()
    spacing = np.array(volume.grid.spacing)
    change = np.zeros(volume.array.shape, np.float32)
    truth = np.zeros(volume.array.shape, np.int32)
    free = smooth(brain.astype(np.float32), _three(2.0 / spacing)) > 0.9
    lesions: list[SimulatedLesion] = []
    for label in range(1, int(rng.integers(plan.count[0], plan.count[1] + 1)) + 1):
        candidates = np.argwhere(free)
        if len(candidates) == 0:
            break
        centre = candidates[int(rng.integers(len(candidates)))]
        volume_ml = float(np.exp(rng.uniform(*np.log(plan.volume_ml))))
        contrast = float(rng.uniform(*plan.contrast) * rng.choice([-1.0, 1.0]))
        share = _share(volume.array.shape, centre, spacing, volume_ml, rng)
        share = smooth(share, _three(rng.uniform(*plan.edge_mm) / spacing)) * brain
        inside = (share >= 0.5) & (truth == 0)
        if not inside.any():
            continue
        change += share * contrast * abs(grey_white)
        truth[inside] = label
        near = smooth((share > 0.1).astype(np.float32), _three(GAP_MM / 2 / spacing)) > 0.02
        free &= ~near
        found_ml = float(inside.sum()) * volume.grid.voxel_mm3 / 1000
        lesions.append(SimulatedLesion(label, tuple(int(c) for c in centre), found_ml, contrast))  # type: ignore[arg-type]
    changed = np.maximum(volume.array + change, min(0.0, float(volume.array.min()))).astype(np.float32)
    return SimulatedCase(replace(volume, array=changed), volume, truth, tuple(lesions))


def _share(
    shape: tuple[int, ...],
    centre: NDArray[np.integer],
    spacing: NDArray[np.float64],
    volume_ml: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Share (i,j,k) of each voxel that lies in a randomly stretched and turned ellipsoid of `volume_ml`."""
    radius = (3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    stretch = np.exp(rng.normal(0, 0.25, 3))
    radii = radius * stretch / np.prod(stretch) ** (1 / 3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    reach = np.ceil(radii.max() / spacing).astype(int) + 1
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, shape)
    fine = [
        (np.arange((b - a) * SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5 + a - c
        for a, b, c in zip(low, high, centre, strict=True)
    ]
    points = np.stack(np.meshgrid(*(f * s for f, s in zip(fine, spacing, strict=True)), indexing="ij"), -1)
    inside = (((points @ turn) / radii) ** 2).sum(-1) <= 1
    n = high - low
    blocks = inside.reshape(n[0], SUBSAMPLES, n[1], SUBSAMPLES, n[2], SUBSAMPLES)
    share = np.zeros(shape, np.float32)
    share[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = blocks.mean((1, 3, 5))
    return share


def _three(values: NDArray[np.floating]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
