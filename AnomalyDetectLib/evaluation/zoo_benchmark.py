"""benchmark zoo: all shipped models of a contrast on the same voxels in one run, trivial rivals on top."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.feature_figures import feature_figures
from AnomalyDetectLib.evaluation.metrics import average_precision, best_dice, bootstrap
from AnomalyDetectLib.evaluation.ranking import (
    NOTHING,
    Interval,
    Ranked,
    dice_at,
    leak,
    lesion_hits,
    over_patients,
    sensitivity_by_size,
    sparsification,
)
from AnomalyDetectLib.evaluation.rivals import UNTRAINED
from AnomalyDetectLib.evaluation.zoo_cases import (
    SETS,
    ZooCase,
    ZooSet,
    healthy_cases,
    lesion_cases,
    training_cases,
)
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.slices import Embedding, SliceModel
from AnomalyDetectLib.models.zoo import NormativeModel
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.evidence import evidence, fuse
from AnomalyDetectLib.scoring.score import STATISTICS, Scorer, image_score, load_scorer
from AnomalyDetectLib.scoring.statistics import spread
from AnomalyDetectLib.volume import FloatArray

FALSE_POSITIVES = (0.01, 0.05)  # shares of healthy voxels
VOXEL_ML = 0.008
PUBLISHED = {
    "ae-u": "slice AUROC .908, AP .937 on brain CT, from three windows; here emulated from one of 8 bits",
    "restore-t1": "restoration in print: voxel AP .81, best Dice .75, on T2 glioma; here T1",
    "intensity": "trivial rival, FLAIR glioma: best Dice .738; multiple sclerosis .37-.43",
    "ddpm-gaussian": "T1 glioma: best voxel AP in print .535 for any family",
}
SMALLER = "no published figure on these scans; training here is short, on few scans of 2 mm."


@dataclass(frozen=True)
class Contestant:
    """A model with its statistics, None where it has none for this contrast."""

    card: ModelCard
    model: NormativeModel
    scorer: Scorer | None

    def score(self, prepared: Prepared, rebuild: Rebuild) -> FloatArray:
        """Signed score (X,Y,Z): z where there are statistics, else the evidence over its own spread."""
        if self.scorer is not None:
            return self.scorer.z(prepared, rebuild)
        maps = evidence(prepared, rebuild)
        scaled = {}
        for name, one in maps.items():
            centred = one - np.float32(np.median(one[prepared.brain]) if name == "anomaly" else 0)
            scaled[name] = np.where(prepared.brain, centred / max(spread(centred, prepared.brain), 1e-6), 0)
        return fuse({name: one.astype(np.float32) for name, one in scaled.items()})


@dataclass(frozen=True)
class CaseScore:
    """A model on one patient. ap, oracle, dice and hits are NaN or empty without voxel truth."""

    ranked: Ranked
    ap: float
    oracle: float
    dice: tuple[float, ...]
    hits: list[tuple[float, bool]]
    seconds: float


def run(data: Path, out: Path, limit: int | None, console: Console) -> None:
    """Measure every set and write zoo.md and zoo.csv into `out`.

    limit: so many scans of each set. Caches of prepared scans are shared with the training.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections, rows = [], []
    for which in SETS:
        contestants = contestants_for(which.contrast)
        cases = list(lesion_cases(data, out.parent, which, limit))
        if not cases or not contestants:
            continue
        healthy = list(healthy_cases(data, out.parent, which.contrast, limit))
        table = {}
        for one in contestants:
            table[one.card.name] = measure(one, which, cases, healthy)
            console.print(f"{which.name}: {one.card.name}", style="dim")
            if isinstance(one.model, SliceModel) and isinstance(one.model.family, Embedding):
                fitted = list(training_cases(data, out.parent, which.contrast, limit))
                for score, figures in feature_figures(one.model.family, fitted, cases).items():
                    table[f"{one.card.name}, {score}"] = figures
        chance = leak(
            [position(case) for case in cases], [Ranked(np.zeros(len(case.ill)), case.ill) for case in cases]
        )
        console.print(printed(which, table))
        sections.append(markdown(which, len(cases), table, chance))
        rows += [{"set": which.name, "model": name, **flat(one)} for name, one in table.items()]
        rows.append({"set": which.name, "model": "slice position and brain area alone", **flat(chance)})
    (out / "zoo.md").write_text("\n\n".join(["# The zoo", *sections]) + "\n", encoding="utf-8")
    write_csv(out / "zoo.csv", rows)


def contestants_for(contrast: str) -> list[Contestant]:
    """The shipped models of a contrast, trivial rivals first."""
    fitting = [card for card in zoo.cards() if contrast in card.contrasts or card.name == UNTRAINED[0]]
    fitting.sort(key=lambda card: (card.name not in UNTRAINED, card.name))
    found = []
    for card in fitting:
        statistics = card.calibration(STATISTICS, contrast)
        own = contrast in card.contrasts and statistics in card.sha256
        scorer = load_scorer(card.path(statistics), None) if own else None
        found.append(Contestant(card, zoo.load(card), scorer))
    return found


