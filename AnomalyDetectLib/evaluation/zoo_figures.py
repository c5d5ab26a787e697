"""Figures of benchmark zoo: what one model reaches on each set, from one look at each case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.feature_figures import SliceFeatures, SliceScore, fit_slice_scores
from AnomalyDetectLib.evaluation.metrics import ap_and_best_dice, bootstrap
from AnomalyDetectLib.evaluation.patch_ranking import highest_patches, patches_of_map, precision_at_top
from AnomalyDetectLib.evaluation.ranking import (
    Interval,
    Ranked,
    auroc_over_patients,
    dice_at,
    lesion_hits,
    over_patients,
    sensitivity_by_size,
    sparsification,
)
from AnomalyDetectLib.evaluation.zoo_cases import ZooCase, ZooSet
from AnomalyDetectLib.evaluation.zoo_looks import Contestant, Look, Watch
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring.evidence import ANOMALY, RESIDUAL
from AnomalyDetectLib.scoring.feature_space import Hybrid
from AnomalyDetectLib.scoring.score import image_score
from AnomalyDetectLib.volume import BoolArray, FloatArray

FALSE_POSITIVES = (0.01, 0.05)  # shares of healthy voxels
VOXEL_ML = 0.008
REGION_QUANTILE = 0.95  # of a region's voxels: what the region is scored by
REGION_LESION = 10  # voxels of lesion in a region that count as ill: 0.08 ml
BY_REGION = ("residual by region", "distance by region", "hybrid by region")
AP, SLICE_AP, SECONDS, PATIENTS = "voxel AP", "slice AP", "seconds", "patients"
TOP_PATCHES = "top 10 patches in a lesion"
SPARSIFICATION = "sparsification of the error (below 1: knows its errors)"
SPARSIFICATION_ANOMALY = "sparsification of the Brier error"

Table = dict[str, dict[str, Interval]]  # figures by row
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Quiet:
    """What a healthy case leaves: values (n,) of the measured brain's voxels by map, slices, and how well the
    variance knows the error.
    """

    maps: Mapping[str, Values]
    evidence: Mapping[str, Values]
    features: SliceFeatures | None
    sparsification: float

    @classmethod
    def of(cls, look: Look) -> Quiet:
        """Of a look at a healthy case."""
        prepared, keep = look.case.prepared, np.zeros_like(look.case.prepared.brain)
        keep[:, :, list(look.case.slices)] = prepared.brain[:, :, list(look.case.slices)]
        known, rebuild = float("nan"), look.rebuild
        if rebuild.healthy is not None and rebuild.variance is not None:
            error = (prepared.tensor[0, 0].numpy() - rebuild.healthy)[keep] ** 2
            known = sparsification(error, rebuild.variance[keep])
        return cls(_inside(look.maps, keep), _inside(look.evidence, keep), look.features, known)


@dataclass(frozen=True)
class Fitted:
    """What is fitted to healthy scans alone.

    thresholds: by row, values that the shares `FALSE_POSITIVES` of healthy voxels reach. usual: log-odds of
    the anomaly that 1 % of healthy voxels reach. slices: scores of slices by name. regions: of residual and
    distance.
    """

    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    usual: float = float("nan")
    slices: Mapping[str, SliceScore] = field(default_factory=dict)
    regions: Hybrid | None = None
    sparsification: tuple[float, ...] = ()

    @classmethod
    def of(cls, model: str, quiet: Sequence[Quiet], others: Sequence[Quiet]) -> Fitted:
        """quiet: cases that thresholds come from. others: of patients that aren't measured, for hybrids."""
        hybrid = None
        if others and RESIDUAL in others[0].evidence:
            raw = [one.evidence for one in others]
            hybrid = Hybrid.fit(_pooled(raw, RESIDUAL), _pooled(raw, ANOMALY))
        maps = [
            dict(one.maps) | _hybrid_maps(model, hybrid, one.evidence) if hybrid else one.maps
            for one in quiet
        ]
        names = maps[0] if maps else {}
        odds = [one.evidence for one in quiet if ANOMALY in one.evidence]
        embedded = [one.features for one in others if one.features is not None]
        return cls(
            {name: _upper(_pooled(maps, name)) for name in names},
            _upper(_pooled(odds, ANOMALY))[0] if odds else float("nan"),
            fit_slice_scores(embedded) if embedded else {},
            hybrid,
            tuple(one.sparsification for one in quiet),
        )


