"""Scans of every format, orientation and data type arrive with their values and in their place."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io.read import case_name, read_mask, read_volume
from AnomalyDetectLib.volume import Grid

SHAPE = (12, 14, 10)
OBLIQUE = np.array([[0.9, 0.2, 0.1, -20], [-0.2, 1.1, 0.3, -30], [-0.05, -0.3, 1.4, 5], [0, 0, 0, 1.0]])


def ramp(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Every voxel another value, so that no axis can be swapped unseen."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.2, 2.0, 1]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_every_data_type_and_byte_order_keeps_its_values(tmp_path: Path, dtype: str, endian: str) -> None:
    stored = (ramp() % 200).astype(dtype)
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(stored, np.eye(4), header), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, stored.astype(np.float32))


def test_scaled_integers_are_read_in_real_units(tmp_path: Path) -> None:
    image = nib.Nifti1Image((ramp() % 100).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "scan.nii.gz")
    stored = np.asarray(nib.load(tmp_path / "scan.nii.gz").dataobj)
    np.testing.assert_allclose(read_volume(tmp_path / "scan.nii.gz").array, stored, atol=1e-4)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR", "AIL", "SRA"])
def test_every_stored_orientation_places_the_same_voxel_at_the_same_spot(tmp_path: Path, codes: str) -> None:
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    array = nib.orientations.apply_orientation(ramp(), turn)
    affine = OBLIQUE @ inv_ornt_aff(turn, SHAPE)
    volume = read_volume(save_nifti(tmp_path / "scan.nii.gz", array, affine))
    index = np.argwhere(volume.array == ramp()[3, 4, 5])[0]
    np.testing.assert_allclose(volume.affine @ [*index, 1], OBLIQUE @ [3, 4, 5, 1], atol=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii.gz"])
def test_nrrd_and_metaimage_lie_where_the_nifti_lies(tmp_path: Path, suffix: str) -> None:
    rotation = np.linalg.qr(OBLIQUE[:3, :3])[0]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * [0.8, 0.9, 3.0], [4, -50, 12]
    image = sitk.GetImageFromArray(ramp().transpose())
    image.SetSpacing([0.8, 0.9, 3.0])
    image.SetOrigin((np.diag([-1, -1, 1]) @ affine[:3, 3]).tolist())
    image.SetDirection((np.diag([-1, -1, 1]) @ rotation).ravel().tolist())
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ramp())
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)


def test_a_left_handed_affine_is_kept(tmp_path: Path) -> None:
    affine = np.diag([-1.0, 1, 2, 1])
    volume = read_volume(save_nifti(tmp_path / "scan.nii", ramp(), affine))
    np.testing.assert_allclose(volume.affine, affine)
    np.testing.assert_array_equal(volume.array, ramp())


def test_a_sheared_affine_is_kept(tmp_path: Path) -> None:
    affine = np.array([[1, 0.3, 0, 0], [0, 1, 0.2, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    volume = read_volume(save_nifti(tmp_path / "scan.nii", ramp(), affine))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)


def test_sform_and_qform_that_disagree_are_warned_of_in_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 7.5
    image.set_sform(np.eye(4), 1)
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.warnings == ("sform and qform disagree by up to 7.5 mm; the sform is used",)
    np.testing.assert_allclose(volume.affine, np.eye(4))


def test_a_qform_alone_is_used_without_a_warning(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), None)
    image.set_sform(None, 0)
    place = np.diag([-2.0, 1, 1, 1])
    image.set_qform(place, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.warnings == ()
    np.testing.assert_allclose(volume.affine, place, atol=1e-5)


def test_a_header_without_orientation_says_that_sides_are_unknown(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    assert "left and right can't be told" in read_volume(tmp_path / "scan.nii.gz").warnings[0]


def test_one_frame_in_four_dimensions_is_a_volume(tmp_path: Path) -> None:
    volume = read_volume(save_nifti(tmp_path / "scan.nii.gz", ramp()[..., None]))
    np.testing.assert_array_equal(volume.array, ramp())


def test_a_few_nan_become_zero_and_are_counted(tmp_path: Path) -> None:
    array = ramp()
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = np.inf
    volume = read_volume(save_nifti(tmp_path / "scan.nii.gz", array))
    assert volume.warnings[0].startswith("4 voxels (0.24 %) were NaN or infinite")
    assert not volume.array[0, 0, :3].any()
    assert np.isfinite(volume.array).all()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_paths_with_blanks_and_umlauts_are_read(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "Müller, 脳 Schädel"
    folder.mkdir()
    path = folder / f"erste Aufnähme{suffix}"
    image = sitk.GetImageFromArray(ramp().transpose())
    sitk.WriteImage(image, str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ramp())
    assert case_name(path) == "erste Aufnähme"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_on_windows_a_name_beyond_ascii_is_read_from_a_copy(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AnomalyDetectLib.io import itk

    path = tmp_path / f"größe{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ramp().transpose()), str(path))
    opened: list[str] = []
    monkeypatch.setattr(itk, "needs_ascii", lambda file: not str(file).isascii())
    with itk.openable(path) as file:
        opened.append(str(file))
    assert opened[0].isascii()
    np.testing.assert_array_equal(read_volume(path).array, ramp())


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("sub-01.v2_T1w.nii.gz", "sub-01.v2_T1w"),
        ("scan.NRRD", "scan"),
        ("a b.mha", "a b"),
        (".nii.gz", ".nii.gz"),
        ("plain", "plain"),
    ],
)
def test_a_case_is_called_like_its_file(name: str, case: str) -> None:
    assert case_name(name) == case


def test_a_case_in_a_folder_is_called_like_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "series 1.2"
    folder.mkdir()
    assert case_name(folder) == "series 1.2"


def test_a_mask_on_another_grid_is_refused_with_both_shapes(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "mask.nii.gz", np.ones((6, 7, 8), np.uint8))
    with pytest.raises(
        VolumeError, match=r"mask.nii.gz: the mask has shape \(6, 7, 8\), the scan \(12, 14, 10\)"
    ):
        read_mask(path, Grid(SHAPE, np.eye(4)))


def test_a_mask_that_lies_elsewhere_is_refused_with_the_distance(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[2, 3] = 9
    path = save_nifti(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8), moved)
    with pytest.raises(VolumeError, match=r"up to 9.0 mm off"):
        read_mask(path, Grid(SHAPE, np.eye(4)))


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "mask.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(VolumeError, match="the mask is empty"):
        read_mask(path, Grid(SHAPE, np.eye(4)))


def test_a_mask_is_true_where_the_file_is_not_zero(tmp_path: Path) -> None:
    stored = (ramp() % 3).astype(np.float32)
    mask = read_mask(save_nifti(tmp_path / "mask.nii.gz", stored, np.eye(4)), Grid(SHAPE, np.eye(4)))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, stored != 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(st.floats(-2, 2), min_size=9, max_size=9),
    shift=st.lists(st.floats(-200, 200), min_size=3, max_size=3),
)
def test_any_affine_of_usable_voxels_survives_writing_and_reading(
    tmp_path: Path, entries: list[float], shift: list[float]
) -> None:
    from AnomalyDetectLib.io.write import write_nifti

    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.array(entries).reshape(3, 3), shift
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() < 0.2 or abs(np.linalg.det(affine[:3, :3])) < 0.05 * np.prod(sizes):
        return
    write_nifti(ramp(), Grid(SHAPE, affine), tmp_path / "any.nii.gz")
    volume = read_volume(tmp_path / "any.nii.gz")
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert volume.warnings == ()
