"""What a user of the command line sees."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from AnomalyDetectLib.cli import app
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.io.write import RESULT_FILES, write_nifti
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import Grid, Volume, resample
from Testing.conftest import SecondScan

FILES = set(RESULT_FILES)
REPORT_FIELDS = {
    "case", "input", "modality", "model", "image_score", "image_p", "threshold", "expected_false_alarms",
    "n_findings", "findings_ml", "fit", "seconds", "device", "version", "warnings",
}  # fmt: skip
runner = CliRunner()


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory, patient: Volume) -> Path:
    """The patient at 2 mm, for speed, in a folder with a blank and an umlaut."""
    grid = Grid(
        (patient.array.shape[0] // 2, patient.array.shape[1] // 2, patient.array.shape[2] // 2),
        patient.affine @ np.diag([2.0, 2, 2, 1]),
    )
    path = tmp_path_factory.mktemp("Fälle eins") / "patient 01.nii.gz"
    write_nifti(resample(patient.array, patient.grid, grid), grid, path)
    return path


@pytest.fixture(scope="module")
def results(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one run."""
    out = tmp_path_factory.mktemp("out")
    outcome = runner.invoke(app, ["run", str(scan), "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    return out / "patient 01"


def test_a_run_writes_the_eight_files(results: Path) -> None:
    assert {path.name for path in results.iterdir()} == FILES


def test_all_volumes_lie_on_the_grid_of_the_input(results: Path, scan: Path) -> None:
    own = nib.load(scan)
    for name in FILES:
        if name.endswith(".nii.gz"):
            image = nib.load(results / name)
            assert image.shape == own.shape
            assert np.allclose(image.affine, own.affine, atol=1e-4)


def test_the_report_has_every_field(results: Path) -> None:
    report = json.loads((results / "report.json").read_text(encoding="utf-8"))
    assert set(report) >= REPORT_FIELDS
    assert set(report["model"]) >= {"name", "version", "sha256"}
    assert set(report["fit"]) >= {"verdict", "reasons"}
    assert report["expected_false_alarms"] == 1.0


def test_the_csv_has_a_row_for_every_label_of_the_mask(results: Path) -> None:
    labels = set(np.unique(np.asarray(nib.load(results / "mask.nii.gz").dataobj))) - {0}
    with (results / "findings.csv").open(encoding="utf-8") as file:
        assert {int(row["id"]) for row in csv.DictReader(file)} == labels


def test_more_false_alarms_allow_more_findings(results: Path, scan: Path, tmp_path: Path) -> None:
    args = ["run", str(scan), "--out", str(tmp_path), "--false-alarms", "10", "--json"]
    report = json.loads(runner.invoke(app, args).stdout)
    own = json.loads((results / "report.json").read_text(encoding="utf-8"))
    assert report["n_findings"] >= own["n_findings"]
    assert report["threshold"] < own["threshold"]


def test_the_same_scan_gives_the_same_bytes(results: Path, scan: Path, tmp_path: Path) -> None:
    runner.invoke(app, ["run", str(scan), "--out", str(tmp_path)])
    for name in FILES - {"report.json"}:
        assert (tmp_path / "patient 01" / name).read_bytes() == (results / name).read_bytes(), name


def test_a_bad_scan_gets_one_line_and_the_others_go_on(scan: Path, tmp_path: Path) -> None:
    bad = tmp_path / "broken.nii.gz"
    bad.write_text("not an image")
    outcome = runner.invoke(app, ["run", str(bad), str(scan), "--out", str(tmp_path / "out")])
    assert outcome.exit_code == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"patient 01"}
    assert outcome.output.count("error:") == 1
    assert "broken.nii.gz" in outcome.output


@pytest.mark.parametrize("value", ["0", "100", "-1"])
def test_impossible_false_alarms_are_refused(value: str, scan: Path, tmp_path: Path) -> None:
    outcome = runner.invoke(app, ["run", str(scan), "--out", str(tmp_path), "--false-alarms", value])
    assert outcome.exit_code == 2
    assert "0.01" in outcome.output
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_lists_the_known_ones(scan: Path, tmp_path: Path) -> None:
    outcome = runner.invoke(app, ["run", str(scan), "--out", str(tmp_path), "--model", "nonsense"])
    assert outcome.exit_code == 2
    assert "atlas-z" in outcome.output


def test_a_mask_on_another_grid_is_refused(scan: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    write_nifti(np.ones((9, 9, 9), np.uint8), Grid((9, 9, 9), np.eye(4)), mask)
    outcome = runner.invoke(
        app, ["run", str(scan), "--out", str(tmp_path / "out"), "--brain-mask", str(mask)]
    )
    assert outcome.exit_code == 2
    assert "mask" in outcome.output


def test_two_scans_of_one_name_get_two_folders(scan: Path, tmp_path: Path) -> None:
    outcome = runner.invoke(app, ["run", str(scan), str(scan), "--out", str(tmp_path)])
    assert outcome.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"patient 01", "patient 01_2"}


def test_a_second_sequence_has_its_say_and_the_report_names_both(
    scan: Path, second_scan: SecondScan, tmp_path: Path
) -> None:
    also = tmp_path / "second.nii.gz"
    write_nifti(second_scan.volume.array, second_scan.volume.grid, also)
    args = ["run", str(scan), "--also", str(also), "--also-modality", "T1", "--model", "atlas-z"]
    outcome = runner.invoke(app, [*args, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    folder = tmp_path / "out" / "patient 01"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["input"] == str(scan)
    assert report["also"]["input"] == str(also)
    assert (report["also"]["modality"], report["also"]["model"]["name"]) == ("T1", "atlas-z")
    assert np.allclose(report["also"]["second_from_first"], second_scan.second_from_first, atol=2)
    with (folder / "findings.csv").open(encoding="utf-8") as file:
        in_csv = {row["id"]: row["sequence"] for row in csv.DictReader(file)}
    assert in_csv == {str(row["id"]): row["sequence"] for row in report["findings"]}
    assert "T1 2" in in_csv.values()
    assert "T1 2" in outcome.output


def test_a_second_sequence_of_several_scans_is_refused(scan: Path, tmp_path: Path) -> None:
    args = ["run", str(scan), str(scan), "--also", str(scan), "--out", str(tmp_path)]
    outcome = runner.invoke(app, args)
    assert outcome.exit_code == 2
    assert "give one SCAN" in " ".join(outcome.output.split())
    assert not list(tmp_path.iterdir())


def test_the_zoo_is_listed() -> None:
    output = runner.invoke(app, ["models"], env={"COLUMNS": "200"}).output
    assert "intensity" in output
    assert "atlas-z" in output


def test_the_demo_says_that_its_patient_is_simulated(tmp_path: Path) -> None:
    outcome = runner.invoke(app, ["demo", "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    assert "SIMULATED PATIENT" in outcome.output
    assert (tmp_path / "demo" / "preview.png").exists()


def test_a_config_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('task = "restoration"\nname = "x"\n[loop]\nstep = 3\n')
    outcome = runner.invoke(app, ["train", str(config), "--data", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "'step'" in outcome.output


def test_a_score_map_of_another_tool_becomes_findings(results: Path, tmp_path: Path) -> None:
    args = ["findings", str(results / "score.nii.gz"), "--out", str(tmp_path), "--threshold", "4"]
    outcome = runner.invoke(app, args)
    assert outcome.exit_code == 0, outcome.output
    assert {path.name for path in (tmp_path / "score").iterdir()} == {"mask.nii.gz", "findings.csv"}


@pytest.fixture
def two_balls(tmp_path: Path) -> Path:
    """A folder with a score map of faint noise and two balls of z 6, and a mask that holds one of them."""
    i, j, k = np.ogrid[:30, :30, :30]
    score = np.random.default_rng(1).normal(0, 0.3, (30, 30, 30)).astype(np.float32)
    mask = np.zeros(score.shape, np.float32)
    mask[:15] = 1
    for centre in (8, 22):
        score[(i - centre) ** 2 + (j - 15) ** 2 + (k - 15) ** 2 <= 16] = 6
    grid = Grid((30, 30, 30), np.eye(4))
    write_nifti(score, grid, tmp_path / "tool.nii.gz")
    write_nifti(mask, grid, tmp_path / "brain.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    ("method", "meaning"),
    [
        ([], "standard deviations from healthy"),
        (["--hysteresis", "2"], "strong core"),
        (["--method", "otsu"], "Otsu 1979"),
        (["--method", "yen"], "Yen 1995"),
        (["--method", "percentile"], "percentage of the brain"),
    ],
)
def test_every_method_finds_the_balls_of_a_score_map_and_says_what_it_means(
    two_balls: Path, method: list[str], meaning: str
) -> None:
    args = ["findings", str(two_balls / "tool.nii.gz"), "--out", str(two_balls / "out"), *method]
    outcome = runner.invoke(app, args)
    assert outcome.exit_code == 0, outcome.output
    assert meaning in outcome.output
    labelmap = read_volume(two_balls / "out" / "tool" / "mask.nii.gz").array
    assert labelmap[8, 15, 15] > 0
    assert labelmap[22, 15, 15] > 0
    assert (labelmap == 0).any()


def test_findings_stay_inside_the_brain_mask(two_balls: Path) -> None:
    args = ["findings", str(two_balls / "tool.nii.gz"), "--out", str(two_balls / "out")]
    outcome = runner.invoke(app, [*args, "--brain-mask", str(two_balls / "brain.nii.gz")])
    assert outcome.exit_code == 0, outcome.output
    labelmap = read_volume(two_balls / "out" / "tool" / "mask.nii.gz").array
    assert labelmap[8, 15, 15] == 1
    assert not labelmap[15:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "best"], "fixed, percentile, otsu, yen"),
        (["--method", "percentile", "--threshold", "101"], "0 to 100 %"),
        (["--method", "otsu", "--hysteresis", "2"], "has no weak threshold"),
        (["--hysteresis", "5"], "0.01 to 3.5 z"),
        (["--min-volume-mm3", "1e6"], "more than the brain"),
    ],
)
def test_a_bad_choice_for_a_score_map_is_one_line(two_balls: Path, options: list[str], message: str) -> None:
    args = ["findings", str(two_balls / "tool.nii.gz"), "--out", str(two_balls / "out"), *options]
    outcome = runner.invoke(app, args)
    assert outcome.exit_code == 2
    assert message in " ".join(outcome.output.split())
    assert not (two_balls / "out" / "tool").exists()


def test_a_bad_setting_names_the_allowed_range(results: Path, tmp_path: Path) -> None:
    args = ["findings", str(results / "score.nii.gz"), "--out", str(tmp_path), "--open-mm", "-2"]
    outcome = runner.invoke(app, args)
    assert outcome.exit_code == 2
    assert "0 to 10 mm" in outcome.output
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
def test_a_killed_run_leaves_nothing_half_written_and_a_rerun_succeeds(tmp_path: Path) -> None:
    scan = resource("SampleData", "demo_t1.nii.gz")
    command = [sys.executable, "-m", "AnomalyDetectLib.cli", "run", str(scan), "--out", str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".*.partial/healthy.nii.gz")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "demo_t1").exists()
    outcome = runner.invoke(app, ["run", str(scan), "--out", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    assert {path.name for path in tmp_path.iterdir()} == {"demo_t1"}
