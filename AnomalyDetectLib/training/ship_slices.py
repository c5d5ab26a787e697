"""From a trained 2-D family to a model folder: fp16 weights, statistics, calibration and card."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.torch import load_file, save_file

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard, read_card, write_card
from AnomalyDetectLib.models.slices import SliceModel
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.evidence import evidence
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, Scorer
from AnomalyDetectLib.scoring.statistics import fit_statistics
from AnomalyDetectLib.training import calibration, cards
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.config import TrainingConfig
from AnomalyDetectLib.training.slice_data import flair_patients, prepared_flair_case

Calibrate = Callable[[SliceModel, str, dict[str, list[HealthyCase]], Console], None]

WEIGHTS, CURVE = "weights.safetensors", "curve.csv"
STATISTICS_SCANS = 20  # fewer than the 3-D models take: some families need half a minute a scan
OF_THE_TASK = ("family", "contrast", "corruption", "encoder")

FLAIR_CREDIT = (
    "FLAIR: TCGA-LGG via The Cancer Imaging Archive; Buda M., Saha A., Mazurowski M.A., Computers in Biology "
    "and Medicine 2019;109:218-225; Mazurowski M.A. et al., Journal of Neuro-Oncology 2017."
)
CT_CREDIT = (
    "CT: Hssayeni M.D. et al., Intracranial Hemorrhage Segmentation Using a Deep Convolutional Model, Data "
    "2020;5(1):14; PhysioNet."
)
# Contrast: licence of the weights, credit, and what they were trained on.
SOURCES = {
    "T1": (cards.LICENCE, f"{cards.IXI_CREDIT} {cards.EXTERNAL_CREDIT}", cards.IXI_T1),
    "FLAIR": (
        "Research and non-commercial use (TCGA-LGG: terms not stated in the source)",
        FLAIR_CREDIT,
        "33 patients with lower-grade glioma: slices 8 mm or more from the drawn lesion; 22 further patients "
        "are held out; split by patient. Slices without a drawn lesion are not guaranteed normal.",
    ),
    "CT": (
        "Research and non-commercial use (CT-ICH: terms not stated in the source)",
        CT_CREDIT,
        "19 patients without haemorrhage and fracture, 8-bit brain window; the three-window input of the CT "
        "literature can't be had from it. Further patients are held out; split by patient.",
    ),
}


def zoo_card(config: TrainingConfig, folder: Path, parameters: int, budget: dict[str, object]) -> ModelCard:
    """The card of a 2-D family before it is measured."""
    contrast = config.options.get("contrast", "T1")
    licence, credit, data = SOURCES[contrast]
    corruption = config.options.get("corruption", "nothing")
    return ModelCard(
        name=config.name,
        version="1.0",
        family=config.options["family"],
        contrasts=(contrast,),
        summary=config.summary,
        licence=licence,
        credit=credit,
        training=f"{data} Axial slices of 2 mm, corrupted by: {corruption}.",
        intended_use=cards.USE,
        age_range=cards.AGES if contrast == "T1" else None,
        options={
            "family": {k: v for k, v in config.options.items() if k not in OF_THE_TASK},
            "parameters": parameters,
            **budget,
        },
        folder=folder,
    )


def ship_slices(
    config: TrainingConfig,
    trained: Path,
    data: Path,
    runs: Path,
    console: Console,
    calibrate: Calibrate,
) -> None:
    """Write the model folder of a trained family.

    calibrate: what writes statistics and false-alarm table of a T1 model. FLAIR models get statistics from
    lesion-free slices and no false-alarm table, since there are no healthy scans; CT models get neither,
    since the road prepares no CT.
    """
    folder = zoo.models_folder() / config.name
    folder.mkdir(exist_ok=True)
    weights = {name: value.half() for name, value in load_file(trained).items()}
    save_file(weights, folder / WEIGHTS)
    budget: dict[str, object] = {}
    if trained.with_name(CURVE).is_file():
        shutil.copyfile(trained.with_name(CURVE), folder / CURVE)
        budget = last_row(folder / CURVE)
    write_card(zoo_card(config, folder, sum(w.numel() for w in weights.values()), budget))
    console.print(f"{config.name}: weights written, {sum(w.nbytes for w in weights.values()) / 1e6:.1f} MB")
    model = SliceModel(read_card(folder))
    if model.card.contrasts == ("T1",):
        calibrate(model, "T1", t1_healthy(data, runs), console)
    elif model.card.contrasts == ("FLAIR",):
        flair_scorer(model, data, runs).save(folder / STATISTICS, folder / IMAGE_SCORES)
        write_card(model.card)  # with the checksums of the statistics


def flair_scorer(model: SliceModel, data: Path, runs: Path) -> Scorer:
    """Statistics of the slices that are away from the lesions of the training patients."""
    cases: list[tuple[Prepared, np.ndarray]] = []
    for folder in flair_patients(data, "train")[:STATISTICS_SCANS]:
        prepared, scan = prepared_flair_case(folder, runs)
        inside = np.zeros_like(prepared.brain)
        inside[:, :, list(scan.usable)] = prepared.brain[:, :, list(scan.usable)]
        cases.append((prepared, inside))
    rebuilt = [model.rebuild(prepared) for prepared, _ in cases]
    maps = [evidence(prepared, one) for (prepared, _), one in zip(cases, rebuilt, strict=True)]
    brains = [inside for _, inside in cases]
    statistics = {name: fit_statistics([m[name] for m in maps], brains) for name in maps[0]}
    provisional = Scorer(statistics, next(iter(statistics.values())))
    combined = [provisional.combined(p, r) for (p, _), r in zip(cases, rebuilt, strict=True)]
    return Scorer(statistics, fit_statistics(combined, brains))


def last_row(curve: Path) -> dict[str, object]:
    """Steps, seconds and validation figures of a training run."""
    with curve.open() as file:
        last = list(csv.DictReader(file))[-1]
    validation = {name[4:]: float(value) for name, value in last.items() if name.startswith("val_")}
    return {
        "steps": int(last["step"]),
        "training_seconds": int(float(last["seconds"])),
        "val": validation,
    }


def t1_healthy(data: Path, runs: Path) -> dict[str, list[HealthyCase]]:
    """The healthy T1 scans that statistics and false alarms are fitted to, prepared as the product does."""
    network = load_head_network()
    sets = {
        which: list(calibration.prepared_cases(calibration.healthy_scans(data, which), network, runs))
        for which in ("train", "val", "external")
    }
    train = sets["train"]
    return sets | {"train": train[:: max(1, len(train) // STATISTICS_SCANS)]}
