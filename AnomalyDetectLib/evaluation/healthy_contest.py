"""Healthy scans under every map of a contest: false alarms, and thresholds that go from one scanner to
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.contest import Contest, rival_on_scan
from AnomalyDetectLib.evaluation.lesion_contest import oriented
from AnomalyDetectLib.evaluation.metrics import bootstrap
from AnomalyDetectLib.scoring.evidence import evidence
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.volume import BoolArray, FloatArray

FALSE_VOXELS = 0.01
ALLOWED = (0.005, 0.02)  # of another scanner's voxels, at the threshold of 1 % of one's


@dataclass(frozen=True)
class HealthyScan:
    """A healthy scan: what each map says of the brain's voxels (n,), in the order of `brain` (X,Y,Z).

    z: signed, by map. evidence: before it is compared with healthy scans, by model and name. alarms: findings
    at one expected false alarm, by map.
    """

    name: str
    brain: BoolArray
    z: Mapping[str, FloatArray]
    evidence: Mapping[str, Mapping[str, FloatArray]]
    alarms: Mapping[str, int]


def measure_healthy(case: HealthyCase, contest: Contest) -> HealthyScan:
    """All maps of one healthy scan; findings of both signs count."""
    prepared = case.prepared
    z, raw, alarms = {}, {}, {}
    for one, rebuilt in zip(contest.detectors, contest.rebuilds(prepared), strict=True):
        name = one.card.name
        maps = score(case.volume, prepared, rebuilt, one.scorer)
        alarms[name] = len(contest.findings(maps, name, 0))
        z[name] = one.scorer.z(prepared, rebuilt)[prepared.brain]
        raw[name] = {key: values[prepared.brain] for key, values in evidence(prepared, rebuilt).items()}
    for name, working in contest.rivals(prepared).items():
        alarms[name] = len(contest.findings(rival_on_scan(case.volume, prepared, working), name, 0))
        z[name] = working[prepared.brain]
    return HealthyScan(case.volume.name, prepared.brain, z, raw, alarms)


def threshold_of(values: Sequence[NDArray[np.floating]]) -> float:
    """What `FALSE_VOXELS` of all voxels of all scans reach."""
    return float(np.quantile(np.concatenate(list(values)), 1 - FALSE_VOXELS))


def voxel_threshold(scans: Sequence[HealthyScan], name: str, sign: int) -> float:
    """z that 1 % of the healthy voxels of these scans reach under a map. sign: as `oriented`."""
    return threshold_of([oriented(scan.z[name], sign) for scan in scans])


def healthy_figures(sets: Mapping[str, Sequence[HealthyScan]]) -> list[dict[str, object]]:
    """A row a map: false alarms per healthy brain of each set, and the share (%) of a set's voxels above the
    |z| that 1 % of the other set's reach; mean and 95 % bootstrap over scans.
    """
    some = {which: scans for which, scans in sets.items() if scans}
    ways = [(one, other) for one in some for other in some if one != other]
    rows: list[dict[str, object]] = []
    for name in next(iter(some.values()))[0].z:
        row: dict[str, object] = {"map": name}
        for which, scans in some.items():
            row[f"false alarms, {which}"] = bootstrap([float(scan.alarms[name]) for scan in scans])
        for one, other in ways:
            limit = voxel_threshold(some[one], name, 0)
            shares = [float((np.abs(scan.z[name]) >= limit).mean()) for scan in some[other]]
            row[f"% of {other} at 1 % of {one}"] = bootstrap([100 * share for share in shares])
            row[f"{one} to {other} in 0.5-2 %"] = (
                "yes" if ALLOWED[0] <= float(np.mean(shares)) <= ALLOWED[1] else "NO"
            )
        rows.append(row)
    return rows
