"""A folder of DICOM slices is read as one volume, or refused with what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io.read import read_volume

ROWS, COLUMNS = 16, 20


def write_slices(
    folder: Path,
    positions: list[tuple[float, float, float]],
    *,
    uid: str = "1.2.3.4",
    modality: str = "MR",
    description: str = "MPRAGE",
    slope: float = 1.0,
) -> np.ndarray:
    """Axial slices at `positions` (LPS, mm), pixel spacing 1.5 (rows) x 0.8 (columns); returns (i,j,k)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    slices = []
    for number, position in enumerate(positions):
        pixels = rng.integers(0, 900, (ROWS, COLUMNS)).astype(np.uint16)
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{uid}.{number + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", uid
        data.Modality, data.SeriesDescription, data.InstanceNumber = modality, description, number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = list(position), [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1.5, 0.8], 2
        data.Rows, data.Columns, data.SamplesPerPixel = ROWS, COLUMNS, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.RescaleSlope, data.RescaleIntercept = slope, 0
        data.PixelData = pixels.tobytes()
        # Names run against the positions: only the header may order the slices.
        pydicom.dcmwrite(folder / f"{uid}_{99 - number:03d}.dcm", data, enforce_file_format=True)
        slices.append(pixels.T * slope)
    return np.stack(slices, axis=2).astype(np.float32)


def stack(gaps: list[float], shift: float = 0.0) -> list[tuple[float, float, float]]:
    heights = np.concatenate([[0.0], np.cumsum(gaps)])
    return [(-10.0, -20.0 + shift * number, float(z)) for number, z in enumerate(heights)]


def test_a_series_folder_is_one_volume_in_its_place(tmp_path: Path) -> None:
    expected = write_slices(tmp_path / "Kopf säg T1", stack([2.0] * 7))
    volume = read_volume(tmp_path / "Kopf säg T1")
    np.testing.assert_allclose(volume.array, expected)
    affine = np.array([[-0.8, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert volume.warnings == ()


def test_rescaled_values_are_read_in_real_units(tmp_path: Path) -> None:
    expected = write_slices(tmp_path / "series", stack([2.0] * 7), slope=0.5)
    np.testing.assert_allclose(read_volume(tmp_path / "series").array, expected)


def test_computed_tomography_is_known_from_the_header(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0] * 7), modality="CT")
    assert read_volume(tmp_path / "series").modality == "CT"


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    first = write_slices(tmp_path / "study", stack([2.0] * 7), uid="1.2.3.4", description="T1 MPRAGE")
    write_slices(tmp_path / "study", stack([3.0] * 9), uid="1.2.3.5", description="FLAIR")
    with pytest.raises(VolumeError) as caught:
        read_volume(tmp_path / "study")
    line = str(caught.value)
    assert "2 DICOM series" in line
    assert "1.2.3.4 (T1 MPRAGE, 8 files)" in line
    assert "1.2.3.5 (FLAIR, 10 files)" in line
    np.testing.assert_allclose(read_volume(tmp_path / "study", series="1.2.3.4").array, first)


def test_a_series_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    write_slices(tmp_path / "study", stack([2.0] * 7))
    with pytest.raises(VolumeError, match=r"no series 9\.9; there are: 1\.2\.3\.4"):
        read_volume(tmp_path / "study", series="9.9")


def test_missing_slices_are_warned_of(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0, 2, 2, 6, 2, 2, 2]))
    (warning,) = read_volume(tmp_path / "series").warnings
    assert warning.startswith("about 2 slices are missing (1 gaps up to 6.0 mm")


def test_uneven_slices_are_warned_of(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0, 2, 2.3, 2, 2, 1.8, 2]))
    (warning,) = read_volume(tmp_path / "series").warnings
    assert "1.80 to 2.30 mm apart" in warning


def test_a_tilted_gantry_becomes_a_sheared_affine(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0] * 7, shift=0.5), modality="CT")
    volume = read_volume(tmp_path / "series")
    np.testing.assert_allclose(volume.affine[:3, 2], [0, -0.5, 2], atol=1e-6)
    assert "gantry tilt 14°" in volume.warnings[0]


def test_two_echoes_in_one_series_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0, 0, 2, 0, 2, 0, 2]))
    with pytest.raises(VolumeError, match="share a position"):
        read_volume(tmp_path / "series")


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(VolumeError, match="no DICOM series in this folder"):
        read_volume(tmp_path)


def test_a_truncated_slice_is_called_damaged(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0] * 7))
    broken = sorted((tmp_path / "series").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:-400])
    with pytest.raises(VolumeError, match="damaged or incomplete") as caught:
        read_volume(tmp_path / "series")
    assert "\n" not in str(caught.value)


def test_one_slice_file_asks_for_its_folder(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0] * 7))
    with pytest.raises(VolumeError, match="give the folder"):
        read_volume(sorted((tmp_path / "series").iterdir())[0])


def test_localizers_of_several_directions_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stack([2.0] * 7))
    turned = sorted((tmp_path / "series").iterdir())[0]
    data = pydicom.dcmread(turned)
    data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    data.save_as(turned)
    with pytest.raises(VolumeError, match="several directions"):
        read_volume(tmp_path / "series")


def test_other_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    expected = write_slices(tmp_path / "series", stack([2.0] * 7))
    (tmp_path / "series" / "notes.txt").write_text("patient moved")
    (tmp_path / "series" / "empty").touch()
    np.testing.assert_allclose(read_volume(tmp_path / "series").array, expected)