@dataclass(frozen=True)
class MapScore:
    """A map of one patient. ap, oracle, dice, hits and top are NaN or empty without voxel truth.

    regions: of the template, None where the case isn't on it.
    """

    ranked: Ranked
    ap: float = float("nan")
    oracle: float = float("nan")
    dice: tuple[float, ...] = (float("nan"),) * len(FALSE_POSITIVES)
    hits: list[tuple[float, bool]] = field(default_factory=list)
    regions: Ranked | None = None
    top: float = float("nan")


@dataclass(frozen=True)
class CaseScores:
    """A model on one patient: voxel maps and rankings of slices by row name.

    patches: rankings of slices by their highest patch, and the share of top patches in lesions.
    """

    maps: Mapping[str, MapScore]
    slices: Mapping[str, Ranked]
    patches: Mapping[str, tuple[Ranked, float]]
    brier: float
    seconds: float


def measure(
    watch: Watch,
    healthy: Sequence[ZooCase],
    others: Sequence[ZooCase],
    sets: Mapping[ZooSet, Sequence[ZooCase]],
) -> dict[ZooSet, Table]:
    """All figures of one model on the sets of one contrast, each with its 95 % interval over patients.

    healthy: what thresholds come from. others: what hybrids are fitted to. Every case is rebuilt once.
    """
    quiet = [Quiet.of(look) for look in watch.looks(healthy, "healthy")]
    fit_to = quiet if others is healthy else []
    if others is not healthy and watch.contestant.fitted:
        fit_to = [Quiet.of(look) for look in watch.looks(others, "healthy, to fit")]
    fitted = Fitted.of(watch.contestant.name, quiet, fit_to)
    found = {}
    for which, cases in sets.items():
        rows = [case_scores(watch.contestant.name, look, fitted) for look in watch.looks(cases, which.name)]
        found[which] = figures(watch, which, rows, fitted)
    return found


def case_scores(model: str, look: Look, fitted: Fitted) -> CaseScores:
    """Everything that is measured of one look."""
    maps = dict(look.maps)
    if fitted.regions is not None:
        maps |= _hybrid_maps(model, fitted.regions, look.evidence)
    slices = {}
    if look.features is not None:
        features = look.features
        scores = {name: score(features) for name, score in fitted.slices.items()}
        slices = {
            f"{model}, {name}": Ranked(np.asarray(one, np.float64), look.case.ill)
            for name, one in scores.items()
        }
    patches = {
        f"{model}, {name} of patches": (
            Ranked(highest_patches(one, look.case), look.case.ill),
            precision_at_top(one, look.case),
        )
        for name, one in look.patches.items()
    }
    nothing = (float("nan"),) * len(FALSE_POSITIVES)
    scored = {n: map_score(one, look.case, fitted.thresholds.get(n, nothing)) for n, one in maps.items()}
    return CaseScores(scored, slices, patches, brier_sparsification(look, fitted.usual), look.seconds)


def map_score(score: FloatArray, case: ZooCase, thresholds: tuple[float, ...]) -> MapScore:
    """One map (X,Y,Z) of one patient."""
    brain = case.prepared.brain
    slices = [image_score(np.maximum(one, 0), inside) for one, inside in case.pictures(score)]
    ranked = Ranked(np.array(slices), case.ill)
    if case.lesion is None:
        return MapScore(ranked)
    lesion = case.lesion & brain
    return MapScore(
        ranked,
        *ap_and_best_dice(score, lesion, brain),
        tuple(dice_at(score, lesion, brain, one) for one in thresholds),
        lesion_hits(score, lesion, thresholds[0], VOXEL_ML),
        region_scores(score, lesion, brain),
        precision_at_top(patches_of_map(score, brain), case),
    )


def region_scores(score: FloatArray, lesion: BoolArray, brain: BoolArray) -> Ranked | None:
    """The regions of the template in one patient: the 95th percentile of a map in each, and whether a lesion
    reaches into it; None where the maps aren't on the template's grid.
    """
    codes = load_template().regions
    if codes.shape != brain.shape:
        return None
    inside = brain & (codes > 0)
    named = [
        (score[here], lesion[here]) for here in (inside & (codes == c) for c in np.unique(codes[inside]))
    ]
    return Ranked(
        np.array([float(np.quantile(values, REGION_QUANTILE)) for values, _ in named]),
        np.array([int(ill.sum()) >= REGION_LESION for _, ill in named]),
    )


