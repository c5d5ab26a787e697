"""A report to read, and DICOM SEG in a Slicer without a plugin of its own for it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AnomalyDetectLib.volume import Grid
from Testing.report.dicom_series import write_series
from Testing.slicer.conftest import detect
from Testing.slicer.small_case import SHAPE, ReplayClient, add_scan, write_results


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A DICOM series with as many voxels as the small scan."""
    write_series(tmp_path / "series", SHAPE)
    return tmp_path / "series"


@pytest.fixture
def from_dicom(panel: Any, slicer: Any, series: Path, tmp_path: Path) -> Iterator[Any]:
    """The panel after a detection in a scan that Slicer's DICOM database knows."""
    from AnomalyDetectLib.io.dicom import find_series
    from AnomalyDetectLib.io.read import read_volume
    from AnomalyDetectLib.mrml.mailbox import PostOffice

    affine = read_volume(series).affine
    panel.logic.client = ReplayClient(write_results(tmp_path / "results", affine))
    panel.logic._office = PostOffice(panel.logic.client)
    node = add_scan(slicer, affine)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    file = find_series(series)[0].slices[0].file
    slicer.dicomDatabase = types.SimpleNamespace(fileForInstance={"1.2.3": str(file)}.__getitem__)
    detect(panel, node)
    yield panel
    del slicer.dicomDatabase


def test_the_report_button_writes_a_page_with_picture_and_decisions(opened: Any, tmp_path: Path) -> None:
    case, hand_over = opened.logic.case, opened.panels["hand_over"]
    case.reject(1)
    case.session.note(2, "compare with <FLAIR>")
    hand_over.folder = tmp_path
    hand_over.ui.reportButton.click()
    page = tmp_path / "small" / "report.html"
    assert str(page) in hand_over.ui.resultLabel.text
    text = page.read_text(encoding="utf-8")
    assert "0 kept, 1 rejected, 4 undecided" in text
    assert "compare with &lt;FLAIR&gt;" in text
    assert 'src="data:image/png;base64,iVBOR' in text
    assert "Research use only. Not a medical device." in text
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "report.json", "findings.csv"}


def test_dicom_is_written_without_slicers_plugin(from_dicom: Any, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    case, hand_over = from_dicom.logic.case, from_dicom.panels["hand_over"]
    case.reject(2)
    hand_over.refresh()
    assert hand_over.ui.dicomButton.enabled
    hand_over.folder = tmp_path
    hand_over.ui.dicomButton.click()
    path = tmp_path / "small" / "findings.dcm"
    assert str(path) in hand_over.ui.resultLabel.text
    segmentation = hd.seg.segread(path)
    assert [segment.SegmentLabel.split()[0] for segment in segmentation.SegmentSequence] == [
        "1",
        "3",
        "4",
        "5",
    ]
    volume = segmentation.get_volume(segment_numbers=[1])
    grid = case.result.maps.grid
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    ours, theirs = np.argwhere(case.findings.labelmap == 1), np.argwhere(volume.array[..., 0])
    assert len(ours) == len(theirs)
    for matrix, index in ((grid.affine, ours), (ras, theirs)):
        assert Grid(SHAPE, matrix).voxel_mm3 == pytest.approx(grid.voxel_mm3)
        np.testing.assert_allclose(
            (np.c_[index, np.ones(len(index))] @ matrix.T).mean(0),
            (np.c_[ours, np.ones(len(ours))] @ grid.affine.T).mean(0),
            atol=1e-3,
        )


def test_slicers_own_plugin_comes_first(
    from_dicom: Any, slicer: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {"DICOMSegmentationPlugin": object}, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", chosen.append, raising=False)
    hand_over = from_dicom.panels["hand_over"]
    hand_over.folder = tmp_path
    hand_over.to_dicom()
    assert chosen == ["Data"]
    assert "Export to DICOM" in hand_over.ui.resultLabel.text
    assert not list(tmp_path.rglob("*findings.dcm"))


def test_dicom_is_disabled_where_nothing_can_write_it(from_dicom: Any, monkeypatch: Any) -> None:
    from AnomalyDetectLib.mrml import hand_over as library

    hand_over = from_dicom.panels["hand_over"]
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    hand_over.refresh()
    assert not hand_over.ui.dicomButton.enabled
    assert "QuantitativeReporting" in hand_over.ui.dicomButton.toolTip
    assert "highdicom" in hand_over.ui.dicomButton.toolTip


def test_dicom_is_disabled_when_the_series_is_gone(from_dicom: Any, series: Path) -> None:
    pytest.importorskip("highdicom")
    for file in series.iterdir():
        file.unlink()
    hand_over = from_dicom.panels["hand_over"]
    hand_over.refresh()
    assert not hand_over.ui.dicomButton.enabled
    assert "import the series again" in hand_over.ui.dicomButton.toolTip