def measure(
    one: Contestant, which: ZooSet, cases: Sequence[ZooCase], healthy: Sequence[ZooCase]
) -> dict[str, Interval]:
    """All figures of one model on one set, each with its 95 % interval over patients."""
    quiet, errors = [], []
    for case in healthy:
        rebuild = one.model.rebuild(case.prepared)
        keep = np.zeros_like(case.prepared.brain)
        keep[:, :, list(case.slices)] = case.prepared.brain[:, :, list(case.slices)]
        quiet.append(oriented(one.score(case.prepared, rebuild), which)[keep])
        if rebuild.healthy is not None and rebuild.variance is not None:
            error = (case.prepared.tensor[0, 0].numpy() - rebuild.healthy)[keep] ** 2
            errors.append(sparsification(error, rebuild.variance[keep]))
    thresholds = tuple(
        float(np.quantile(np.concatenate(quiet), 1 - share)) if quiet else float("nan")
        for share in FALSE_POSITIVES
    )
    rows = [case_score(one, which, case, thresholds) for case in cases]
    figures = {"voxel AP": bootstrap([row.ap for row in rows])}
    figures["oracle Dice"] = bootstrap([row.oracle for row in rows])
    for number, share in enumerate(FALSE_POSITIVES):
        figures[f"Dice at {share:.0%} false voxels"] = bootstrap([row.dice[number] for row in rows])
    figures |= over_patients([row.ranked for row in rows])
    if which.contrast == "CT":
        patients = [whole_patient(r.ranked) for r in rows]
        for name, value in over_patients(patients).items():
            figures[name.replace("slice", "patient")] = value
    if which.sizes:
        figures |= sensitivity_by_size([row.hits for row in rows])
    figures["sparsification (below 1: knows its errors)"] = bootstrap(errors)
    figures["seconds"] = bootstrap([row.seconds for row in rows], np.median)
    parameters = float(one.card.options.get("parameters", 0))
    figures["parameters, millions"] = (parameters / 1e6,) * 3
    figures["megabytes"] = (one.card.megabytes,) * 3
    return figures


def whole_patient(slices: Ranked) -> Ranked:
    """The patient by the most unusual slice."""
    return Ranked(np.array([slices.score.max()]), np.array([slices.truth.any()]))


def oriented(score: FloatArray, which: ZooSet) -> FloatArray:
    """What counts as unusual: bright alone, or either sign."""
    return score if which.bright else np.abs(score)


def case_score(one: Contestant, which: ZooSet, case: ZooCase, thresholds: Iterable[float]) -> CaseScore:
    """One model on one patient."""
    began = time.perf_counter()
    score = oriented(one.score(case.prepared, one.model.rebuild(case.prepared)), which)
    seconds = time.perf_counter() - began
    brain = case.prepared.brain
    slices = [image_score(np.maximum(one, 0), inside) for one, inside in case.pictures(score)]
    ranked = Ranked(np.array(slices), case.ill)
    low, high = thresholds
    if case.lesion is None:
        nothing = float("nan")
        return CaseScore(ranked, nothing, nothing, (nothing, nothing), [], seconds)
    lesion = case.lesion & brain
    return CaseScore(
        ranked,
        average_precision(score, lesion, brain),
        best_dice(score, lesion, brain),
        (dice_at(score, lesion, brain, low), dice_at(score, lesion, brain, high)),
        lesion_hits(score, lesion, low, VOXEL_ML),
        seconds,
    )


def position(case: ZooCase) -> np.ndarray:
    """Height (and its square) and brain area of each measured slice (N,3): what a leak would come through."""
    slices = list(case.slices)
    height = np.linspace(-1, 1, len(slices))
    area = case.prepared.brain.sum((0, 1))[slices] / 1000
    return np.stack([height, height**2, area], 1)


def flat(figures: dict[str, Interval]) -> dict[str, object]:
    """Figures and their intervals as columns."""
    columns: dict[str, object] = {}
    for name, (value, low, high) in figures.items():
        columns |= {name: round(value, 4), f"{name}, low": round(low, 4), f"{name}, high": round(high, 4)}
    return columns


def shown(value: Interval) -> str:
    """A figure with its interval, a dash where it can't be had."""
    middle, low, high = value
    if not np.isfinite(middle):
        return "–"
    return f"{middle:.3f}" if low == high else f"{middle:.3f} ({low:.3f}-{high:.3f})"


def printed(which: ZooSet, table: dict[str, dict[str, Interval]]) -> Table:
    """The table of one set for the console."""
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    result = Table("model", *names, title=which.name)
    for model, figures in table.items():
        result.add_row(model, *(shown(figures.get(name, NOTHING)) for name in names))
    return result


def markdown(
    which: ZooSet, patients: int, table: dict[str, dict[str, Interval]], chance: dict[str, Interval]
) -> str:
    """The table of one set, the leak check, and the published figures that the rows answer to."""
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    lines = [f"## {which.name}", "", f"{patients} patients; 95 % bootstrap over patients.", ""]
    lines += [f"| model | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [
        f"| {model} | {' | '.join(shown(f.get(n, NOTHING)) for n in names)} |" for model, f in table.items()
    ]
    alone = ", ".join(f"{name} {shown(value)}" for name, value in chance.items())
    lines += ["", f"Slice position and brain area alone (no picture): {alone}.", ""]
    lines += [f"- {model}: {PUBLISHED[model]}" for model in table if model in PUBLISHED]
    return "\n".join([*lines, f"- All others: {SMALLER}"])


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """One line a model and set; columns that a set hasn't are empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
