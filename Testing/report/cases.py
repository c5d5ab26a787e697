"""A small case that the tests of the report share."""

from __future__ import annotations

from typing import Any

import numpy as np

from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Volume

SHAPE = (40, 48, 36)


def affine(spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = [-size * n / 2 for size, n in zip(spacing, SHAPE, strict=True)]
    return matrix


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "id": 1,
        "location": "frontal white matter",
        "side": "left",
        "centroid_ras_mm": (-8.0, 6.0, 2.0),
        "volume_ml": 12.34567,
        "peak_z": 9.126,
        "mean_z": 4.5,
        "p": 0.00123456,
        "q": None,
        "sign": "bright",
        "uncertainty": 0.8,
        "uncertain": False,
        "longest_diameter_mm": 21.04,
        "elongation": 1.31,
    }
    return Finding(**(fields | changes))


def case(matrix: np.ndarray | None = None) -> tuple[Volume, AnomalyMaps, np.ndarray]:
    """A ball of brain with a bright and a dark lesion in the labelmap: scan, maps, labelmap."""
    matrix = affine() if matrix is None else matrix
    index = np.indices(SHAPE, dtype=np.float32)
    centre = np.array(SHAPE)[:, None, None, None] / 2
    brain = np.sqrt(((index - centre) ** 2).sum(0)) < 14
    scan = (brain * (80 + index[1])).astype(np.float32)
    score = np.zeros(SHAPE, np.float32)
    score[10:16, 26:32, 16:22], score[24:28, 18:22, 16:22] = 9.0, -6.0
    labelmap = (score > 0).astype(np.int32) + 2 * (score < 0).astype(np.int32)
    volume = Volume(scan, matrix, "T1", "case.nii.gz")
    zero = np.zeros(SHAPE, np.float32)
    maps = AnomalyMaps(
        grid=volume.grid, brain=brain, healthy=scan, residual=zero, score=score, uncertainty=zero
    )
    return volume, maps, labelmap
