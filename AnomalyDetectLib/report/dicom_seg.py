"""DICOM SEG: findings as an instance that refers to the slices they were found in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray

from AnomalyDetectLib import __version__
from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.io.dicom import Series, choose_series, find_series
from AnomalyDetectLib.io.write import output_errors
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.report.report_json import ModelUsed
from AnomalyDetectLib.volume import Grid

if TYPE_CHECKING:
    import highdicom as hd

PRODUCT, MANUFACTURER = "AnomalyDetect", "The AnomalyDetect contributors"
SERIES_DESCRIPTION = "AnomalyDetect findings, research"
# Not "lesion": what is unusual to a model need not be one.
ALTERED_STRUCTURE = ("49755003", "SCT", "Morphologically Altered Structure")
ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")
# Values that every DICOM image must name but may leave empty, and that anonymised ones often lack.
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
LONGEST_LABEL = 64
# Viewers round places on their way; a shift by less than this share of a voxel is none.
TOLERANCE_VOXELS = 0.25


def write_dicom_seg(
    labelmap: NDArray[np.int32],
    grid: Grid,
    table: Sequence[Finding],
    source: Path,
    path: Path,
    model: ModelUsed,
    series: str | None = None,
) -> None:
    """Write findings as a DICOM SEG with one binary segment a finding.

    labelmap: ids (i,j,k) on `grid`, mm, in any orientation of the series' own voxels. table: the findings to
    write, in the order of their segments; other ids are left out. source: the folder of the series that the
    scan came from. model: named as the algorithm. series: its SeriesInstanceUID, where the folder holds
    several.
    Raises `OutputError` when the scan did not come from DICOM, when it lies on another grid than the series,
    when there is no finding, when highdicom is not installed, or when the place can't be written;
    `VolumeError` when the series can't be told or read.
    """
    if not table:
        raise OutputError(f"{path.name}: no finding to write; keep one, or lower the threshold")
    headers, lattice = read_headers(source, series)
    frames = frames_of(numbered(labelmap, table), grid, lattice, source.name)
    segmentation = built(frames, headers, table, model, source.name)
    beside = path.with_name(f".{path.name}.partial")
    try:
        with output_errors(path):
            segmentation.save_as(beside)
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_headers(source: Path, series: str | None) -> tuple[list[Any], Grid]:
    """The headers of a series' slices along their normal, and its lattice of columns, rows and slices.

    Raises `OutputError` when there is no series of slices; `VolumeError` when it isn't clear which is meant.
    """
    found = find_series(source) if source.is_dir() else []
    if not found:
        raise OutputError(
            f"{source.name}: the scan did not come from DICOM, so there is no series that a DICOM SEG could "
            "refer to; give the folder of the scan's series, or write NIfTI"
        )
    chosen = choose_series(found, series, source.name)
    headers: list[Any] = [pydicom.dcmread(one.file, stop_before_pixels=True) for one in chosen.slices]
    lattice = lattice_of(chosen, headers[0], source.name)
    for header in headers:
        for keyword in MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
        if header.get("SliceThickness") is None:
            header.SliceThickness = round(lattice.spacing[2], 6)
    return headers, lattice


def lattice_of(series: Series, first: Any, name: str) -> Grid:
    """The voxels of a series in RAS mm, from the places of its first and last slice."""
    positions = [one.position for one in series.slices]
    start, end = positions[0], positions[-1]
    if len(positions) < 2 or start is None or end is None or "PixelSpacing" not in first:
        raise OutputError(
            f"{name}: {len(positions)} slices without a place each (an enhanced multi-frame image?); "
            "give a series of single slices, or write NIfTI"
        )
    orientation = np.array(first.ImageOrientationPatient, dtype=np.float64)
    between_rows, between_columns = (float(size) for size in first.PixelSpacing)
    placed = np.eye(4)
    placed[:3, 0] = orientation[:3] * between_columns
    placed[:3, 1] = orientation[3:] * between_rows
    placed[:3, 2] = (end - start) / (len(positions) - 1)
    placed[:3, 3] = start
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Grid((int(first.Columns), int(first.Rows), len(positions)), lps_to_ras @ placed)


def numbered(labelmap: NDArray[np.int32], table: Sequence[Finding]) -> NDArray[np.uint16]:
    """The labelmap (i,j,k) with the findings of the table as segments 1, 2, 3 and all else 0."""
    segments = np.zeros(int(max(labelmap.max(initial=0), *(row.id for row in table))) + 1, dtype=np.uint16)
    for segment, row in enumerate(table, start=1):
        segments[row.id] = segment
    chosen: NDArray[np.uint16] = segments[labelmap]
    return chosen


def frames_of(segments: NDArray[np.uint16], grid: Grid, lattice: Grid, name: str) -> NDArray[np.uint16]:
    """Segments (i,j,k) on `grid` as frames (slices, rows, columns) of the series' own `lattice`.

    Axes are exchanged and turned round; nothing is resampled. Raises `OutputError` when that is not enough.
    """
    turn = nib.orientations.io_orientation(np.linalg.inv(lattice.affine) @ grid.affine)
    turned = nib.orientations.apply_orientation(segments, turn)
    placed = Grid(turned.shape, grid.affine @ nib.orientations.inv_ornt_aff(turn, segments.shape))
    if not placed.same_as(lattice, TOLERANCE_VOXELS * min(lattice.spacing)):
        raise OutputError(
            f"{name}: the findings lie on another grid {grid.shape} than the series {lattice.shape}, or "
            "elsewhere; give the folder of the series that the scan came from"
        )
    frames: NDArray[np.uint16] = np.ascontiguousarray(turned.transpose(2, 1, 0))
    return frames


def built(
    frames: NDArray[np.uint16],
    headers: list[Any],
    table: Sequence[Finding],
    model: ModelUsed,
    name: str,
) -> hd.seg.Segmentation:
    """The segmentation object. Raises `OutputError` when the series' headers don't allow one."""
    try:
        import highdicom as hd
    except ImportError as error:
        raise OutputError(
            f"highdicom, which writes DICOM SEG, can't be loaded ({error}); install it with "
            "pip install 'anomalydetect[dicom]'"
        ) from error
    try:
        return hd.seg.Segmentation(
            source_images=headers,
            pixel_array=frames,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions(table, model),
            series_instance_uid=hd.UID(),
            series_number=1000 + int(headers[0].get("SeriesNumber") or 0),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PRODUCT,
            software_versions=__version__,
            device_serial_number="none",
            content_label="FINDINGS",
            content_description=NOTICE,
            content_qualification=hd.ContentQualificationValues.RESEARCH,
            series_description=SERIES_DESCRIPTION,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{name}: the headers of the series don't allow a DICOM SEG ({error}); write NIfTI"
        ) from error


def descriptions(table: Sequence[Finding], model: ModelUsed) -> list[hd.seg.SegmentDescription]:
    """What each segment is and which model with which version found it."""
    import highdicom as hd
    from pydicom.sr.coding import Code

    altered = Code(*ALTERED_STRUCTURE)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=model.name or PRODUCT,
        family=Code(*ARTIFICIAL_INTELLIGENCE),
        version=model.version or __version__,
        source=PRODUCT,
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label_of(row),
            segmented_property_category=altered,
            segmented_property_type=altered,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, row in enumerate(table, start=1)
    ]


def label_of(row: Finding) -> str:
    """The finding's id and place, as long as a DICOM label may be."""
    words = (str(row.id), row.side, row.location)
    return " ".join(word for word in words if word)[:LONGEST_LABEL]
