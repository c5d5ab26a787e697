"""A zoo of small models, and small healthy brains to calibrate them on."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import FALSE_ALARMS, ModelCard, read_card, write_card
from AnomalyDetectLib.models.choice import deciding_figure
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS
from AnomalyDetectLib.training import calibration
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid, Volume

SHAPE = (28, 32, 24)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
LESION = (slice(6, 10), slice(14, 18), slice(10, 14))


@functools.cache
def anatomy() -> tuple[BoolArray, FloatArray]:
    """Where the brain is (X,Y,Z), and how bright: the same in every scan."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    return radius < 0.9, (0.9 + 0.25 * np.sin(8 * x) * np.cos(7 * y)).astype(np.float32)


def scan(seed: int, lesion: float = 0.0) -> HealthyCase:
    """A brain with its own noise; `lesion` is added in `LESION`."""
    brain, usual = anatomy()
    image = usual + np.random.default_rng(seed).normal(0, 0.08, SHAPE).astype(np.float32)
    image[LESION] += np.float32(lesion)
    image = np.where(brain, image, 0).astype(np.float32)
    prepared = Prepared(
        tensor=torch.from_numpy(image)[None, None],
        brain=brain,
        input_brain=brain,
        to_input=WayBack(GRID, GRID, np.eye(4)),
        modality="T1",
        fit=ScanFit(),
        scale=1.0,
        bias=np.ones_like(image),
        observations=Observations(1.0, 2.0, 0.0, 0.0, "T1"),
        alignment_overlap=1.0,
        stripped=False,
    )
    return HealthyCase(Volume(image, GRID.affine, name=f"scan{seed}.nii.gz"), prepared)


def healthy(count: int, first: int = 0) -> list[HealthyCase]:
    """Healthy brains."""
    return [scan(first + number) for number in range(count)]


def ship(folder: Path, name: str, figure: float | None = None, **figures: float) -> ModelCard:
    """A calibrated T1 model: "intensity…" compares with the brain's median, others with the usual brain."""
    family = "intensity" if name.startswith("intensity") else "atlas-z"
    texts = {
        text: f"{text} of {name}" for text in ("summary", "licence", "credit", "training", "intended_use")
    }
    own = ({} if figure is None else {deciding_figure("T1"): figure}) | figures
    card = ModelCard(
        name=name, version="1.0", family=family, contrasts=("T1",), figures=own, folder=folder / name, **texts
    )  # fmt: skip
    card.folder.mkdir(parents=True)
    if family == "atlas-z":
        usual = torch.from_numpy(anatomy()[1])
        save_file({"mean": usual, "sd": torch.full_like(usual, 0.08)}, card.folder / "weights.safetensors")
    write_card(card)
    model = zoo.load(read_card(card.folder))
    scorer = calibration.fit_scorer(healthy(4), model.rebuild)
    scorer.save(card.folder / STATISTICS, card.folder / IMAGE_SCORES)
    (card.folder / FALSE_ALARMS).write_text("{}")
    write_card(replace(card, sha256={}))
    return read_card(card.folder)
