"""Scans with known lesions under every map of a contest: which they are, and a row for each map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AnomalyDetectLib.evaluation.contest import Contest, rival_on_scan
from AnomalyDetectLib.evaluation.lesion_rows import LesionCase, LesionRow, lesion_rows
from AnomalyDetectLib.evaluation.metrics import ap_and_best_dice
from AnomalyDetectLib.evaluation.overlap import Step, Sweep
from AnomalyDetectLib.evaluation.pathology import patients
from AnomalyDetectLib.evaluation.simulated_lesions import LesionPlan, simulate
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.scoring.evidence import evidence
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import HealthyCase, evenly
from AnomalyDetectLib.training.slice_data import on_working_grid
from AnomalyDetectLib.volume import FloatArray, dice

SEED = 4021  # as benchmark detection: the same lesions in the same scans
FAINT, CLEAR = LesionPlan(), LesionPlan(volume_ml=(1.0, 10.0), contrast=(0.5, 1.5))
THRESHOLDS = tuple(np.geomspace(2, 16, 13).round(2).tolist())  # z
Z = "z"


@dataclass(frozen=True)
class Row:
    """One patient under one map. ap; oracle: best Dice of any threshold; dice: at 1 % of healthy voxels.

    lesions: found or not at one expected false alarm. false_alarms: findings that touch no lesion.
    sign: of the lesions that were looked for, as `oriented`. sweep: what other thresholds give.
    """

    patient: str
    map: str
    ap: float
    oracle: float
    dice: float
    lesions: tuple[LesionRow, ...] = ()
    false_alarms: int = 0
    sign: int = 0
    sweep: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A case with its rows, and the maps of each model on the scan's grid by name.

    inside: of each model, the magnitude of `Z` and of its evidence in the lesions' voxels of the working grid
    (n,), by name.
    """

    case: LesionCase
    rows: tuple[Row, ...]
    maps: Mapping[str, AnomalyMaps]
    inside: Mapping[str, Mapping[str, FloatArray]]


@dataclass(frozen=True)
class LesionSet:
    """Cases of one kind, each made when it is asked for. clear_in: the healthy set that clear lesions were
    put into, None of all other lesions.
    """

    title: str
    contrast: str
    cases: Sequence[Callable[[], LesionCase]]
    clear_in: str | None = None


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
        yield LesionSet(title, contrast, cases, which if plan is CLEAR else None)


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
    rows, sweep = [], Sweep.over(case.lesions)
    for name, maps in on_scan.items():
        values = oriented(maps.score, case.sign)
        over = (values >= thresholds[name, case.sign]) & brain
        engine, settings = FindingsEngine(maps), contest.settings(name, case.sign)
        found = engine.at(settings).labelmap
        rows.append(
            Row(
                case.name,
                name,
                *ap_and_best_dice(values, truth, brain),
                dice(over, truth),
                lesion_rows(case, found, maps.healthy if name in models else None),
                sweep.step(engine, settings).false_findings,
                case.sign,
                sweep.steps(engine, settings, THRESHOLDS),
            )
        )
    lesion = on_working_grid(truth.astype(np.float32), prepared) & prepared.brain
    inside = {}
    for one, rebuilt in zip(contest.detectors, rebuilds, strict=True):
        seen = evidence(prepared, rebuilt) | {Z: one.scorer.z(prepared, rebuilt)}
        inside[one.card.name] = {name: np.abs(values[lesion]) for name, values in seen.items()}
    return Measured(case, tuple(rows), models, inside)


def oriented(z: FloatArray, sign: int) -> FloatArray:
    """What counts as unusual: bright (1), dark (-1), or either (0)."""
    return np.abs(z) if sign == 0 else np.asarray(sign * z, dtype=np.float32)
