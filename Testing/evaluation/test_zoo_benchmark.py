"""The zoo's table: right figures for a perfect and for a blind model, and intervals over patients."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from AnomalyDetectLib.evaluation.ranking import Ranked, leak, over_patients, sparsification
from AnomalyDetectLib.evaluation.zoo_benchmark import (
    Contestant,
    contestants_for,
    flat,
    markdown,
    measure,
    write_csv,
)
from AnomalyDetectLib.evaluation.zoo_cases import SETS, ZooCase
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.volume import Grid

SHAPE = (24, 24, 8)
T1, CT = SETS[0], SETS[-1]


def case(seed: int, lesion: bool = True, drawn: bool = True) -> ZooCase:
    brain = np.zeros(SHAPE, bool)
    brain[4:20, 4:20] = True
    image = (np.random.default_rng(seed).normal(0.9, 0.02, SHAPE) * brain).astype(np.float32)
    truth = np.zeros(SHAPE, bool)
    if lesion:
        truth[8:13, 8:13, 2:5] = True
        image[truth] += 0.6
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    prepared = Prepared(
        tensor=torch.from_numpy(image)[None, None], brain=brain, input_brain=brain,
        to_input=WayBack(grid, grid, np.eye(4)), modality="T1", fit=ScanFit(), scale=1.0,
        bias=np.ones_like(image), observations=Observations(1.0, 2.0, 0.0, 0.0, "T1"),
        alignment_overlap=1.0, stripped=False,
    )  # fmt: skip
    return ZooCase(str(seed), prepared, truth if drawn else None, tuple(range(8)), truth.any((0, 1)))


class Model:
    """Rebuilds 0.9 everywhere, or, blind, the scan itself with random errors."""

    def __init__(self, blind: bool) -> None:
        self.card = ModelCard("blind" if blind else "seeing", "1", "x", ("T1",), "", "", "", "", "")
        self.blind = blind

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        image = prepared.tensor[0, 0].numpy()
        noise = np.random.default_rng(int(image.sum() * 1000)).normal(0, 0.1, SHAPE).astype(np.float32)
        healthy = image + noise if self.blind else np.full_like(image, 0.9)
        return Rebuild(healthy=healthy, variance=np.ones_like(image))


def figures(blind: bool, drawn: bool = True) -> dict[str, tuple[float, float, float]]:
    model = Model(blind)
    cases = [case(seed, drawn=drawn) for seed in range(4)]
    healthy = [case(seed, lesion=False) for seed in range(4, 6)] if drawn else []
    return measure(Contestant(model.card, model, None), T1 if drawn else CT, cases, healthy)


def test_a_seeing_model_ranks_lesions_first_and_a_blind_one_by_chance() -> None:
    seeing, blind = figures(False), figures(True)
    assert seeing["voxel AP"][0] > 0.9
    assert blind["voxel AP"][0] < 0.2
    assert seeing["slice AUROC"][0] > 0.9
    assert seeing["Dice at 1% false voxels"][0] > blind["Dice at 1% false voxels"][0]
    assert seeing["sensitivity, 0-1 ml"][0] == 1.0
    assert seeing["oracle Dice"][1] <= seeing["oracle Dice"][0] <= seeing["oracle Dice"][2]


def test_without_drawn_lesions_slices_and_patients_are_ranked_alone() -> None:
    found = figures(False, drawn=False)
    assert found["slice AUROC"][0] > 0.9
    assert np.isnan(found["voxel AP"][0])
    assert "patient AUROC" in found


def test_a_classifier_of_position_finds_slices_that_always_lie_in_the_middle() -> None:
    height = np.linspace(-1, 1, 20)
    ranked = [Ranked(height * 0, np.abs(height) < 0.4) for _ in range(6)]
    features = [np.stack([height, height**2], 1) for _ in range(6)]
    assert leak(features, ranked)["slice AUROC"][0] > 0.95
    shuffled = [Ranked(height * 0, np.random.default_rng(n).random(20) < 0.4) for n in range(6)]
    assert leak(features, shuffled)["slice AUROC"][0] < 0.8


def test_patients_are_resampled_whole() -> None:
    good = Ranked(np.array([0.0, 1.0]), np.array([False, True]))
    bad = Ranked(np.array([1.0, 0.0]), np.array([False, True]))
    _, low, high = over_patients([good, bad])["slice AUROC"]
    assert (low, high) == (0.0, 1.0)


def test_uncertainty_that_knows_the_errors_lies_below_one() -> None:
    error = np.random.default_rng(0).gamma(1, 1, 1000).astype(np.float32)
    assert sparsification(error, error) < 0.6
    assert sparsification(error, np.random.default_rng(1).random(1000).astype(np.float32)) == pytest.approx(
        1, abs=0.1
    )


def test_the_table_has_a_row_for_every_model_and_a_dash_for_what_cannot_be_had(tmp_path: Path) -> None:
    table = {"seeing": figures(False), "blind, KDE": over_patients([])}
    page = markdown(T1, 4, table, over_patients([]))
    assert "| seeing |" in page
    assert "| blind, KDE | – |" in page
    write_csv(tmp_path / "zoo.csv", [{"model": name, **flat(one)} for name, one in table.items()])
    with (tmp_path / "zoo.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["seeing", "blind, KDE"]
    assert rows[0]["voxel AP, low"]


def test_trivial_rivals_come_first() -> None:
    names = [one.card.name for one in contestants_for("T1")]
    assert names[:2] == ["atlas-z", "intensity"]
    assert contestants_for("CT")[0].card.name == "intensity"
