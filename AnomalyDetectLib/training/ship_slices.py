"""From a trained 2-D family to a model folder: fp16 weights, statistics, calibration and card."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.torch import load_file, save_file

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import WEIGHTS, ModelCard, read_card, write_card
from AnomalyDetectLib.models.slices import SliceModel
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, Scorer
from AnomalyDetectLib.training import calibration, cards, ct_heads
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.config import TrainingConfig
from AnomalyDetectLib.training.slice_data import glioma_patients, prepared_flair_case
from AnomalyDetectLib.volume import BoolArray

Calibrate = Callable[[zoo.NormativeModel, str, dict[str, list[HealthyCase]], Console], None]

CURVE = "curve.csv"
# Healthy scans of each set: fewer than the 3-D models take, for there are many families, some of them slow.
SCANS = {"train": 8, "val": 6, "external": 5}
OF_THE_TASK = ("family", "contrast", "corruption", "encoder")

FLAIR_CREDIT = (
    "FLAIR: TCGA-LGG via The Cancer Imaging Archive; Buda M., Saha A., Mazurowski M.A., Computers in Biology "
    "and Medicine 2019;109:218-225; Mazurowski M.A. et al., Journal of Neuro-Oncology 2017."
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
        cards.CT_CREDIT,
        "19 patients without haemorrhage and fracture. The three-window input of the CT literature is "
        "emulated from an 8-bit brain window: the window itself, healthy brain's range stretched, and what "
        "lies above it; bone is saturated. Calibration: statistics from the same 19; image scores and false "
        "alarms from 4 held-out ones, which makes a coarse table, and no image p below 0.2. All came for "
        "head trauma. Split by patient.",
    ),
}


def zoo_card(config: TrainingConfig, folder: Path, facts: dict[str, object]) -> ModelCard:
    """The card of a 2-D family before it is measured. facts: of its training run."""
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
            **facts,
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
    """Write the model folder of a trained family; nothing is left in the zoo unless all of it was made.

    calibrate: what writes statistics and false-alarm table of a T1 or CT model. FLAIR models get statistics
    from lesion-free slices and no false-alarm table, since there are no healthy scans.
    """
    with staged(config.name, runs) as folder:
        write_card(zoo_card(config, folder, store_weights(trained, folder, console)))
        model = SliceModel(read_card(folder))
        if model.card.contrasts == ("T1",):
            calibrate(model, "T1", healthy_t1(data, runs), console)
        elif model.card.contrasts == ("CT",):
            calibrate(model, "CT", ct_heads.healthy_sets(data, runs), console)
        elif model.card.contrasts == ("FLAIR",):
            flair_scorer(model, data, runs).save(folder / STATISTICS, folder / IMAGE_SCORES)
            write_card(model.card)  # with the checksums of the statistics


@contextmanager
def staged(name: str, runs: Path) -> Iterator[Path]:
    """A folder in `runs` to make a model in; it takes its place in the zoo once everything has been made."""
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs) as beside:
        folder = Path(beside) / name
        folder.mkdir()
        yield folder
        final = zoo.models_folder() / name
        shutil.rmtree(final, ignore_errors=True)
        shutil.move(folder, final)


def flair_scorer(model: zoo.NormativeModel, data: Path, runs: Path) -> Scorer:
    """Statistics of the slices that are away from the lesions of the training patients."""
    prepared, healthy = zip(*lesion_free(data, runs), strict=True)
    return calibration.scorer_of(list(prepared), [model.rebuild(one) for one in prepared], list(healthy))


def healthy_t1(data: Path, runs: Path) -> dict[str, list[HealthyCase]]:
    """The T1 scans that a 2-D model is calibrated on: so many of each set as `SCANS` says."""
    network, sets = load_head_network(), {}
    for which, count in SCANS.items():
        chosen = calibration.evenly(calibration.healthy_scans(data, which), count)
        sets[which] = list(calibration.prepared_cases(chosen, network, runs))
    return sets


def lesion_free(data: Path, runs: Path) -> list[tuple[Prepared, BoolArray]]:
    """FLAIR of the training patients, and where (X,Y,Z) they are healthy: the slices away from the lesion."""
    found = []
    for folder in glioma_patients(data, "train")[: SCANS["train"]]:
        one, scan = prepared_flair_case(folder, runs)
        inside = np.zeros_like(one.brain)
        inside[:, :, list(scan.usable)] = one.brain[:, :, list(scan.usable)]
        found.append((one, inside))
    return found


def store_weights(trained: Path, folder: Path, console: Console) -> dict[str, object]:
    """Write fp16 weights and the curve into a model's folder; what the card says of the training run."""
    weights = {name: value.half() for name, value in load_file(trained).items()}
    save_file(weights, folder / WEIGHTS)
    console.print(f"{folder.name}: weights written, {sum(w.nbytes for w in weights.values()) / 1e6:.1f} MB")
    facts: dict[str, object] = {"parameters": int(sum(w.numel() for w in weights.values()))}
    if trained.with_name(CURVE).is_file():  # families that are only fitted have none
        shutil.copyfile(trained.with_name(CURVE), folder / CURVE)
        facts |= last_row(folder / CURVE)
    return facts


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
