"""Rebuild: what every model family returns."""

from __future__ import annotations

from dataclasses import dataclass

from AnomalyDetectLib.volume import FloatArray


@dataclass(frozen=True)
class Rebuild:
    """A healthy version of the scan on the working grid, float32 (X,Y,Z) in working units (white matter near
    1).

    healthy: None for families that predict an anomaly map directly. variance: of the rebuild, working units
    squared; of the anomaly's log-odds, or of the score, where there is no healthy version.
    anomaly: a directly predicted map, 0-1. features: (C,X,Y,Z) for feature-space scores. expected,
    expected_sd: the healthy anatomy in the scan's own colours, and how far healthy voxels stray from it,
    working units. score: the model's own, signed, which alone decides: a trivial rival's map; an ensemble's
    ranks, how rare each voxel is among healthy ones, in powers of ten.
    """

    healthy: FloatArray | None
    variance: FloatArray | None = None
    anomaly: FloatArray | None = None
    features: FloatArray | None = None
    expected: FloatArray | None = None
    expected_sd: FloatArray | None = None
    score: FloatArray | None = None
