"""Small maps with known contents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from AnomalyDetectLib.findings import FalseAlarmTable, FindingsEngine, FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps

Blobs = dict[tuple[int, int, int], tuple[float, float]]
HEALTHY_SHAPE = (40, 48, 40)
HEALTHY_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def healthy_scan(seed: int, lesions: Blobs | None = None) -> AnomalyMaps:
    """Smooth noise in an ellipsoid brain at 2 mm, whose strength varies from scan to scan by 5 %."""
    random = np.random.default_rng(seed)
    score = ndimage.gaussian_filter(random.standard_normal(HEALTHY_SHAPE), 1.2)
    score *= random.lognormal(0, 0.05) / score.std()
    axes = np.ogrid[tuple(slice(size) for size in HEALTHY_SHAPE)]
    sides = zip(axes, HEALTHY_SHAPE, strict=True)
    brain = sum(((axis - (size - 1) / 2) / (0.45 * size)) ** 2 for axis, size in sides) <= 1
    for centre, (radius, height) in (lesions or {}).items():
        score += height * ball(HEALTHY_SHAPE, centre, radius)
    return AnomalyMaps.from_score(
        np.where(brain, score, 0).astype(np.float32), brain=brain, affine=HEALTHY_AFFINE
    )


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    """Bool (i,j,k), radius in voxels."""
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2


@pytest.fixture(scope="session")
def healthy() -> Callable[..., AnomalyMaps]:
    """Makes a healthy scan from a seed, with lesions {centre: (radius in voxels, z)} if asked for."""
    return healthy_scan


@pytest.fixture(scope="session")
def false_alarms() -> FalseAlarmTable:
    """A calibration on 60 healthy scans."""
    return FalseAlarmTable.from_maps(healthy_scan(seed) for seed in range(60))


@pytest.fixture
def case() -> Callable[..., FindingsEngine]:
    """An engine on a 1-mm scan of 40 x 40 x 40 voxels that holds balls {centre: (radius in voxels, z)}."""

    def make(blobs: Blobs, **engine: object) -> FindingsEngine:
        score = np.zeros((40, 40, 40), dtype=np.float32)
        for centre, (radius, height) in blobs.items():
            score[ball(score.shape, centre, radius)] = height
        return FindingsEngine(AnomalyMaps.from_score(score, brain=np.ones(score.shape, dtype=bool)), **engine)

    return make


@pytest.fixture
def plain() -> FindingsSettings:
    """A threshold of 3 and nothing else."""
    return FindingsSettings(threshold=3, min_volume_mm3=0)
