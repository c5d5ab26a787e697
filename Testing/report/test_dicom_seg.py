"""Findings come back from a DICOM SEG where they were found, slice by slice."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from AnomalyDetectLib.errors import OutputError, VolumeError
from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.report.dicom_seg import write_dicom_seg
from AnomalyDetectLib.report.report_json import ModelUsed
from AnomalyDetectLib.volume import Grid
from Testing.report.cases import finding
from Testing.report.dicom_series import SHAPE, affine, write_series

hd = pytest.importorskip("highdicom", reason="not installed; python -m pip install 'anomalydetect[dicom]'")

MODEL = ModelUsed("restore-t1", "1.0")
TABLE = (finding(id=5), finding(id=2, side="", location="x" * 90))


def labelmap() -> np.ndarray:
    """Findings 2 and 5, and 3, which is not kept; (column, row, slice) of the series."""
    labels = np.zeros(SHAPE, np.int32)
    labels[2:6, 3:7, 1:4], labels[8:11, 10:15, 5:8], labels[0, 0, 0] = 5, 2, 3
    return labels


def placed(folder: Path) -> Grid:
    """The grid that the library reads from the series."""
    return read_volume(folder).grid


def written(tmp_path: Path, table: tuple[Finding, ...] = TABLE, codes: str = "", **series: object) -> Path:
    """A SEG of the findings; codes: orientation in which the labelmap is handed in, "" for the scan's."""
    write_series(tmp_path / "series", **series)  # type: ignore[arg-type]
    grid, labels = placed(tmp_path / "series"), labelmap()
    if codes:
        turn = ornt_transform(nib.orientations.io_orientation(grid.affine), axcodes2ornt(codes))
        labels = nib.orientations.apply_orientation(labels, turn)
        grid = Grid(labels.shape, grid.affine @ inv_ornt_aff(turn, SHAPE))
    path = tmp_path / "findings.dcm"
    write_dicom_seg(labels, grid, table, tmp_path / "series", path, MODEL)
    return path


