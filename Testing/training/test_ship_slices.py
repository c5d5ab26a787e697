"""A model that is shipped comes into the zoo whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.training.ship_slices import staged


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty zoo."""
    folder = tmp_path / "Models"
    folder.mkdir()
    monkeypatch.setattr(zoo, "models_folder", lambda: folder)
    return folder


def test_a_shipped_model_takes_the_place_of_the_one_before(models: Path, tmp_path: Path) -> None:
    (models / "ae").mkdir()
    (models / "ae" / "old.json").write_text("{}")
    with staged("ae", tmp_path / "runs") as folder:
        (folder / "card.json").write_text("{}")
    assert [path.name for path in (models / "ae").iterdir()] == ["card.json"]
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_calibration_that_fails_leaves_the_zoo_as_it_was(models: Path, tmp_path: Path) -> None:
    def fail() -> None:
        with staged("ae", tmp_path / "runs") as folder:
            (folder / "card.json").write_text("{}")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert list(models.iterdir()) == []
    assert list((tmp_path / "runs").iterdir()) == []