def brier_sparsification(look: Look, usual: float) -> float:
    """Sparsification of the anomaly map's Brier error against the drawn lesion; NaN without one.

    Distances aren't probabilities: the map's log-odds are moved so that what 1 % of healthy voxels reach
    (`usual`) is a probability of one half.
    """
    rebuild, case = look.rebuild, look.case
    if rebuild.variance is None or case.lesion is None or not np.isfinite(usual):
        return float("nan")
    brain = case.prepared.brain
    probability = 1 / (1 + np.exp(usual - look.evidence[ANOMALY][brain]))
    return sparsification((probability - case.lesion[brain]) ** 2, rebuild.variance[brain])


def figures(watch: Watch, which: ZooSet, rows: Sequence[CaseScores], fitted: Fitted) -> Table:
    """The rows of one model in the table of one set."""
    if not rows:
        return {}
    table: Table = {}
    count = {PATIENTS: (float(len(rows)),) * 3}
    for name in rows[0].maps:
        table[name] = count | map_figures(which, [row.maps[name] for row in rows])
    table[watch.contestant.name] |= cost(watch.contestant, rows, fitted)
    for name in rows[0].patches:
        both = [row.patches[name] for row in rows]
        table[name] = count | slice_figures(which, [ranked for ranked, _ in both])
        table[name][TOP_PATCHES] = bootstrap([top for _, top in both])
    for name in rows[0].slices:
        table[name] = count | slice_figures(which, [row.slices[name] for row in rows])
    return table


def map_figures(which: ZooSet, rows: Sequence[MapScore]) -> dict[str, Interval]:
    """Figures of one voxel map over patients."""
    found = {AP: bootstrap([row.ap for row in rows]), "oracle Dice": bootstrap([row.oracle for row in rows])}
    for number, share in enumerate(FALSE_POSITIVES):
        found[f"Dice at {share:.0%} false voxels"] = bootstrap([row.dice[number] for row in rows])
    found |= slice_figures(which, [row.ranked for row in rows])
    found["region AUROC"] = auroc_over_patients([row.regions for row in rows if row.regions is not None])
    if which.sizes:
        found |= sensitivity_by_size([row.hits for row in rows])
    found[TOP_PATCHES] = bootstrap([row.top for row in rows])
    return found


def slice_figures(which: ZooSet, ranked: Sequence[Ranked]) -> dict[str, Interval]:
    """AUROC and AP of slices; of CT of patients, too, by their most unusual slice."""
    found = over_patients(ranked)
    if which.contrast == "CT":
        patients = [Ranked(np.array([r.score.max()]), np.array([r.truth.any()])) for r in ranked]
        found |= {name.replace("slice", "patient"): one for name, one in over_patients(patients).items()}
    return found


def cost(one: Contestant, rows: Sequence[CaseScores], fitted: Fitted) -> dict[str, Interval]:
    """How well a model knows its errors, and what it costs."""
    return {
        SPARSIFICATION: bootstrap(fitted.sparsification),
        SPARSIFICATION_ANOMALY: bootstrap([row.brier for row in rows]),
        SECONDS: bootstrap([row.seconds for row in rows], np.median),
        "parameters, millions": (float(one.card.options.get("parameters", 0)) / 1e6,) * 3,
        "megabytes": (one.card.megabytes,) * 3,
    }


def _hybrid_maps(model: str, hybrid: Hybrid, evidence: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Residual, distance and hybrid in healthy units, by row name."""
    residual, distance = hybrid.parts(evidence[RESIDUAL], evidence[ANOMALY])
    both = (residual, distance, (residual + distance) / 2)
    return {f"{model}, {n}": one.astype(np.float32) for n, one in zip(BY_REGION, both, strict=True)}


def _inside(maps: Mapping[str, FloatArray], keep: BoolArray) -> dict[str, Values]:
    return {name: one[keep] for name, one in maps.items()}


def _pooled(maps: Iterable[Mapping[str, Values]], name: str) -> Values:
    return np.concatenate([one[name] for one in maps])


def _upper(values: Values) -> tuple[float, ...]:
    """What the shares `FALSE_POSITIVES` of values reach."""
    return tuple(float(np.quantile(values, 1 - share)) for share in FALSE_POSITIVES)
