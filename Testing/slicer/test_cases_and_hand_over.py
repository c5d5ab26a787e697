"""Findings that leave the module, and queues of cases that survive a killed viewer."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.mrml.case_queue import open_folder, open_list
from Testing.slicer.conftest import ROOT
from Testing.slicer.small_case import AFFINE, add_scan, scan_array


def wait(until: Any) -> None:
    """Turn the event loop."""
    from Testing.slicer_host.module import wait as turn

    turn(until, 60)


def write_scans(folder: Path, names: list[str]) -> None:
    """Small scans as NIfTI."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(scan_array(), AFFINE).to_filename(str(path))


def test_a_handed_over_segmentation_holds_what_was_not_rejected(opened: Any, slicer: Any) -> None:
    from AnomalyDetectLib.mrml.hand_over import to_segmentation

    case = opened.logic.case
    case.reject(2)
    node, _ = to_segmentation(case)
    segmentation = node.GetSegmentation()
    names = [
        segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())
    ]
    assert [int(name.split()[0]) for name in names] == [1, 3, 4, 5]
    first = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentation.GetNthSegmentID(0), case.nodes.scan)
    np.testing.assert_array_equal(first.T.astype(bool), case.findings.labelmap == 1)


def test_adding_to_a_segmentation_touches_no_foreign_segment(opened: Any, slicer: Any) -> None:
    from AnomalyDetectLib.mrml.hand_over import to_segmentation

    case = opened.logic.case
    target = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    target.CreateDefaultDisplayNodes()
    target.SetReferenceImageGeometryParameterFromVolumeNode(case.nodes.scan)
    own = target.GetSegmentation().AddEmptySegment("mine")
    drawn = np.zeros(case.findings.labelmap.shape[::-1], np.uint8)
    drawn[10:30, 10:40, 10:40] = 1  # over findings
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, target, own, case.nodes.scan)
    _, take_back = to_segmentation(case, target)
    assert target.GetSegmentation().GetNumberOfSegments() == 6
    after = slicer.util.arrayFromSegmentBinaryLabelmap(target, own, case.nodes.scan)
    np.testing.assert_array_equal(after, drawn)
    take_back()
    assert list(target.GetSegmentation().GetSegmentIDs()) == [own]
    after = slicer.util.arrayFromSegmentBinaryLabelmap(target, own, case.nodes.scan)
    np.testing.assert_array_equal(after, drawn)


def test_later_slider_steps_leave_a_handed_over_segmentation_alone(opened: Any, slicer: Any) -> None:
    from AnomalyDetectLib.mrml.hand_over import to_segmentation

    case = opened.logic.case
    node, _ = to_segmentation(case)
    last = node.GetSegmentation().GetNthSegmentID(4)
    before = slicer.util.arrayFromSegmentBinaryLabelmap(node, last, case.nodes.scan).copy()
    case.settle(case.session.settings.changed(threshold=7.5))
    after = slicer.util.arrayFromSegmentBinaryLabelmap(node, last, case.nodes.scan)
    np.testing.assert_array_equal(after, before)
    assert before.any()


def test_files_of_a_case_say_what_the_reader_decided(opened: Any, slicer: Any, tmp_path: Path) -> None:
    case, hand_over = opened.logic.case, opened.panels["hand_over"]
    case.reject(1)
    case.keep(2)
    opened.panels["cases"].ui.readerEdit.text = "Ärztin"
    hand_over.folder = tmp_path
    hand_over.ui.saveCaseButton.click()
    folder = tmp_path / "small"
    assert str(folder) in hand_over.ui.resultLabel.text
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert [row["verdict"] for row in report["findings"]] == ["reject", "keep", None, None, None]
    assert report["reader"] == "Ärztin"
    with (folder / "findings.csv").open(encoding="utf-8") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == ["2", "3", "4", "5"]
    labels = nib.load(folder / "findings.nii.gz")
    assert set(np.unique(np.asarray(labels.dataobj)).tolist()) == {0, 2, 3, 4, 5}
    np.testing.assert_allclose(labels.affine, AFFINE, atol=1e-4)
    node = slicer.util.loadSegmentation(str(folder / "findings.seg.nrrd"))
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    assert (folder / "scene.mrb").stat().st_size > 10_000
    assert (folder / "score.nii.gz").is_file()


def test_dicom_is_disabled_with_the_reason(opened: Any) -> None:
    button = opened.panels["hand_over"].ui.dicomButton
    assert not button.enabled
    assert "not loaded from DICOM" in button.toolTip


