"""Read a scan from any format into a Volume, or say in one line why it can't be one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io import itk, nifti
from AnomalyDetectLib.io.dicom import read_dicom
from AnomalyDetectLib.io.itk import read_itk
from AnomalyDetectLib.io.nifti import read_nifti
from AnomalyDetectLib.io.raw import RawImage, corner_distance
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid, Volume, check_affine, voxel_sizes

SPACING_LIMITS_MM = (0.1, 12.0)
FEWEST_SLICES = 5


def read_volume(
    path: str | os.PathLike[str], modality: str | None = None, *, series: str | None = None
) -> Volume:
    """The scan at `path`: a NIfTI, NRRD, MHA or MHD file, or a folder with a DICOM series.

    The array (i,j,k) stays as it is stored; the affine (IJK to RAS, mm) says how it lies. modality: what the
    caller knows; None leaves what the file says, if anything. series: the id of one DICOM series where a
    folder has several. Raises `VolumeError` (or `SingularAffineError`), one line with the file's name, for
    anything but one finite, varying, scalar 3-D volume with voxels within `SPACING_LIMITS_MM`. What is
    doubtful but usable is in `Volume.warnings`.
    """
    path = Path(path)
    raw = read_raw(path, series)
    name = path.absolute().name
    affine = check_affine(raw.affine, name)
    check_lattice(raw.array.shape, affine, name)
    array, warnings = finite_values(raw.array, name)
    check_contrast(array, name)
    return Volume(array, affine, modality or raw.modality, name, raw.warnings + warnings)


def read_mask(path: str | os.PathLike[str], grid: Grid) -> BoolArray:
    """A mask (i,j,k) on `grid`: True where the file is not 0.

    Raises `VolumeError` when the file can't be read, is empty, or lies on another grid (both are named).
    """
    path = Path(path)
    raw = read_raw(path)
    name = path.absolute().name
    if raw.array.shape != grid.shape:
        raise VolumeError(
            f"{name}: the mask has shape {raw.array.shape}, the scan {grid.shape}; "
            "resample the mask to the scan's grid"
        )
    if not Grid(grid.shape, raw.affine).same_as(grid, tolerance_mm=0.05):
        distance = corner_distance(grid.shape, raw.affine, grid.affine)
        raise VolumeError(
            f"{name}: the mask has the scan's shape {grid.shape} but lies up to {distance:.1f} mm off; "
            "resample the mask to the scan's grid"
        )
    mask = np.ascontiguousarray(np.nan_to_num(raw.array) != 0)
    if not mask.any():
        raise VolumeError(f"{name}: the mask is empty; draw it again or leave it out")
    return mask


def case_name(path: str | os.PathLike[str]) -> str:
    """What a case is called: the name of its file without extensions, or of its DICOM folder."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps the name that the reader gave it
    name = path.name
    for suffix in sorted((*nifti.SUFFIXES, *itk.SUFFIXES, ".dcm"), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name if path.is_dir() or name.startswith(".") else path.stem


def read_raw(path: Path, series: str | None = None) -> RawImage:
    """The image at `path` as its format's reader gives it."""
    name = path.name
    if not path.exists():
        raise VolumeError(f"{path}: no such file or folder; check the path")
    try:
        if path.is_dir():
            return read_dicom(path, series)
        if path.stat().st_size == 0:
            raise VolumeError(f"{name}: the file is empty (0 bytes); copy or export the scan again")
        lower = name.lower()
        if lower.endswith(nifti.SUFFIXES):
            return read_nifti(path)
        if lower.endswith(itk.SUFFIXES):
            return read_itk(path)
    except PermissionError as error:
        raise VolumeError(f"{name}: no permission to read it; change the file's permissions") from error
    if lower.endswith(".dcm"):
        raise VolumeError(f"{name}: one DICOM file; give the folder that holds the whole series")
    known = ", ".join((".nii", ".nii.gz", *itk.SUFFIXES))
    raise VolumeError(f"{name}: unknown format; give one of {known}, or a folder with a DICOM series")


def check_lattice(shape: tuple[int, ...], affine: np.ndarray, name: str) -> None:
    """Raise `VolumeError` for voxels or slices that no head scan has."""
    spacing = voxel_sizes(affine)
    text = " x ".join(f"{size:.4g}" for size in spacing)
    low, high = SPACING_LIMITS_MM
    if spacing.min() < low or spacing.max() > high:
        raise VolumeError(
            f"{name}: voxels of {text} mm, outside {low:g} to {high:g} mm; "
            "correct the header's voxel size, or resample"
        )
    if min(shape) < FEWEST_SLICES:
        axis = "ijk"[int(np.argmin(shape))]
        plural = "slice" if min(shape) == 1 else "slices"
        raise VolumeError(
            f"{name}: {min(shape)} {plural} along {axis}, at least {FEWEST_SLICES} are needed; "
            "give the whole 3-D scan"
        )


def finite_values(array: np.ndarray, name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """The voxels as float32, NaN and infinity replaced by 0, and a warning that counts them.

    Raises `VolumeError` when more than half are not finite.
    """
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is counted as such
        values = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype.kind in "iub":
        return values, ()
    finite = np.isfinite(values)
    count = values.size - int(np.count_nonzero(finite))
    if count == 0:
        return values, ()
    share = 100 * count / values.size
    if share > 50:
        raise VolumeError(
            f"{name}: {count} voxels ({share:.0f} %) are NaN or infinite; export the scan again"
        )
    return np.where(finite, values, np.float32(0)), (
        f"{count} voxels ({share:.2g} %) were NaN or infinite and are read as 0",
    )


def check_contrast(array: FloatArray, name: str) -> None:
    """Raise `VolumeError` when every voxel has the same value."""
    low, high = float(array.min()), float(array.max())
    if low == high:
        what = "all voxels are 0" if low == 0 else f"all voxels have the value {low:g}"
        raise VolumeError(f"{name}: {what}; check the export, there is no image in this file")
