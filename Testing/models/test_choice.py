"""What `auto` takes, and what it says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from AnomalyDetectLib import cli
from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import FALSE_ALARMS, ModelCard, write_card
from AnomalyDetectLib.models.choice import best, choices, deciding_figure
from AnomalyDetectLib.mrml import model_list


def model(
    name: str,
    contrasts: tuple[str, ...] = ("T1",),
    calibrated: bool = True,
    folder: Path = Path(),
    family: str = "auto-encoder",
    **figures: float,
) -> ModelCard:
    """A card with figures by contrast, and `seconds`; calibrated: with false alarms for each contrast."""
    named: dict[str, Any] = {deciding_figure(c): value for c, value in figures.items() if c != "seconds"}
    if "seconds" in figures:
        named["zoo seconds"] = figures["seconds"]
    texts = dict.fromkeys(("summary", "licence", "credit", "training", "intended_use"), "")
    card = ModelCard(
        name, "1.0", family, contrasts, figures=named, folder=folder, **texts  # type: ignore[arg-type]
    )  # fmt: skip
    if calibrated:
        card.sha256.update({card.calibration(FALSE_ALARMS, contrast): "" for contrast in contrasts})
    return card


def test_the_best_measured_figure_wins_and_the_next_is_named() -> None:
    cards = [model("restore-any"), model("ae-u", T1=0.31), model("padim", T1=0.452), model("vae", T1=0.1)]
    choice = best(cards, "T1")
    assert choice is not None
    assert choice.card.name == "padim"
    assert choice.reason == "padim: voxel AP 0.45 on T1, best of 3 measured; next ae-u 0.31"


def test_a_contrast_that_nobody_was_measured_on_gets_the_preferred_model() -> None:
    both = ("T1", "T2")
    choice = best([model("atlas", both, T1=0.9), model("restore-any", both, T1=0.2)], "T2")
    assert choice is not None
    assert choice.reason == "restore-any: the preferred model for T2; none was measured on it"


def test_slices_decide_where_no_lesion_is_drawn() -> None:
    choice = best([model("ae-u", ("CT",), CT=0.71)], "CT")
    assert choice is not None
    assert choice.reason == "ae-u: slice AP 0.71 on CT, the only one measured"


def test_a_trivial_rival_that_nothing_beats_is_taken_and_said_to_be_one() -> None:
    choice = best([model("dae-ct", ("CT",), CT=0.7), model("mirror", ("CT",), family="rival", CT=0.8)], "CT")
    assert choice is not None
    assert choice.reason == (
        "mirror: slice AP 0.80 on CT, best of 2 measured; next dae-ct 0.70; no trained model beats it"
    )


def test_a_slow_model_is_not_taken_where_there_is_a_quick_one() -> None:
    slow = model("ddpm", T1=0.9, seconds=41.0)
    choice = best([slow, model("ae-u", T1=0.3, seconds=10.0)], "T1")
    assert choice is not None
    assert choice.reason == "ae-u: voxel AP 0.30 on T1, the only one measured"
    alone = best([slow], "T1")
    assert alone is not None
    assert alone.reason == "ddpm: takes 41 s a scan, and no quicker model knows T1"


def test_a_model_without_false_alarms_for_the_contrast_is_not_taken() -> None:
    good = model("ae-u", ("T1", "FLAIR"), calibrated=False, T1=0.9, FLAIR=0.9)
    good.sha256[FALSE_ALARMS] = ""
    assert {contrast: one.card.name for contrast, one in choices([good]).items()} == {"T1": "ae-u"}


@pytest.mark.parametrize("figure", [float("nan"), "0.9 (0.8-1.0)"])
def test_a_figure_that_is_no_number_does_not_count(figure: object) -> None:
    odd = model("odd")
    odd.figures[deciding_figure("T1")] = figure
    choice = best([odd, model("ae-u", T1=0.1)], "T1")
    assert choice is not None
    assert choice.card.name == "ae-u"


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models: the preferred one, and one that was measured to be better on T1."""
    for card in (model("restore-any", ("T1", "T2"), T1=0.2), model("ae-u", T1=0.4)):
        folder = tmp_path / "Models" / card.name
        folder.mkdir(parents=True)
        for file in card.sha256:
            (folder / file).write_text("{}")
        write_card(ModelCard(**{**vars(card), "folder": folder}))
    monkeypatch.setattr(zoo, "models_folder", lambda: tmp_path / "Models")
    monkeypatch.setattr("AnomalyDetectLib.resources.resources_folder", lambda: tmp_path)
    return tmp_path / "Models"


def test_the_list_of_models_marks_what_auto_takes(two_models: Path) -> None:
    output = CliRunner().invoke(cli.app, ["models"], env={"COLUMNS": "200"}).output
    (row,) = (line for line in output.splitlines() if line.startswith("│ restore-any"))
    assert [cell.strip() for cell in row.split("│")][2:4] == ["T1, T2", "T2"]
    assert "auto, T1: ae-u: voxel AP 0.40 on T1, best of 2 measured; next restore-any 0.20" in output
    assert "auto, T2: restore-any: the preferred model for T2" in output


def test_the_panel_tells_for_each_contrast_what_auto_takes(two_models: Path) -> None:
    lines = model_list.card_text("auto").splitlines()
    assert lines[0] == "T1: ae-u: voxel AP 0.40 on T1, best of 2 measured; next restore-any 0.20"
    assert "restore-any: T1, T2" in lines


def test_a_run_says_why_auto_took_the_model_of_each_sequence(
    two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli._print_choice({"modality": "T1", "also": {"modality": "T2"}})
    said = " ".join(capsys.readouterr().out.split())
    assert "auto, T1: ae-u: voxel AP 0.40 on T1, best of 2 measured; next restore-any 0.20" in said
    assert said.endswith("auto, T2: restore-any: the preferred model for T2; none was measured on it")


def test_auto_takes_the_measured_model_and_names_what_there_is_for_other_scans(two_models: Path) -> None:
    assert zoo.choose("auto", "T1").name == "ae-u"
    assert zoo.choose("auto", "T2").name == zoo.choose("auto", None).name == "restore-any"
    with pytest.raises(ModelError, match="no calibrated model for CT scans; there are models for T1, T2"):
        zoo.choose("auto", "CT")
