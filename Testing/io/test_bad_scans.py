"""Every scan that can't be processed gets one line: the file, what is wrong, and what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from AnomalyDetectLib.errors import AnomalyDetectError, SingularAffineError, VolumeError
from AnomalyDetectLib.io.read import read_volume

SHAPE = (12, 14, 10)


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def refusal(path: Path) -> str:
    """The one line that a user sees."""
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert ";" in line, "a remedy follows the semicolon"
    return line


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nowhere.nii.gz")


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.nrrd", "scan.mha"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "the file is empty (0 bytes)" in refusal(tmp_path / name)


@pytest.mark.parametrize("keep", [20, 200, 0.5, 0.98])
def test_a_truncated_gzip_is_called_damaged(tmp_path: Path, keep: float) -> None:
    path = save(tmp_path / "scan.nii.gz", noise())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    refusal(path)


def test_a_truncated_nifti_is_called_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", noise())
    path.write_bytes(path.read_bytes()[:3000])
    assert "damaged or incomplete" in refusal(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_truncated_nrrd_and_metaimage_are_called_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(path), useCompression=True)
    path.write_bytes(path.read_bytes()[:2000])
    assert "damaged or incomplete" in refusal(path)


def test_text_named_nii_gz_is_not_gzip(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_text("patient did not come\n" * 100)
    assert "not compressed with gzip" in refusal(tmp_path / "scan.nii.gz")


def test_zipped_text_named_nii_gz_is_not_nifti(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(b"patient did not come\n" * 100))
    assert "not a NIfTI image" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nrrd", "scan.mha", "scan.mhd"])
def test_text_with_the_name_of_a_scan_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("patient did not come\n" * 100)
    refusal(tmp_path / name)


def test_a_header_whose_data_file_is_gone_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(tmp_path / "scan.mhd"))
    (tmp_path / "scan.raw").unlink()
    refusal(tmp_path / "scan.mhd")


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"x")
    line = refusal(tmp_path / "scan.png")
    assert ".nii.gz" in line
    assert ".nrrd" in line
    assert "DICOM" in line


def test_all_zeros_are_refused(tmp_path: Path) -> None:
    assert "all voxels are 0" in refusal(save(tmp_path / "scan.nii.gz", np.zeros(SHAPE, np.int16)))


def test_a_constant_scan_is_refused_with_its_value(tmp_path: Path) -> None:
    assert "the value 7" in refusal(save(tmp_path / "scan.nii.gz", np.full(SHAPE, 7, np.int16)))


def test_mostly_nan_is_refused_with_the_share(tmp_path: Path) -> None:
    array = noise()
    array[:8] = np.nan
    assert "67 %" in refusal(save(tmp_path / "scan.nii.gz", array))


@pytest.mark.parametrize("shape", [(12, 14, 1), (12, 14), (1, 14, 10), (12, 14, 4)])
def test_one_slice_or_a_few_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "slice" in refusal(save(tmp_path / "scan.nii.gz", noise(shape)))


def test_a_series_of_volumes_is_refused_with_their_number(tmp_path: Path) -> None:
    line = refusal(save(tmp_path / "scan.nii.gz", noise((*SHAPE, 3))))
    assert "4-D image (12x14x10x3), 3 volumes" in line


def test_a_series_of_volumes_as_nrrd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(noise((3, *SHAPE)), isVector=False), str(path))
    assert "3 volumes" in refusal(path)


def test_colour_is_refused(tmp_path: Path) -> None:
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colour" in refusal(save(tmp_path / "scan.nii.gz", rgb))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colour_as_nrrd_or_metaimage_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True), str(path))
    assert "3 values in each voxel" in refusal(path)


def test_complex_values_are_refused(tmp_path: Path) -> None:
    assert "complex" in refusal(save(tmp_path / "scan.nii.gz", noise().astype(np.complex64)))


def test_a_singular_affine_is_refused_with_its_determinant(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", noise())
    content = bytearray(path.read_bytes())
    content[252:254] = bytes(2)  # qform_code
    content[312:328] = bytes(16)  # srow_z
    path.write_bytes(content)
    with pytest.raises(SingularAffineError, match="determinant 0"):
        read_volume(path)


def test_an_affine_with_nan_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = np.nan
    with pytest.raises(SingularAffineError, match="not a finite"):
        read_volume(save(tmp_path / "scan.nii.gz", noise(), affine))


@pytest.mark.parametrize("size", [300.0, 0.001])
def test_voxels_of_an_impossible_size_are_refused_with_the_size(tmp_path: Path, size: float) -> None:
    line = refusal(save(tmp_path / "scan.nii.gz", noise(), np.diag([1.0, 1, size, 1])))
    assert f"1 x 1 x {size:g} mm" in line


def test_an_unknown_modality_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(AnomalyDetectError, match="T1, T2, FLAIR, PD, CT"):
        read_volume(save(tmp_path / "scan.nii.gz", noise()), modality="DWI")


def test_an_unreadable_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "scan.nii.gz", noise())

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "no permission" in refusal(path)
