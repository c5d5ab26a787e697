"""Read NRRD, MetaImage and single DICOM files with SimpleITK."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io.raw import RawImage, check_dimensions, one_line

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> RawImage:
    """Voxels (i,j,k) as stored; physical space turned from LPS to RAS.

    Raises `VolumeError` for a damaged file, several channels, 2-D, or 4-D with more than one volume.
    """
    name = path.name
    with openable(path) as file, one_line(name, RuntimeError):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        check_scalar(reader.GetNumberOfComponents(), reader.GetPixelID(), name)
        size = tuple(int(n) for n in reader.GetSize())
        shape = check_dimensions(size, name)
        warnings: tuple[str, ...] = ()
        if path.suffix in (".nrrd", ".nhdr") and "NRRD_space" not in reader.GetMetaDataKeys():
            warnings = ("the header names no patient space; left and right can't be told",)
        if len(size) > 3:
            reader.SetExtractSize([*shape, *[0] * (len(size) - 3)])
        image = reader.Execute()
    return RawImage(voxels(image), affine_of(image), warnings=warnings)


def check_scalar(components: int, pixel: int, name: str) -> None:
    """Raise `VolumeError` when a voxel holds more than one real number."""
    if components > 1:
        raise VolumeError(
            f"{name}: {components} values in each voxel (colour or vector image); give the grey-level scan"
        )
    if pixel in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise VolumeError(f"{name}: complex values; give the magnitude image")


def voxels(image: sitk.Image) -> NDArray[Any]:
    """The image's voxels in the order (i,j,k)."""
    array: NDArray[Any] = sitk.GetArrayFromImage(image).transpose()
    return array


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """IJK to RAS, 4x4, mm, of a 3-D image."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.asarray(LPS_TO_RAS @ affine, dtype=np.float64)


@contextmanager
def openable(path: Path) -> Iterator[Path]:
    """A path that SimpleITK can open: on Windows it knows only ASCII names, so the file is copied first."""
    if not needs_ascii(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="anomalydetect-") as folder:
        if path.is_dir():
            for number, file in enumerate(sorted(f for f in path.iterdir() if f.is_file())):
                shutil.copyfile(file, Path(folder) / f"{number:06d}{file.suffix}")
            yield Path(folder)
            return
        copy = Path(folder) / f"scan{path.suffix}"
        shutil.copyfile(path, copy)
        data = detached_data(path)
        if data is not None and data.is_file():
            shutil.copyfile(data, Path(folder) / data.name)
        yield copy


def needs_ascii(path: Path) -> bool:
    """Whether SimpleITK would not find `path` on this system."""
    return os.name == "nt" and not str(path).isascii()


def detached_data(path: Path) -> Path | None:
    """The file that holds the voxels of a .mhd or .nhdr header; None when the header holds them itself."""
    if path.suffix not in (".mhd", ".nhdr"):
        return None
    text = path.read_bytes()[:65536].decode("utf-8", errors="replace")
    pattern = r"^(?:ElementDataFile\s*=|data ?file\s*:)\s*(.+?)\s*$"
    found = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
    return None if found is None else path.parent / found.group(1)
