"""Scans with known lesions under every map of a contest: which they are, and a row for each map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AnomalyDetectLib.evaluation.contest import Contest, rival_on_scan
from AnomalyDetectLib.evaluation.lesion_rows import LesionCase, LesionRow, lesion_rows
from AnomalyDetectLib.evaluation.metrics import average_precision, best_dice
from AnomalyDetectLib.evaluation.overlap import false_findings
from AnomalyDetectLib.evaluation.pathology import patients
from AnomalyDetectLib.evaluation.simulated_lesions import LesionPlan, simulate
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import HealthyCase, evenly
from AnomalyDetectLib.volume import FloatArray, dice

SEED = 4021  # as benchmark detection: the same lesions in the same scans
FAINT, CLEAR = LesionPlan(), LesionPlan(volume_ml=(1.0, 10.0), contrast=(0.5, 1.5))


@dataclass(frozen=True)
class Row:
    """One patient under one map. ap; oracle: best Dice of any threshold; dice: at 1 % of healthy voxels.

    lesions: found or not at one expected false alarm. false_alarms: findings that touch no lesion.
    sign: of the lesions that were looked for, as `oriented`.
    """

    patient: str
    map: str
    ap: float
    oracle: float
    dice: float
    lesions: tuple[LesionRow, ...] = ()
    false_alarms: int = 0
    sign: int = 0


@dataclass(frozen=True)
class Measured:
    """A case with its rows, and the maps of each model on the scan's grid by name."""

    case: LesionCase
    rows: tuple[Row, ...]
    maps: Mapping[str, AnomalyMaps]


@dataclass(frozen=True)
class LesionSet:
    """Cases of one kind, each made when it is asked for."""

    title: str
    contrast: str
    cases: Sequence[Callable[[], LesionCase]]


def lesion_sets(
    data: Path, healthy: Mapping[str, Mapping[str, Sequence[HealthyCase]]], limit: int | None
) -> Iterator[LesionSet]:
    """Real lesions, then simulated ones in the healthy scans. healthy: by contrast and set."""
    for title, members in patients(data).items():
        some = evenly(members, limit)
        yield LesionSet(title, some[0].contrast, [lambda one=one: LesionCase.drawn(one) for one in some])  # type: ignore[misc]
    plans = (
        ("T1", "val", "faint", FAINT),
        ("T1", "external", "faint", FAINT),
        ("T1", "val", "clear", CLEAR),
        ("T1", "external", "clear", CLEAR),
        ("FLAIR", "val", "clear", CLEAR),
    )
    for contrast, which, kind, plan in plans:
        low, high = plan.volume_ml
        title = f"simulated, {kind}, {low:g}-{high:g} ml, {contrast}, {which}"
        cases = [_put_into(case, number, plan) for number, case in enumerate(healthy[contrast][which])]
        yield LesionSet(title, contrast, cases)


def _put_into(case: HealthyCase, number: int, plan: LesionPlan) -> Callable[[], LesionCase]:
    def made() -> LesionCase:
        rng = np.random.default_rng([SEED, number])
        return LesionCase.simulated(simulate(case.volume, case.prepared, rng, plan))

    return made


def measure(
    case: LesionCase,
    contest: Contest,
    thresholds: Mapping[tuple[str, int], float],
    network: HeadNetwork,
) -> Measured:
    """Every map's row. thresholds: of a map and sign, z that 1 % of healthy voxels reach. Raises
    `AnomalyDetectError` when the scan can't be prepared.
    """
    volume, truth = case.volume, case.lesions > 0
    prepared = prepare(volume, network)
    brain = prepared.input_brain
    rebuilds = contest.rebuilds(prepared)
    models = {
        one.card.name: score(volume, prepared, rebuilt, one.scorer)
        for one, rebuilt in zip(contest.detectors, rebuilds, strict=True)
    }
    on_scan = dict(models)
    for name, working in contest.rivals(prepared).items():
        on_scan[name] = rival_on_scan(volume, prepared, working)
    rows = []
    for name, maps in on_scan.items():
        values = oriented(maps.score, case.sign)
        over = (values >= thresholds[name, case.sign]) & brain
        found = contest.findings(maps, name, case.sign).labelmap
        rows.append(
            Row(
                case.name,
                name,
                average_precision(values, truth, brain),
                best_dice(values, truth, brain),
                dice(over, truth),
                lesion_rows(case, found, maps.healthy if name in models else None),
                false_findings(found, case.lesions),
                case.sign,
            )
        )
    return Measured(case, tuple(rows), models)


def oriented(z: FloatArray, sign: int) -> FloatArray:
    """What counts as unusual: bright (1), dark (-1), or either (0)."""
    return np.abs(z) if sign == 0 else np.asarray(sign * z, dtype=np.float32)
