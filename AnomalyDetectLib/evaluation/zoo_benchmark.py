"""benchmark zoo: all shipped models of a contrast on the same voxels in one run, trivial rivals on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation.ranking import Interval, Ranked, leak
from AnomalyDetectLib.evaluation.zoo_cases import SETS, ZooCase, ZooSet, healthy_ground, lesion_cases
from AnomalyDetectLib.evaluation.zoo_figures import AP, PATIENTS, SLICE_AP, Table, measure
from AnomalyDetectLib.evaluation.zoo_looks import Contestant, Watch
from AnomalyDetectLib.evaluation.zoo_tables import printed, shown, write
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import read_card, write_card
from AnomalyDetectLib.models.choice import SECONDS, UNTRAINED, best, deciding_figure
from AnomalyDetectLib.scoring.score import STATISTICS, load_scorer

CONTRASTS = tuple(dict.fromkeys(which.contrast for which in SETS))
SLOW_LIMIT = 4  # patients of a set that a slow model is measured on


@dataclass(frozen=True)
class Choice:
    """What is measured.

    limit: scans of every set and healthy set. slow_limit: the same for models whose first rebuild was slow.
    models, contrasts: names, empty for all; trivial rivals are always measured. onto_cards: write the figures
    onto the models' cards.
    """

    limit: int | None = None
    slow_limit: int = SLOW_LIMIT
    models: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()
    onto_cards: bool = False

    def check(self) -> None:
        """Raise `AnomalyDetectError` for a name that there isn't."""
        for kind, asked, known in (
            ("--models", self.models, [card.name for card in zoo.cards()]),
            ("--sets", self.contrasts, CONTRASTS),
        ):
            for one in asked:
                if one not in known:
                    raise AnomalyDetectError(f"{kind} {one}: there are {', '.join(known)}")


def run(data: Path, out: Path, choice: Choice, console: Console) -> None:
    """Measure every set and write zoo.md and zoo.csv into `out`, anew after each model.

    Caches of prepared scans are shared with the training. Raises `AnomalyDetectError` for an unknown model or
    set.
    """
    choice.check()
    out.mkdir(parents=True, exist_ok=True)
    tables: dict[ZooSet, Table] = {}
    chances: dict[ZooSet, dict[str, Interval]] = {}
    seconds: dict[str, list[float]] = {}
    for contrast in choice.contrasts or CONTRASTS:
        console.print(f"{contrast}: preparing", style="dim")
        sets = {}
        for which in (one for one in SETS if one.contrast == contrast):
            if cases := list(lesion_cases(data, out.parent, which, choice.limit)):
                sets[which], tables[which], chances[which] = cases, {}, chance_of(cases)
        healthy, others = healthy_ground(data, out.parent, contrast, choice.limit)
        bright = all(which.bright for which in sets)
        for model in contestants_for(contrast, choice.models):
            with console.status(model.name) as status:
                watch = Watch(model, bright, choice.slow_limit, status.update)
                found = measure(watch, healthy, others, sets)
            for which, rows in found.items():
                tables[which] |= rows
            seconds.setdefault(model.name, []).extend(watch.seconds)
            write(out, tables, chances)
            console.print(f"{contrast}: {model.name}, {len(watch.seconds)} scans", style="dim")
            if choice.onto_cards:
                own = {which: rows[model.name] for which, rows in found.items() if rows}
                everyone = {which: len(cases) for which, cases in sets.items()}
                put_onto_card(model.card.folder, contrast, own, seconds[model.name], everyone)
        if choice.onto_cards:
            note_choice(contrast)
        for which in sets:
            console.print(printed(which, tables[which]))


def contestants_for(contrast: str, names: Sequence[str] = ()) -> list[Contestant]:
    """The shipped models of a contrast, those without training first. names: these alone, empty: all."""
    fitting = [card for card in zoo.cards() if contrast in card.contrasts]
    fitting.sort(key=lambda card: (card.family not in UNTRAINED, card.name))
    found = []
    for card in fitting:
        if names and card.name not in names and card.family not in UNTRAINED:
            continue
        statistics = card.calibration(STATISTICS, contrast)
        scorer = load_scorer(card.path(statistics), None) if statistics in card.sha256 else None
        found.append(Contestant(card, zoo.load(card), scorer))
    return found


def put_onto_card(
    folder: Path,
    contrast: str,
    sets: Mapping[ZooSet, Mapping[str, Interval]],
    seconds: Sequence[float],
    everyone: Mapping[ZooSet, int],
) -> None:
    """Add a model's figures to the card in its folder: what it is chosen by, and each set's in short.

    The deciding figure is the mean over the sets; see `deciding_figure`. A slow model that was measured on
    fewer than `everyone` of a set has none: others have theirs of other voxels. The seconds are the median's.
    """
    name = SLICE_AP if contrast == "CT" else AP
    measured: dict[str, object] = {
        f"zoo, {which.name}": f"{name} {shown(one[name])}, slice AUROC {shown(one['slice AUROC'])}, "
        f"{shown(one[PATIENTS])} patients"
        for which, one in sets.items()
    }
    means = [one[name][0] for one in sets.values() if np.isfinite(one[name][0])]
    if means and all(one[PATIENTS][0] == everyone[which] for which, one in sets.items()):
        measured[deciding_figure(contrast)] = round(float(np.mean(means)), 4)
    measured[SECONDS] = round(float(np.median(seconds)), 2)
    card = read_card(folder)
    kept = {name: one for name, one in card.figures.items() if name != deciding_figure(contrast)}
    write_card(replace(card, figures=kept | measured))


def note_choice(contrast: str) -> None:
    """Write onto the card of the model that `auto` takes for a contrast that it does, and why; nobody else's
    says so.
    """
    found = best(zoo.cards(), contrast)
    for card in zoo.cards():
        figures = {name: one for name, one in card.figures.items() if name != f"auto, {contrast}"}
        if found is not None and card.name == found.card.name:
            figures[f"auto, {contrast}"] = found.reason
        if figures != card.figures:
            write_card(replace(card, figures=figures))


def chance_of(cases: Sequence[ZooCase]) -> dict[str, Interval]:
    """What slice position and brain area reach without a picture."""
    return leak(
        [position(case) for case in cases], [Ranked(np.zeros(len(case.ill)), case.ill) for case in cases]
    )


def position(case: ZooCase) -> np.ndarray:
    """Height (and its square) and brain area of each measured slice (N,3): what a leak would come through."""
    slices = list(case.slices)
    height = np.linspace(-1, 1, len(slices))
    area = case.prepared.brain.sum((0, 1))[slices] / 1000
    return np.stack([height, height**2, area], 1)
