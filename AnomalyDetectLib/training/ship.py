"""From trained weights to a model folder: fp16 weights, statistics, calibration and card."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
from AnomalyDetectLib.findings.healthy_components import pooled
from AnomalyDetectLib.models import choice, zoo
from AnomalyDetectLib.models.card import FALSE_ALARMS, WEIGHTS, read_card, write_card
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.scoring.evidence import SCORE
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, load_scorer, save_image_scores
from AnomalyDetectLib.training import calibration, cards
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.config import ENSEMBLE, RIVALS, read_config
from AnomalyDetectLib.training.ship_ensemble import ship_ensemble
from AnomalyDetectLib.training.ship_rivals import ship_rivals
from AnomalyDetectLib.training.ship_slices import ship_slices, store_weights
from AnomalyDetectLib.training.skull_base import scanners_apart

EXPECTED = (0.3, 1.0, 3.0)
REAL = ("T1", "CT")  # contrasts whose healthy scans came from a scanner; others are repainted


def ship_from(config_path: Path, data: Path, runs: Path, console: Console) -> None:
    """Write the model folder of a trained configuration; of an ensemble, from models that were shipped and
    measured before; those of the trivial rivals.
    """
    config = read_config(config_path)
    if config.task == ENSEMBLE:
        ship_ensemble(config, data, runs, console, calibrate)
        return
    if config.task == RIVALS:
        ship_rivals(data, runs, console, calibrate)
        return
    trained = runs / config.name / WEIGHTS
    if not trained.is_file():
        raise AnomalyDetectError(
            f"{trained}: no trained weights; run `anomalydetect train {config_path}` first"
        )
    if config.task == "slices":
        ship_slices(config, trained, data, runs, console, calibrate)
        return
    card = cards.card(config.name, zoo.models_folder() / config.name)
    card.folder.mkdir(exist_ok=True)
    write_card(replace(card, options=card.options | store_weights(trained, card.folder, console)))
    if config.name == "brain-extraction":
        return
    network = load_head_network()
    model = zoo.load(read_card(card.folder))
    for contrast in card.contrasts:
        calibrate(model, contrast, calibration.healthy_sets(data, contrast, network, runs), console)


def calibrate(
    model: zoo.NormativeModel, contrast: str, sets: dict[str, list[HealthyCase]], console: Console
) -> None:
    """Fit and write a model's statistics for a contrast, and count what they find in healthy scans.

    sets: healthy cases to fit the statistics on ("train"), and those that weren't ("val" and others).
    """
    folder, card = model.card.folder, model.card
    scorer = calibration.fit_scorer(
        sets["train"], model.rebuild, real=contrast in REAL, flat=card.family == choice.RIVAL
    )
    # Fitted to the scans of one scanner. A score of the model's own is left as it is.
    if contrast == "T1" and card.family != choice.RIVAL and SCORE not in scorer.statistics:
        scorer = replace(scorer, fused=scorer.fused.wider(scanners_apart()))
    scorer.save(
        folder / card.calibration(STATISTICS, contrast), folder / card.calibration(IMAGE_SCORES, contrast)
    )
    count_false_alarms(model, contrast, sets, console)


def count_false_alarms(
    model: zoo.NormativeModel, contrast: str, sets: dict[str, list[HealthyCase]], console: Console
) -> None:
    """Write a model's image scores and false-alarm table for a contrast, then its card anew.

    The maps are those that a user gets: from the statistics as the file has them, at half resolution. The
    shipped table is of all sets but "train" together. How well it carries from one scanner, or kind of head,
    to another is measured with tables of one set alone, on the other set, and put onto the card.
    """
    card = model.card
    scorer = load_scorer(card.folder / card.calibration(STATISTICS, contrast), None)
    maps = {
        which: calibration.healthy_maps(model, scorer, cases)
        for which, cases in sets.items()
        if which != "train" and cases
    }
    every = [one for some in maps.values() for one in some]
    save_image_scores(
        (float(one.image_score or 0.0) for one in every),
        card.folder / card.calibration(IMAGE_SCORES, contrast),
    )
    tables = {which: FalseAlarmTable.from_maps(some) for which, some in maps.items()}
    table = FalseAlarmTable(pooled(one.components for one in tables.values()))
    counts = card.folder / card.calibration(FALSE_ALARMS, contrast)
    counts.write_text(table.to_json(), encoding="utf-8")
    figures: dict[str, object] = {}
    for one, other in itertools.permutations(maps, 2):
        found = calibration.alarms_per_scan(tables[one], EXPECTED, maps[other])
        name = f"findings per healthy {other} scan at 0.3, 1, 3 expected from {one} alone"
        figures[name if contrast == "T1" else f"{name}, {contrast}"] = ", ".join(
            f"{count:.2f}" for count in found
        )
    write_card(replace(card, figures=card.figures | figures))
    console.print(f"{card.name}, {contrast}: calibrated on {len(every)} held-out healthy scans", figures)
