"""Results are all there or not there at all, and the same input gives the same bytes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.io.write import BRAIN, REGIONS, RESULT_FILES, WHY_FILES, results_folder, write_nifti
from AnomalyDetectLib.volume import Grid

SHAPE = (20, 24, 18)
GRID = Grid(SHAPE, np.array([[0.9, 0.2, 0, -20], [-0.2, 0.9, 0, 5], [0, 0, 3.0, 9], [0, 0, 0, 1.0]]))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run(out: Path, text: str, files: tuple[str, ...] = RESULT_FILES) -> None:
    """One run of the case "case" whose every result holds `text`."""
    with results_folder(out, "case") as folder:
        for name in files:
            (folder / name).write_text(text)


def fail_in_the_middle(out: Path, error: Exception) -> None:
    """A run of the case "case" that ends with `error` after its first file."""
    with results_folder(out, "case") as folder:
        (folder / "healthy.nii.gz").write_text("half")
        raise error


def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)


def test_a_map_comes_back_with_its_values_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    write_nifti(maps(), GRID, tmp_path / "score.nii.gz")
    image = nib.load(tmp_path / "score.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), maps())
    np.testing.assert_allclose(image.get_sform(), GRID.affine, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), GRID.affine, atol=1e-4)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.get_data_dtype() == np.float32


def test_a_sheared_affine_is_written_in_the_sform_alone(tmp_path: Path) -> None:
    affine = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    write_nifti(maps(), Grid(SHAPE, affine), tmp_path / "score.nii.gz")
    header = nib.load(tmp_path / "score.nii.gz").header
    np.testing.assert_allclose(header.get_sform(), affine)
    assert int(header["qform_code"]) == 0


@pytest.mark.parametrize(
    ("dtype", "stored"), [("bool", "uint8"), ("uint8", "uint8"), ("int32", "int32"), ("int64", "int32")]
)
def test_masks_and_labelmaps_keep_their_integers(tmp_path: Path, dtype: str, stored: str) -> None:
    labels = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 5).astype(dtype)
    write_nifti(labels, GRID, tmp_path / "mask.nii.gz")
    image = nib.load(tmp_path / "mask.nii.gz")
    assert image.get_data_dtype() == np.dtype(stored)
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)


def test_the_same_map_gives_the_same_bytes_at_any_time_and_place(tmp_path: Path) -> None:
    write_nifti(maps(), GRID, tmp_path / "a.nii.gz")
    time.sleep(1.1)
    write_nifti(maps(), GRID, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_number_of_cores_does_not_change_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.tile(maps(), (4, 4, 4))
    grid = Grid((80, 96, 72), np.eye(4))
    write_nifti(large, grid, tmp_path / "a.nii.gz")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    write_nifti(large, grid, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), large)


def test_fewer_mantissa_bits_make_a_smaller_file_within_their_error(tmp_path: Path) -> None:
    write_nifti(maps(), GRID, tmp_path / "full.nii.gz")
    write_nifti(maps(), GRID, tmp_path / "short.nii.gz", keep_bits=10)
    short = np.asarray(nib.load(tmp_path / "short.nii.gz").dataobj)
    np.testing.assert_allclose(short, maps(), rtol=2**-11)
    assert (tmp_path / "short.nii.gz").stat().st_size < 0.8 * (tmp_path / "full.nii.gz").stat().st_size


def test_a_map_on_another_grid_is_refused_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\(5, 5, 5\) is not on the grid \(20, 24, 18\)"):
        write_nifti(np.zeros((5, 5, 5), np.float32), GRID, tmp_path / "score.nii.gz")


def test_results_appear_all_at_once(tmp_path: Path) -> None:
    with results_folder(tmp_path / "out", "case") as folder:
        (folder / "report.json").write_text("{}")
        assert not (tmp_path / "out" / "case").exists()
    assert names(tmp_path / "out") == {"case"}


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_in_the_middle(tmp_path / "new" / "out", RuntimeError("model failed"))
    assert names(tmp_path) == set()


def test_a_failure_keeps_the_results_of_the_run_before(tmp_path: Path) -> None:
    run(tmp_path, "first")
    with pytest.raises(RuntimeError):
        fail_in_the_middle(tmp_path, RuntimeError("model failed"))
    assert names(tmp_path) == {"case"}
    assert (tmp_path / "case" / "healthy.nii.gz").read_text() == "first"


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    run(tmp_path, "first")
    run(tmp_path, "second", files=("healthy.nii.gz", "report.json"))
    assert names(tmp_path) == {"case"}
    assert names(tmp_path / "case") == {"healthy.nii.gz", "report.json"}
    assert (tmp_path / "case" / "report.json").read_text() == "second"


def test_files_of_the_reader_in_the_folder_stay(tmp_path: Path) -> None:
    run(tmp_path, "first")
    (tmp_path / "case" / "my notes.txt").write_text("keep")
    run(tmp_path, "second", files=("healthy.nii.gz", "report.json"))
    assert names(tmp_path / "case") == {"healthy.nii.gz", "report.json", "my notes.txt"}
    assert (tmp_path / "case" / "healthy.nii.gz").read_text() == "second"
    assert names(tmp_path) == {"case"}


@pytest.mark.parametrize("foreign", [False, True], ids=["ours alone", "with a file of the reader's"])
def test_a_brain_mask_of_an_earlier_run_does_not_outlive_it(tmp_path: Path, foreign: bool) -> None:
    run(tmp_path, "first", files=(*RESULT_FILES, BRAIN, REGIONS))
    if foreign:
        (tmp_path / "case" / "my notes.txt").write_text("keep")
    run(tmp_path, "second")
    assert names(tmp_path / "case") - {"my notes.txt"} == set(RESULT_FILES)


@pytest.mark.parametrize("foreign", [False, True], ids=["ours alone", "with a file of the reader's"])
def test_a_new_run_takes_the_explanations_of_old_findings_away_but_no_file_of_the_reader(
    tmp_path: Path, foreign: bool
) -> None:
    run(tmp_path, "first")
    for number in (1, 2):
        with results_folder(tmp_path / "case", f"why_{number}") as folder:
            for name in WHY_FILES:
                (folder / name).write_text("why")
    assert names(tmp_path / "case") == {*RESULT_FILES, "why_1", "why_2"}
    assert (tmp_path / "case" / "report.json").read_text() == "first"
    if foreign:
        (tmp_path / "case" / "why_2" / "my notes.txt").write_text("keep")
    run(tmp_path, "second")
    assert names(tmp_path / "case") == {*RESULT_FILES, *(["why_2"] if foreign else [])}
    assert (tmp_path / "case" / "report.json").read_text() == "second"


def test_another_case_in_the_same_folder_is_not_touched(tmp_path: Path) -> None:
    run(tmp_path, "first")
    with results_folder(tmp_path, "other") as folder:
        (folder / "report.json").write_text("other")
    assert names(tmp_path) == {"case", "other"}


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.EIO, "can't be written"),
    ],
)
def test_a_full_disk_or_a_closed_folder_is_one_line_and_leaves_nothing(
    tmp_path: Path, number: int, what: str
) -> None:
    with pytest.raises(OutputError, match=what) as caught:
        fail_in_the_middle(tmp_path / "out", OSError(number, os.strerror(number)))
    assert "\n" not in str(caught.value)
    assert "choose another folder" in str(caught.value)
    assert names(tmp_path) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_map_that_does_not_fit_is_called_a_full_disk(tmp_path: Path) -> None:
    link = tmp_path / "score.nii.gz"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full"):
        write_nifti(maps(), GRID, link)
    assert names(tmp_path) == set()


def test_no_permission_to_make_the_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="no permission"), results_folder(tmp_path / "out", "case"):
        pytest.fail("the block must not start")


def test_a_file_in_place_of_the_output_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="can't be written"), results_folder(tmp_path / "out", "case"):
        pytest.fail("the block must not start")
    assert (tmp_path / "out").read_text() == "a file"


def test_a_file_in_place_of_the_case_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "case").write_text("a file")
    with pytest.raises(OutputError, match="in the way"), results_folder(tmp_path, "case"):
        pytest.fail("the block must not start")
    assert (tmp_path / "case").read_text() == "a file"


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a POSIX signal")
def test_a_killed_run_leaves_no_results_and_the_next_one_succeeds(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from AnomalyDetectLib.io.write import results_folder\n"
        "with results_folder(sys.argv[1], 'case') as folder:\n"
        "    (folder / 'healthy.nii.gz').write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "case").exists()
    run(tmp_path, "whole")
    assert names(tmp_path) == {"case"}
    assert names(tmp_path / "case") == set(RESULT_FILES)


def test_a_run_killed_between_the_two_renames_brings_the_earlier_results_back(tmp_path: Path) -> None:
    run(tmp_path, "first")
    (tmp_path / "case").rename(tmp_path / ".case.old")
    with pytest.raises(RuntimeError):
        fail_in_the_middle(tmp_path, RuntimeError("fails too"))
    assert (tmp_path / "case" / "report.json").read_text() == "first"
    assert names(tmp_path) == {"case"}
