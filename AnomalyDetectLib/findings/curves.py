"""Curves beside the slider: findings against threshold, with what healthy scans show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings

FloatColumn = NDArray[np.float64]

N_THRESHOLDS = 40
LOWEST_Z, HIGHEST_Z = 1.5, 12.0


@dataclass(frozen=True, eq=False)
class HealthyBand:
    """Number of findings in a healthy scan at each threshold (n,): expected, and where 95 % of scans lie."""

    expected: FloatColumn
    low: FloatColumn
    high: FloatColumn


@dataclass(frozen=True, eq=False)
class Curves:
    """Findings of one case against the threshold.

    thresholds: z (n,), ascending. numbers: findings (n,). volumes_ml: all findings together, ml (n,).
    healthy: the band of healthy scans, None without calibration.
    """

    thresholds: FloatColumn
    numbers: NDArray[np.int64]
    volumes_ml: FloatColumn
    healthy: HealthyBand | None


def curves(
    engine: FindingsEngine, settings: FindingsSettings, thresholds: FloatColumn | None = None
) -> Curves:
    """Number and volume of findings at each threshold, with the other settings as given.

    thresholds: z, ascending; None: 40 from 1.5 to the scan's largest |score|, evenly on a log scale. A weak
    threshold stays at or below each.
    """
    at = default_thresholds(engine) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    # Its own engine state: the reader's next slider step must find its stages as it left them.
    counter = engine.fork()
    numbers, volumes = np.zeros(len(at), dtype=np.int64), np.zeros(len(at))
    for index in range(len(at)):
        threshold = float(at[index])
        weak = None if settings.hysteresis is None else min(settings.hysteresis, threshold)
        findings = counter.at(settings.changed(threshold=threshold, hysteresis=weak))
        numbers[index], volumes[index] = len(findings), findings.total_ml
    table = engine.false_alarms
    if table is None:
        return Curves(at, numbers, volumes, None)
    low, high = table.interval_at(at, settings)
    return Curves(at, numbers, volumes, HealthyBand(table.expected_at(at, settings), low, high))


def default_thresholds(engine: FindingsEngine) -> FloatColumn:
    """z from 1.5 to the largest |score| of the scan (4 to 12), evenly on a log scale."""
    top = float(np.clip(engine.largest_score, 4.0, HIGHEST_Z))
    return np.geomspace(LOWEST_Z, top, N_THRESHOLDS)
