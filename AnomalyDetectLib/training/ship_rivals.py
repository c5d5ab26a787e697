"""From healthy scans to the folders of the trivial rivals: the atlas, calibration and cards."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import save_file

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import WEIGHTS, read_card, write_card
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.computed_tomography import CT
from AnomalyDetectLib.training import calibration, cards, ct_heads
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.ship_slices import Calibrate, staged


def ship_rivals(data: Path, runs: Path, console: Console, calibrate: Calibrate) -> None:
    """Write the folders of all trivial rivals, each in one step once all of it was made.

    calibrate: what writes statistics and false-alarm tables.
    """
    for name in cards.RIVALS:
        with staged(name, runs) as folder:
            card = cards.card(name, folder)
            if name == zoo.ATLAS:
                save_file(_atlas(data, runs), folder / WEIGHTS)
            write_card(card)
            for contrast in card.contrasts:
                calibrate(zoo.load(read_card(folder)), contrast, _healthy(data, runs, contrast), console)


def _atlas(data: Path, runs: Path) -> dict[str, torch.Tensor]:
    """fp16 mean and SD (X,Y,Z) of the training scans."""
    scans = calibration.healthy_scans(data, "train")
    maps = calibration.atlas_maps(calibration.prepared_cases(scans, load_head_network(), runs))
    return {name: torch.from_numpy(value).half() for name, value in maps.items()}


def _healthy(data: Path, runs: Path, contrast: str) -> dict[str, list[HealthyCase]]:
    """The healthy sets of a contrast; of CT the patients without haemorrhage and fracture."""
    if contrast == CT:
        return ct_heads.healthy_sets(data, runs)
    return calibration.healthy_sets(data, contrast, load_head_network(), runs)