def test_a_folder_becomes_a_queue_and_a_killed_viewer_resumes(tmp_path: Path) -> None:
    write_scans(tmp_path, ["b.nii.gz", "a.nii.gz", "c.nii"])
    queue = open_folder(tmp_path, "reader")
    assert [case.name for case in queue.cases] == ["a", "b", "c"]
    queue.save("{}")
    queue.move(1)
    again = open_folder(tmp_path)  # nothing was closed in between
    assert again.current.name == "b"
    assert again.n_done == 1
    saved = json.loads((tmp_path / "anomalydetect_decisions" / "a.json").read_text(encoding="utf-8"))
    assert saved["reader"] == "reader"
    assert saved["time"]


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from Testing.slicer_host.boot import boot
slicer = boot()
from Testing.slicer_host import python_qt, scripted_module
python_qt.install(); scripted_module.install()
from AnomalyDetectLib.mrml.case_queue import open_folder
from AnomalyDetectLib.mrml.mailbox import PostOffice
from Testing.slicer.small_case import ReplayClient, write_results
from Testing.slicer_host.module import load_module, open_widget, wait
folder = Path(sys.argv[1])
panel = open_widget(load_module(Path({str(ROOT)!r}) / "AnomalyDetect" / "AnomalyDetect.py"), "AnomalyDetect")
panel.logic.client = ReplayClient(write_results(folder / "results"))
panel.logic._office = PostOffice(panel.logic.client)
panel._ready = True
panel.panels["cases"].open(open_folder(folder))
wait(lambda: panel.logic.case is not None, 60)
findings = panel.panels["findings"]
findings.ui.findingsTable.selectRow(1)
findings.ui.rejectButton.click()
findings.ui.noteEdit.text = "vessel"
findings.ui.noteEdit.editingFinished.emit()
findings.ui.thresholdSlider.value = 4.8
findings._settle()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_a_killed_slicer_has_lost_nothing(panel: Any, tmp_path: Path) -> None:
    write_scans(tmp_path, ["a.nii.gz", "b.nii.gz"])
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    cases = panel.panels["cases"]
    cases.open(open_folder(tmp_path))
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    assert cases.queue.current.name == "b"  # the first one that wasn't read
    cases.move(-1)
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    case = panel.logic.case
    assert case.verdicts == {2: "reject"}
    assert case.notes == {2: "vessel"}
    assert case.session.settings.threshold == 4.8


def test_a_half_written_decision_is_not_taken_for_one(tmp_path: Path) -> None:
    write_scans(tmp_path, ["a.nii.gz"])
    queue = open_folder(tmp_path)
    (queue.folder / "a.json").write_text('{"session": "{', encoding="utf-8")
    assert open_folder(tmp_path).saved_session() == ""


def test_a_bids_data_set_gives_its_anatomical_scans(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}", encoding="utf-8")
    write_scans(
        tmp_path,
        [
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-02/anat/sub-02_FLAIR.nii.gz",
            "sub-01/func/sub-01_bold.nii.gz",
            "derivatives/sub-01_T1w.nii.gz",
        ],
    )
    assert [case.name for case in open_folder(tmp_path).cases] == ["sub-01_T1w", "sub-02_FLAIR"]


def test_a_list_names_cases_apart_and_says_what_is_missing(tmp_path: Path) -> None:
    write_scans(tmp_path, ["one/scan.nii.gz", "two/scan.nii.gz"])
    table = tmp_path / "cases.csv"
    table.write_text("path,age\none/scan.nii.gz,30\ntwo/scan.nii.gz,40\n", encoding="utf-8")
    assert [case.name for case in open_list(table).cases] == ["scan", "scan_2"]
    table.write_text("path\nthree.nii.gz\n", encoding="utf-8")
    with pytest.raises(AnomalyDetectError, match=r"three\.nii\.gz is not there"):
        open_list(table)
    table.write_text("scans\nx\n", encoding="utf-8")
    with pytest.raises(AnomalyDetectError, match="no column path"):
        open_list(table)


def test_a_case_of_a_queue_never_gets_the_second_sequence_of_another_patient(
    panel: Any, slicer: Any, tmp_path: Path
) -> None:
    write_scans(tmp_path, ["a.nii.gz"])
    panel.parameters.alsoVolume = add_scan(slicer, name="of another patient")
    panel.panels["cases"].open(open_folder(tmp_path))
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    assert panel.parameters.alsoVolume is None
    assert not any("also" in request for request in panel.logic.client.requests)


def test_the_next_case_is_computed_while_this_one_is_read(panel: Any, slicer: Any, tmp_path: Path) -> None:
    write_scans(tmp_path, ["a.nii.gz", "b.nii.gz"])
    cases, client = panel.panels["cases"], panel.logic.client
    cases.open(open_folder(tmp_path))
    wait(lambda: panel.logic.case is not None)
    wait(lambda: panel.logic.ahead is not None and panel.logic.ahead.done is not None)
    wait(lambda: cases.ui.stateLabel.text == "next: ready")
    assert client.requests[1]["input"].endswith("b.nii.gz")
    panel.panels["findings"].ui.findingsTable.selectRow(0)
    panel.panels["findings"].keep()
    panel.panels["findings"].ui.noteEdit.text = "typed to the last moment"
    cases.ui.nextButton.click()
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    assert len(client.requests) == 2  # nothing was computed twice
    assert cases.ui.caseLabel.text.startswith("b")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    cases.ui.previousButton.click()
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    assert panel.logic.case.verdicts == {1: "keep"}
    assert panel.logic.case.notes == {1: "typed to the last moment"}
    assert not cases.ui.previousButton.enabled
    assert cases.ui.previousButton.toolTip == "this is the first case"
