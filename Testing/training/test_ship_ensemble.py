"""An ensemble is put together from measured models, calibrated as they are, and walks the road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError, ModelError
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.choice import SECONDS
from AnomalyDetectLib.models.differentiable import Explainable
from AnomalyDetectLib.models.ensemble import Ensemble
from AnomalyDetectLib.pipeline import Detector, load_detector
from AnomalyDetectLib.scoring.evidence import RESIDUAL, SCORE, fusion_factors
from AnomalyDetectLib.scoring.score import uncertainty
from AnomalyDetectLib.training import calibration, ship_ensemble
from AnomalyDetectLib.training.config import train_from
from AnomalyDetectLib.training.ship import ship_from
from AnomalyDetectLib.training.ship_ensemble import Asked, correlation, together
from Testing.models import small_zoo
from Testing.models.small_zoo import LESION, healthy, scan

CONFIG = 'task = "ensemble"\nname = "ensemble-t1"\nsummary = "Several."\n[options]\ncontrast = "T1"\n'
quiet = Console(quiet=True)


class World:
    """A folder of models with what `ship` needs around it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.models, self.config = folder, folder / "Models", folder / "ensemble.toml"
        self.models.mkdir()
        self.config.write_text(CONFIG)
        sets = {"train": healthy(4), "val": healthy(2, 10), "external": []}
        patch.setattr(zoo, "models_folder", lambda: self.models)
        patch.setattr(ship_ensemble, "healthy_t1", lambda *_: dict(sets))

    def ship(self, members: str = "") -> ModelCard:
        """Ship the ensemble; members: a line of the configuration."""
        self.config.write_text(CONFIG + members)
        ship_from(self.config, self.folder, self.folder / "runs", quiet)
        return zoo.choose("ensemble-t1", None)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Without a model."""
    return World(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:  # type: ignore[misc]
    """Four models, the second of which says the same as the first and the third of which is slow; and the
    ensemble.
    """
    with pytest.MonkeyPatch.context() as patch:
        found = World(tmp_path_factory.mktemp("world"), patch)
        small_zoo.ship(found.models, "usual", 0.5)
        small_zoo.ship(found.models, "usual-again", 0.4)
        small_zoo.ship(found.models, "intensity-slow", 0.6, **{SECONDS: 40.0})
        small_zoo.ship(found.models, "intensity", 0.3)
        found.ship()
        yield found


@pytest.fixture(scope="module")
def detector(world: World) -> Detector:
    """The ensemble, ready."""
    return load_detector(zoo.choose("ensemble-t1", None), contrast="T1")


def test_the_best_quick_models_that_differ_are_taken(world: World) -> None:
    card = zoo.choose("ensemble-t1", None)
    assert card.options["members"] == ["usual", "intensity"]
    assert (
        "Members: usual, intensity; rank correlation on healthy voxels: usual and intensity 0."
        in card.summary
    )
    assert card.licence == "licence of usual; licence of intensity"
    assert "usual: training of usual" in card.training


def test_the_ensemble_is_calibrated_and_auto_takes_it_once_it_is_measured_best(detector: Detector) -> None:
    assert detector.false_alarms is not None
    assert detector.false_alarms.n_scans == len(detector.scorer.healthy_image_scores) == 2
    assert zoo.choose("auto", "T1").name == "usual"
    detector.card.figures["zoo AP T1"] = 0.7
    cards = [detector.card, *(card for card in zoo.cards() if card.name != "ensemble-t1")]
    choice = zoo.choice.best(cards, "T1")
    assert choice is not None
    assert choice.reason == "ensemble-t1: voxel AP 0.70 on T1, best of 4 measured; next usual 0.50"


@pytest.mark.parametrize("lesion", [0.6, -0.6])
def test_a_lesion_stands_out_with_its_sign_from_the_healthy_mean(detector: Detector, lesion: float) -> None:
    prepared = scan(20, lesion).prepared
    rebuild = detector.model.rebuild(prepared)
    z = detector.scorer.z(prepared, rebuild)
    far = prepared.brain.copy()
    far[:16] = False
    assert abs(z[LESION].mean()) > 8
    assert np.quantile(np.abs(z[far]), 0.95) < 4
    assert np.sign(z[LESION].mean()) == np.sign(lesion)
    own = [member.model.rebuild(prepared) for member in detector.model.members]  # type: ignore[attr-defined]
    np.testing.assert_allclose(rebuild.healthy, (own[0].healthy + own[1].healthy) / 2, atol=1e-6)
    spread = uncertainty(prepared, rebuild, detector.scorer)
    assert (spread[prepared.brain] > 0).all()


def test_z_of_healthy_scans_is_that_of_single_models(detector: Detector) -> None:
    prepared = scan(21).prepared
    z = detector.scorer.z(prepared, detector.model.rebuild(prepared))[prepared.brain]
    assert abs(z.mean()) < 0.3
    assert 0.5 < z.std() < 2


def test_image_scores_and_false_alarms_are_of_the_maps_that_a_user_gets(detector: Detector) -> None:
    maps = calibration.healthy_maps(detector.model, detector.scorer, healthy(2, 10))
    scores = sorted(float(one.image_score or 0) for one in maps)
    assert detector.scorer.healthy_image_scores == pytest.approx(scores, abs=1e-4)
    assert detector.false_alarms is not None
    assert detector.false_alarms.to_json() == FalseAlarmTable.from_maps(maps).to_json()


def test_ranks_alone_decide_and_no_gradient_is_promised(detector: Detector) -> None:
    assert set(detector.scorer.statistics) == {SCORE, RESIDUAL}
    z = np.ones((2, 2, 2), np.float32)
    assert set(fusion_factors({SCORE: z, RESIDUAL: z})) == {SCORE}
    assert isinstance(detector.model, Explainable)
    with pytest.raises(ModelError, match="ensemble-t1: ranks the maps of 2 models, so no gradient"):
        detector.model.differentiable(scan(0).prepared, np.ones(small_zoo.SHAPE, bool))


def test_named_members_are_taken_as_they_are(empty: World) -> None:
    small_zoo.ship(empty.models, "usual")
    small_zoo.ship(empty.models, "usual-again")
    card = empty.ship('members = ["usual-again", "usual"]\n')
    assert card.options["members"] == ["usual-again", "usual"]
    assert isinstance(zoo.load(card), Ensemble)


def test_an_ensemble_of_other_weights_than_it_was_calibrated_with_is_not_loaded(empty: World) -> None:
    small_zoo.ship(empty.models, "usual")
    other = small_zoo.ship(empty.models, "intensity")
    card = empty.ship('members = ["intensity", "usual"]\n')
    other.sha256["statistics.safetensors"] = "0" * 64
    with pytest.raises(ModelError, match="ensemble-t1: calibrated with another intensity"):
        zoo.ensemble.members_of(card, [other, zoo.choose("usual", None)])
    with pytest.raises(ModelError, match="ensemble-t1: its member usual isn't there"):
        zoo.ensemble.members_of(card, [zoo.choose("intensity", None)])


def test_what_cannot_be_an_ensemble_is_said_and_leaves_nothing(empty: World) -> None:
    small_zoo.ship(empty.models, "usual", 0.5)
    with pytest.raises(AnomalyDetectError, match="two models measured on T1, and there is usual; run"):
        empty.ship()
    small_zoo.ship(empty.models, "usual-again", 0.5)
    with pytest.raises(AnomalyDetectError, match="every model measured on T1 says the same as usual"):
        empty.ship()
    with pytest.raises(AnomalyDetectError, match="'vae' is no single model with statistics for T1"):
        empty.ship('members = ["vae", "usual"]\n')
    assert not (empty.models / "ensemble-t1").exists()
    assert not list((empty.folder / "runs").glob("*"))


def test_a_model_without_signs_is_compared_by_how_far_out_others_are() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000).astype(np.float32)
    signed = Asked(named("signed"), z, signed=True)
    same = Asked(named("same"), np.abs(z), signed=False)
    other = Asked(named("other"), rng.normal(size=20_000).astype(np.float32), signed=False)
    assert correlation(signed, same) == pytest.approx(1)
    members = together([signed, same, other])
    assert [one.card.name for one in members.asked] == ["signed", "other"]


def named(name: str) -> ModelCard:
    """A card with nothing but a name."""
    return ModelCard(name, "1.0", "intensity", ("T1",), *[""] * 5)


def test_training_an_ensemble_says_how_it_is_made(empty: World) -> None:
    with pytest.raises(
        AnomalyDetectError, match=r"nothing .* trained; run `anomalydetect ship .*ensemble\.toml`"
    ):
        train_from(empty.config, empty.folder, empty.folder, {"steps": 1}, quiet)