def ras_places(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """RAS mm of a mask's voxels, sorted, (n,3)."""
    places = nib.affines.apply_affine(matrix, np.argwhere(mask)).round(3)
    return places[np.lexsort(places.T)]


def volume_of(path: Path, segment: int) -> tuple[np.ndarray, np.ndarray]:
    """A segment as highdicom reads it: mask, and its affine to RAS mm."""
    volume = hd.seg.segread(path).get_volume(segment_numbers=[segment])
    return volume.array[..., 0] > 0, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine


@pytest.mark.parametrize("codes", ["", "RAS", "LPS", "SAR", "PIL"])
def test_every_finding_lies_where_it_was_found(tmp_path: Path, codes: str) -> None:
    path = written(tmp_path, codes=codes)
    matrix = placed(tmp_path / "series").affine
    for segment, row in enumerate(TABLE, start=1):
        mask, its = volume_of(path, segment)
        np.testing.assert_allclose(ras_places(mask, its), ras_places(labelmap() == row.id, matrix), atol=1e-3)


def test_the_places_are_those_of_the_series_headers(tmp_path: Path) -> None:
    mask, its = volume_of(written(tmp_path), 1)
    np.testing.assert_allclose(ras_places(mask, its), ras_places(labelmap() == 5, affine()), atol=1e-3)


def test_each_frame_refers_to_the_slice_it_was_drawn_on(tmp_path: Path) -> None:
    segmentation = pydicom.dcmread(written(tmp_path))
    slices = {}
    for file in (tmp_path / "series").iterdir():
        header = pydicom.dcmread(file, stop_before_pixels=True)
        slices[header.SOPInstanceUID] = [float(value) for value in header.ImagePositionPatient]
    assert segmentation.NumberOfFrames == 6  # three slices each; empty ones are left out
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == slices[source]


def test_a_series_of_leaning_slices_keeps_its_places(tmp_path: Path) -> None:
    segmentation = pydicom.dcmread(written(tmp_path, lean=0.4))
    heights = {
        round(float(frame.PlanePositionSequence[0].ImagePositionPatient[1]), 3)
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    }
    assert len(heights) == 6


def test_segments_say_what_they_are_and_what_found_them(tmp_path: Path) -> None:
    segmentation = hd.seg.segread(written(tmp_path))
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.number_of_segments == 2
    first, second = segmentation.SegmentSequence
    assert first.SegmentLabel == "5 left frontal white matter"
    assert second.SegmentLabel.startswith("2 xxx")
    assert len(second.SegmentLabel) == 64
    for code in (first.SegmentedPropertyCategoryCodeSequence[0], first.SegmentedPropertyTypeCodeSequence[0]):
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("49755003", "SCT")
        assert code.CodeMeaning == "Morphologically Altered Structure"
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("restore-t1", "1.0")
    assert first.SegmentAlgorithmType == "AUTOMATIC"


def test_the_file_says_that_it_is_research(tmp_path: Path) -> None:
    segmentation = pydicom.dcmread(written(tmp_path))
    assert segmentation.ContentQualification == "RESEARCH"
    assert "research" in segmentation.SeriesDescription
    assert "Not a medical device" in segmentation.ContentDescription


def test_it_belongs_to_the_patient_and_the_study_of_the_scan(tmp_path: Path) -> None:
    segmentation = pydicom.dcmread(written(tmp_path))
    scan = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert segmentation[keyword].value == scan[keyword].value
    assert segmentation.SeriesInstanceUID != scan.SeriesInstanceUID
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == scan.SeriesInstanceUID


def test_an_anonymised_series_is_good_enough(tmp_path: Path) -> None:
    segmentation = pydicom.dcmread(written(tmp_path, anonymised=True))
    assert segmentation.NumberOfFrames == 6
    assert str(segmentation.PatientName) == ""


def test_one_series_of_several_in_a_folder_is_chosen_by_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_series(folder / "one")
    wanted = write_series(folder / "two")
    for number, file in enumerate([*(folder / "one").iterdir(), *(folder / "two").iterdir()]):
        file.rename(folder / f"{number}.dcm")
    grid = placed_of_series(folder, wanted)
    arguments = (labelmap(), grid, TABLE, folder, tmp_path / "findings.dcm", MODEL)
    with pytest.raises(VolumeError, match="2 DICOM series"):
        write_dicom_seg(*arguments)
    write_dicom_seg(*arguments, series=wanted)
    referred = pydicom.dcmread(tmp_path / "findings.dcm").ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == wanted


def placed_of_series(folder: Path, uid: str) -> Grid:
    from AnomalyDetectLib.io.dicom import read_dicom

    raw = read_dicom(folder, uid)
    return Grid(raw.array.shape, raw.affine)


@pytest.mark.parametrize("source", ["scan.nii.gz", "folder", "away"])
def test_a_scan_that_is_not_from_dicom_is_refused_in_one_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(OutputError, match=f"^{source}: the scan did not come from DICOM.*write NIfTI$"):
        write_dicom_seg(
            labelmap(), Grid(SHAPE, np.eye(4)), TABLE, tmp_path / source, tmp_path / "findings.dcm", MODEL
        )
    assert not (tmp_path / "findings.dcm").exists()


@pytest.mark.parametrize("shift", [0.5, 20.0])
def test_findings_of_another_scan_are_refused(tmp_path: Path, shift: float) -> None:
    write_series(tmp_path / "series")
    grid = placed(tmp_path / "series")
    moved = grid.affine.copy()
    moved[1, 3] += shift
    with pytest.raises(OutputError, match="another grid"):
        write_dicom_seg(labelmap(), Grid(SHAPE, moved), TABLE, tmp_path / "series", tmp_path / "a.dcm", MODEL)
    with pytest.raises(OutputError, match=r"\(12, 16, 8\)"):
        write_dicom_seg(
            labelmap()[..., :8],
            Grid((12, 16, 8), grid.affine),
            TABLE,
            tmp_path / "series",
            tmp_path / "a.dcm",
            MODEL,
        )


def test_no_finding_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no finding to write"):
        written(tmp_path, table=())
    assert not (tmp_path / "findings.dcm").exists()


def test_without_highdicom_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(OutputError, match=r"anomalydetect\[dicom\]"):
        written(tmp_path)


def test_a_failed_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    (tmp_path / "findings.dcm").mkdir()
    (tmp_path / "findings.dcm" / "in the way").touch()
    with pytest.raises(OutputError, match="choose another folder"):
        write_dicom_seg(
            labelmap(),
            placed(tmp_path / "series"),
            TABLE,
            tmp_path / "series",
            tmp_path / "findings.dcm",
            MODEL,
        )
    assert not list(tmp_path.glob(".*"))
