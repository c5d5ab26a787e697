"""Read NIfTI: the stored values scaled, and one affine chosen from sform and qform."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io.raw import RawImage, check_dimensions, corner_distance, one_line

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")

# Below this, sform and qform differ by the rounding of the quaternion alone.
DISAGREEMENT_MM = 0.1


def read_nifti(path: Path) -> RawImage:
    """Voxels (i,j,k) as float32 after scaling, or as the stored integers when the file has no scaling.

    Raises `VolumeError` for what is not NIfTI, damaged, in colour, complex, 2-D, or 4-D of several volumes.
    """
    name = path.name
    if name.endswith(".gz") and path.read_bytes()[:2] != b"\x1f\x8b":
        raise VolumeError(f"{name}: named .gz but not compressed with gzip; export the scan as NIfTI again")
    try:
        with one_line(name, EOFError, OSError, zlib.error, ValueError):
            image: Any = nib.load(path)
    except (ImageFileError, HeaderDataError) as error:
        raise VolumeError(f"{name}: not a NIfTI image; export the scan as NIfTI or NRRD again") from error
    dtype = image.get_data_dtype()
    if dtype.fields is not None:
        raise VolumeError(f"{name}: colour image (RGB); give the grey-level scan that it was made from")
    if dtype.kind == "c":
        raise VolumeError(f"{name}: complex values; give the magnitude image")
    shape = check_dimensions(tuple(image.shape), name)
    affine, warnings = choose_affine(image, shape)
    with one_line(name, EOFError, OSError, zlib.error, ValueError):
        array = np.asanyarray(image.dataobj)
    return RawImage(array.reshape(shape, order="F"), affine, warnings=warnings)


def choose_affine(image: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine (4x4, IJK to RAS, mm) that the header means, and what is doubtful about it.

    The sform wins where it is set (method 3 of the NIfTI standard); else the qform; else voxel sizes alone.
    """
    header = image.header
    affine = np.asarray(image.affine, dtype=np.float64)
    if not hasattr(header, "get_sform"):  # Analyze 7.5 has neither
        return affine, ("the header has no orientation; left and right can't be told",)
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = quaternion_affine(header)
    if not sform_code and not qform_code:
        return affine, (
            "neither sform nor qform is set: orientation is assumed; left and right can't be told",
        )
    if not sform_code and qform is not None:
        return qform, ()
    if sform_code and qform_code and qform is not None:
        distance = corner_distance(shape, np.asarray(sform, dtype=np.float64), qform)
        if distance > DISAGREEMENT_MM:
            return affine, (f"sform and qform disagree by up to {distance:.1f} mm; the sform is used",)
    return affine, ()


def quaternion_affine(header: Any) -> tuple[NDArray[np.float64] | None, int]:
    """The qform (4x4, mm) and its code; None where its quaternion is no rotation."""
    code = int(header["qform_code"])
    try:
        qform = header.get_qform(coded=False)
    except (HeaderDataError, ValueError):
        return None, code
    return np.asarray(qform, dtype=np.float64), code
