"""Read a folder that holds one DICOM series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.io.itk import LPS_TO_RAS, affine_of, check_scalar, openable, voxels
from AnomalyDetectLib.io.raw import RawImage, check_dimensions, one_line

PLACE_TAGS = ["SeriesInstanceUID", "SeriesDescription", "Modality", "InstanceNumber"]
SLICE_TAGS = ["ImagePositionPatient", "ImageOrientationPatient"]
SIZE_TAGS = ["Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames"]

# Scanners round slice positions to a hundredth of a millimetre or so.
POSITION_TOLERANCE_MM = 0.05


@dataclass(frozen=True)
class Slice:
    """One file of a series and the few elements of its header that place and name it."""

    file: Path
    elements: Any

    @property
    def position(self) -> NDArray[np.float64] | None:
        """ImagePositionPatient in LPS mm; None where the header has none."""
        position = self.elements.get("ImagePositionPatient")
        return None if position is None or len(position) != 3 else np.array(position, dtype=np.float64)

    @property
    def height(self) -> float:
        """Where the slice lies along its own normal, mm; its number where the header does not place it."""
        orientation = self.elements.get("ImageOrientationPatient")
        if self.position is None or orientation is None or len(orientation) != 6:
            return float(self.elements.get("InstanceNumber") or 0)
        normal = np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))
        return float(normal @ self.position)


@dataclass(frozen=True)
class Series:
    """One series of a folder: its id (SeriesInstanceUID) and its slices, sorted along their normal."""

    uid: str
    slices: tuple[Slice, ...]

    def described(self) -> str:
        """Id, description and number of files, for a message."""
        description = str(self.slices[0].elements.get("SeriesDescription", "")) or "no description"
        return f"{self.uid} ({description}, {len(self.slices)} files)"


def read_dicom(folder: Path, series: str | None = None) -> RawImage:
    """Voxels (i,j,k), rescaled, of the one series in `folder`, or of the one whose id is `series`.

    The slice axis is taken from the slices' positions, so that a tilted gantry becomes a sheared affine.
    Raises `VolumeError` when there is no series, when there are several to choose from, when slices share a
    position, or when a file is damaged or in colour.
    """
    name = folder.absolute().name
    with openable(folder) as place, one_line(name, RuntimeError, OSError):
        chosen = choose_series(find_series(place), series, name)
        return read_series(chosen, name)


def read_series(series: Series, name: str) -> RawImage:
    """Voxels, affine and doubts of one series."""
    check_slices_alike(series, name)
    files = [str(one.file) for one in series.slices]
    with quiet():
        image = sitk.ReadImage(files if len(files) > 1 else files[0])
    check_scalar(image.GetNumberOfComponentsPerPixel(), image.GetPixelID(), name)
    shape = check_dimensions(tuple(image.GetSize()), name)
    if image.GetDimension() > 3:
        rest = image.GetDimension() - 3
        image = sitk.Extract(image, [*shape, *[0] * rest], [0] * image.GetDimension())
    affine, warnings = affine_of(image), list[str]()
    positions = [one.position for one in series.slices]
    placed = [position for position in positions if position is not None]
    if 1 < len(placed) == shape[2]:
        affine, warnings = affine_along(np.stack(placed), affine, name)
    modality = "CT" if series.slices[0].elements.get("Modality") == "CT" else None
    return RawImage(voxels(image), affine, modality, tuple(warnings))


def find_series(folder: Path) -> list[Series]:
    """Every series of images in `folder` itself, not below it, in the order of their ids."""
    found: dict[str, list[Slice]] = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        elements = read_elements(file)
        if elements is not None and "Rows" in elements and "SeriesInstanceUID" in elements:
            found.setdefault(str(elements.SeriesInstanceUID), []).append(Slice(file, elements))
    return [
        Series(uid, tuple(sorted(slices, key=lambda one: one.height)))
        for uid, slices in sorted(found.items())
    ]


def read_elements(file: Path) -> Any | None:
    """The elements of `file` that say what it is and where it lies; None when it isn't DICOM.

    Raises `VolumeError` when the file ends before its pixels do: ITK would leave that slice out.
    """
    with file.open("rb") as stream:
        tags: list[Any] = [*PLACE_TAGS, *SLICE_TAGS, *SIZE_TAGS]
        try:
            elements: Any = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=tags)
        except InvalidDicomError:
            return None
        left = file.stat().st_size - stream.tell()
    syntax = elements.file_meta.get("TransferSyntaxUID")
    if syntax is not None and not syntax.is_compressed and left < pixel_bytes(elements):
        raise VolumeError(f"{file.name}: damaged or incomplete (too few pixels); export the series again")
    return elements


def pixel_bytes(elements: Any) -> int:
    """How many bytes the uncompressed pixels of a file take; 0 for a file without an image."""
    if "Rows" not in elements:
        return 0
    counts = [int(elements.get(tag, 1) or 1) for tag in SIZE_TAGS if tag != "BitsAllocated"]
    return int(np.prod(counts)) * int(elements.get("BitsAllocated", 8)) // 8


def choose_series(found: list[Series], wanted: str | None, name: str) -> Series:
    """The series called `wanted`, or the only one."""
    if not found:
        raise VolumeError(f"{name}: no DICOM series in this folder; give the folder that holds the slices")
    if wanted is None and len(found) == 1:
        return found[0]
    chosen = [series for series in found if series.uid == wanted]
    if chosen:
        return chosen[0]
    listed = "; ".join(series.described() for series in found[:8]) + ("; …" if len(found) > 8 else "")
    problem = f"{len(found)} DICOM series" if wanted is None else f"no series {wanted}; there are"
    raise VolumeError(f"{name}: {problem}: {listed}; give a folder with one series, or choose one by its id")


def check_slices_alike(series: Series, name: str) -> None:
    """Raise `VolumeError` when the slices differ in size or direction, as localizers do."""
    first = series.slices[0].elements
    for one in series.slices[1:]:
        if (one.elements.Rows, one.elements.Columns) != (first.Rows, first.Columns):
            raise VolumeError(
                f"{name}: slices of {first.Rows}x{first.Columns} and "
                f"{one.elements.Rows}x{one.elements.Columns} pixels in one series; "
                "give the slices of one volume"
            )
        directions = (e.get("ImageOrientationPatient") or [0] * 6 for e in (first, one.elements))
        turn = np.subtract(*(np.array(direction, dtype=float) for direction in directions))
        if np.abs(turn).max() > 1e-2:
            raise VolumeError(
                f"{name}: slices of several directions in one series; give the slices of one volume"
            )


def affine_along(
    positions: NDArray[np.float64], affine: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], list[str]]:
    """The affine with its slice axis laid from the first to the last position, and what is doubtful.

    Raises `VolumeError` when slices share a position: several echoes or time points in one series.
    """
    warnings = list[str]()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    ras = positions * np.diag(LPS_TO_RAS)[:3]
    along = ras @ (normal / np.linalg.norm(normal))
    gaps = np.abs(np.diff(along))
    shared = int((gaps < 1e-3).sum())
    if shared:
        raise VolumeError(
            f"{name}: {shared} slices share a position with another (echoes or time points); "
            "give the slices of one volume"
        )
    usual = float(np.median(gaps))
    wide = gaps > 1.5 * usual
    if wide.any():
        missing = int(np.rint(gaps[wide] / usual - 1).sum())
        warnings.append(
            f"about {missing} slices are missing ({int(wide.sum())} gaps up to {gaps.max():.1f} mm between "
            f"slices {usual:.1f} mm apart): places along the slice axis are not exact"
        )
    elif np.ptp(gaps) > max(POSITION_TOLERANCE_MM, 0.02 * usual):
        warnings.append(f"slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart: the mean spacing is used")
    placed = affine.copy()
    placed[:3, 2] = (ras[-1] - ras[0]) / (len(ras) - 1)
    placed[:3, 3] = ras[0]
    lengths = np.linalg.norm(placed[:3, 2]) * np.linalg.norm(normal)
    tilt = float(np.degrees(np.arccos(min(1.0, abs(placed[:3, 2] @ normal) / lengths))))
    if tilt > 0.5:
        warnings.append(
            f"slices are shifted against each other (gantry tilt {tilt:.0f}°): the affine is sheared"
        )
    return placed, warnings


class quiet:
    """Keep ITK's own warnings off the terminal: what matters in them is said in the volume's warnings."""

    def __enter__(self) -> None:
        self.shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)

    def __exit__(self, *exception: object) -> None:
        sitk.ProcessObject.SetGlobalWarningDisplay(self.shown)
