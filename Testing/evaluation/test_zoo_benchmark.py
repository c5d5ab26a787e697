"""The zoo's table: right figures for a perfect and for a blind model, and intervals over patients."""

from __future__ import annotations

import csv
import functools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation.patch_ranking import patches_of_map, precision_at_top
from AnomalyDetectLib.evaluation.published import NONE, answer
from AnomalyDetectLib.evaluation.ranking import Ranked, auroc, leak, over_patients, sparsification
from AnomalyDetectLib.evaluation.zoo_benchmark import Choice, contestants_for, note_choice, put_onto_card
from AnomalyDetectLib.evaluation.zoo_cases import SETS, ZooCase
from AnomalyDetectLib.evaluation.zoo_figures import BY_REGION, Table, measure
from AnomalyDetectLib.evaluation.zoo_looks import Contestant, Watch
from AnomalyDetectLib.evaluation.zoo_tables import flat, markdown, write_csv
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard, read_card, write_card
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.slices import Batch, SliceFamily, SliceMaps, SliceModel, as_probability
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.training.cards import RIVALS
from AnomalyDetectLib.volume import Grid
from Testing.models import small_zoo

SHAPE = (24, 24, 8)
T1, FLAIR, CT = SETS[0], SETS[1], SETS[-1]


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


def cases(drawn: bool = True) -> list[ZooCase]:
    return [case(seed, drawn=drawn) for seed in range(4)]


def healthy() -> list[ZooCase]:
    return [case(seed, lesion=False) for seed in range(4, 6)]


