"""Models are listed, verified and chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from AnomalyDetectLib.checksums import sha256_of
from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import read_card
from AnomalyDetectLib.models.slices import FAMILIES
from AnomalyDetectLib.prepare.prepared import Prepared

CARDS = zoo.cards()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the flagship's folder."""
    return Path(shutil.copytree(zoo.choose("restore-any", None).folder, tmp_path / "model"))


def test_a_missing_weight_file_is_said(copied: Path) -> None:
    (copied / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors is missing"):
        zoo.load(read_card(copied))


def test_a_changed_weight_file_is_not_loaded(copied: Path) -> None:
    weights = copied / "weights.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    with pytest.raises(ModelError, match="SHA-256"):
        zoo.load(read_card(copied))


def test_a_damaged_card_is_said(copied: Path) -> None:
    (copied / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card\.json can't be read"):
        read_card(copied)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match="atlas-z"):
        zoo.choose("restore-t9", None)


def test_a_contrast_without_a_model_is_said() -> None:
    with pytest.raises(ModelError, match="ASL"):
        zoo.choose("auto", "ASL")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_tells_what_a_user_must_know(card) -> None:  # type: ignore[no-untyped-def]
    assert "not a medical device" in card.intended_use.lower()
    assert card.licence
    assert card.credit
    assert card.training
    assert all(sha256_of(card.folder / file) == digest for file, digest in card.sha256.items())


@pytest.mark.parametrize("card", [c for c in CARDS if c.family not in FAMILIES], ids=lambda card: card.name)
def test_every_model_rebuilds_the_patient_the_same_twice(card, prepared_patient: Prepared) -> None:  # type: ignore[no-untyped-def]
    model = zoo.load(card)
    one, two = model.rebuild(prepared_patient), model.rebuild(prepared_patient)
    assert one.healthy is not None
    assert one.healthy.shape == prepared_patient.brain.shape
    assert np.isfinite(one.healthy).all()
    assert np.array_equal(one.healthy, two.healthy)


def test_shipped_models_are_small() -> None:
    weights = [file for card in CARDS for file in card.folder.glob("weights.safetensors")]
    assert sum(file.stat().st_size for file in weights) < 60e6
    assert all(card.megabytes < 20 for card in CARDS)