@functools.cache
def figures(blind: bool, drawn: bool = True) -> dict[str, tuple[float, float, float]]:
    model, which = Model(blind), T1 if drawn else CT
    watch = Watch(Contestant(model.card, model, None), which.bright, None)
    quiet = healthy() if drawn else []
    return measure(watch, quiet, quiet, {which: cases(drawn)})[which][model.card.name]


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
    page = markdown(T1, table, over_patients([]))
    assert "| seeing |" in page
    assert "| blind, KDE | – |" in page
    write_csv(tmp_path / "zoo.csv", [{"model": name, **flat(one)} for name, one in table.items()])
    with (tmp_path / "zoo.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["seeing", "blind, KDE"]
    assert rows[0]["voxel AP, low"]


def test_trivial_rivals_come_first() -> None:
    names = [one.card.name for one in contestants_for("T1", ("dae",))]
    assert names == [*sorted(RIVALS), "dae"]
    assert "atlas-z" not in [one.card.name for one in contestants_for("CT", ("dae",))]


class Patchy(SliceFamily):
    """Rebuilds 0.9, and says how far patches are from it: a family with everything that can be measured."""

    views, size, patch_distance = 1, 32, True

    def __init__(self, rebuilds: bool = True) -> None:
        super().__init__()
        self.rebuilds = rebuilds

    def examine(self, batch: Batch) -> SliceMaps:
        """Of slices (B,1,H,W)."""
        error = (batch["image"] - 0.9).abs() * batch["brain"]
        distance = as_probability(torch.nn.functional.avg_pool2d(error, 5, 1, 2))
        return SliceMaps(0.9 * batch["brain"] if self.rebuilds else None, 1e-3 + error, distance)

    def embedding(self, batch: Batch) -> torch.Tensor:
        """(B,3)."""
        image = batch["image"].flatten(1)
        return torch.stack([image.mean(1), image.std(1), image.amax(1)], 1)

    def patch_scores(self, image: torch.Tensor, healthy: torch.Tensor) -> dict[str, torch.Tensor]:
        """The squared error."""
        return {"MSE": torch.nn.functional.avg_pool2d((image - healthy).square(), 8, 4)[:, 0]}


class Counting(SliceModel):
    """A model that counts how often it rebuilds what."""

    def __init__(self, rebuilds: bool = True) -> None:
        self.card = ModelCard("patchy", "1", "x", ("T1",), "", "", "", "", "")
        self.family = Patchy(rebuilds)
        self.family.patch_distance = rebuilds  # type: ignore[misc]
        self.seen: Counter[int] = Counter()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        self.seen[id(prepared)] += 1
        return super().rebuild(prepared, device)


@functools.cache
def patchy(rebuilds: bool = True) -> tuple[Counting, Table]:
    model = Counting(rebuilds)
    watch = Watch(Contestant(model.card, model, None), T1.bright, None)
    others = [case(seed, lesion=False) for seed in range(6, 8)]
    return model, measure(watch, healthy(), others, {T1: cases()})[T1]


def test_residual_and_feature_distance_make_a_hybrid_of_voxels_and_of_slices() -> None:
    _, table = patchy()
    for name in BY_REGION:
        assert table[f"patchy, {name}"]["voxel AP"][0] > 0.6, name
        assert table[f"patchy, {name}"]["Dice at 5% false voxels"][0] > 0.1
    for name in ("Euclid", "cosine", "Mahalanobis", "KDE", "hybrid"):
        assert table[f"patchy, {name}"]["slice AUROC"][0] > 0.8, name
        assert "voxel AP" not in table[f"patchy, {name}"]


def test_patches_are_ranked_by_the_familys_own_score_too() -> None:
    _, table = patchy()
    assert table["patchy, MSE of patches"]["top 10 patches in a lesion"][0] == 1
    assert table["patchy, MSE of patches"]["slice AUROC"][0] == 1


def test_every_case_is_rebuilt_once() -> None:
    model, _ = patchy()
    assert set(model.seen.values()) == {1}
    assert len(model.seen) == 4 + 2 + 2


def test_a_model_without_a_healthy_version_has_a_reliability_of_its_map() -> None:
    _, table = patchy(rebuilds=False)
    figures = table["patchy"]
    assert np.isnan(figures["sparsification of the error (below 1: knows its errors)"][0])
    assert np.isfinite(figures["sparsification of the Brier error"][0])
    assert not any("by region" in name for name in table)


def test_top_patches_lie_in_the_lesion_or_do_not() -> None:
    one = case(0)
    brain = one.prepared.brain
    assert one.lesion is not None
    right = patches_of_map(one.lesion.astype(np.float32), brain)
    assert precision_at_top(right, one) == 1
    assert precision_at_top(-right, one) == 0
    assert np.isnan(precision_at_top(right, case(0, lesion=False)))


def test_areas_under_curves_count_ties_by_half() -> None:
    truth = np.array([False, True, False, True])
    assert auroc(truth, np.array([0.1, 0.4, 0.4, 0.8])) == 0.875
    assert np.isnan(auroc(truth[:1], np.zeros(1)))


def test_a_slow_model_is_measured_on_fewer_patients_and_the_row_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Model(blind=False)
    monkeypatch.setattr("AnomalyDetectLib.evaluation.zoo_looks.SLOW_SECONDS", -1.0)
    watch = Watch(Contestant(model.card, model, None), T1.bright, 2)
    table = measure(watch, healthy(), [], {T1: cases()})[T1]
    assert table["seeing"]["patients"][0] == 2


def test_cards_get_what_models_are_chosen_by(tmp_path: Path) -> None:
    model, table = patchy()
    write_card(replace(model.card, folder=tmp_path, figures={"kept": 1}))
    other = {**table["patchy"], "voxel AP": (0.1, 0.0, 0.2)}
    four = {FLAIR: 4, SETS[2]: 4, CT: 4}
    put_onto_card(tmp_path, "FLAIR", {FLAIR: table["patchy"], SETS[2]: other}, [1.0, 2.0, 9.0], four)
    put_onto_card(tmp_path, "CT", {CT: {**other, "slice AP": (0.7, 0.6, 0.8)}}, [1.0, 2.0, 9.0], four)
    figures = read_card(tmp_path).figures
    assert figures["zoo AP FLAIR"] == pytest.approx((table["patchy"]["voxel AP"][0] + 0.1) / 2, abs=1e-4)
    assert figures["zoo AP CT"] == 0.7
    assert figures["zoo seconds"] == 2.0
    assert figures["kept"] == 1
    assert "4 patients" in figures[f"zoo, {FLAIR.name}"]
    put_onto_card(tmp_path, "CT", {CT: {**other, "slice AP": (0.9, 0.6, 1.0)}}, [30.0], {CT: 22})
    assert "zoo AP CT" not in read_card(tmp_path).figures, "4 of 22 patients don't compare with all of them"


def test_the_card_of_what_auto_takes_says_so_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "models_folder", lambda: tmp_path)
    small_zoo.ship(tmp_path, "intensity", 0.3)
    small_zoo.ship(tmp_path, "usual", 0.2)
    note_choice("T1")
    said = read_card(tmp_path / "intensity").figures["auto, T1"]
    assert said.endswith("best of 2 measured; next usual 0.20; no trained model beats it")
    card = read_card(tmp_path / "usual")
    write_card(replace(card, figures={"zoo AP T1": 0.4}))
    note_choice("T1")
    assert "auto, T1" not in read_card(tmp_path / "intensity").figures
    assert "auto, T1" in read_card(tmp_path / "usual").figures


@pytest.mark.parametrize("choice", [Choice(models=("restore-t9",)), Choice(contrasts=("PET",))])
def test_an_unknown_name_lists_what_there_is(choice: Choice) -> None:
    with pytest.raises(AnomalyDetectError, match="there are"):
        choice.check()


def test_every_row_says_which_published_figure_it_answers_to() -> None:
    page = markdown(T1, patchy()[1], over_patients([]))
    assert all(f"\n- {row}: " in page for row in patchy()[1])
    assert ".738" in answer("intensity-equalised", "FLAIR")
    assert NONE in answer("mirror", "FLAIR")
    assert NONE in answer("nsa-flair", "FLAIR")
    assert ".908" in answer("ae-u-ct", "CT")
    assert ".647" in answer("nsa-ct", "CT")
