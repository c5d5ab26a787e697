"""What a reader sees and does in the panel, on the real module file, the real .ui files and real nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from AnomalyDetectLib.io.write import write_nifti
from AnomalyDetectLib.volume import Grid
from Testing.slicer.conftest import detect
from Testing.slicer.small_case import AFFINE, SHAPE, add_scan, brain, score_array, write_results

OURS = (
    "healthy",
    "residual",
    "score",
    "uncertainty",
    "regions",
    "findings",
    "labelmap",
    "brain",
    "AnomalyDetect ",
)


def wait(until: Any, seconds: float = 60) -> list[float]:
    """Turn the event loop."""
    from Testing.slicer_host.module import wait as turn

    return turn(until, seconds)


def result_nodes(slicer: Any) -> list[str]:
    """Names of the nodes in the scene that a detection adds."""
    nodes = slicer.util.getNodesByClass("vtkMRMLStorableNode")
    return [node.GetName() for node in nodes if any(word in node.GetName() for word in OURS)]


def rows(panel: Any) -> list[list[str]]:
    """The table's cells."""
    table = panel.panels["findings"].ui.findingsTable
    columns = range(table.columnCount)
    return [[table.item(row, column).text() for column in columns] for row in range(table.rowCount)]


def test_detect_is_disabled_and_its_tool_tip_says_why(panel: Any) -> None:
    button = panel.panels["detect"].ui.detectButton
    assert not button.enabled
    assert button.toolTip == "choose a volume"


def test_a_chosen_volume_enables_detect_and_is_described(panel: Any, scan: Any) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    assert panel.panels["detect"].ui.detectButton.enabled
    assert "2 × 2 × 2 mm" in panel.panels["scan"].ui.fitLabel.text


def test_checking_a_scan_shows_the_verdict_and_the_reason(panel: Any, scan: Any) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["scan"].ui.checkButton.click()
    wait(lambda: not panel.logic.busy)
    assert "fits with doubts" in panel.panels["scan"].ui.fitLabel.text
    assert "coarse voxels" in panel.panels["scan"].ui.fitLabel.text


def test_the_devices_are_listed_with_their_free_memory_as_it_is_now(
    panel: Any, scan: Any, slicer: Any
) -> None:
    selector, client = panel.panels["detect"].ui.deviceSelector, panel.logic.client
    gpu = {"name": "cuda", "label": "Big GPU", "free_bytes": 7_900_000_000}
    client.devices = [gpu, *client.devices]
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    wait(lambda: not panel.logic.computing)
    names = [selector.itemText(place) for place in range(selector.count)]
    assert names == ["auto", "CPU", "Big GPU, 7.9 GB free"]
    selector.setCurrentIndex(2)
    assert panel.options()["device"] == "cuda"
    client.devices[0] = gpu | {"free_bytes": 400_000_000}
    panel.panels["scan"].ui.inputSelector.setCurrentNode(add_scan(slicer, name="next"))
    wait(lambda: not panel.logic.computing)
    assert selector.itemText(2) == "Big GPU, 0.4 GB free"
    assert panel.options()["device"] == "cuda"


def test_a_saved_device_that_is_not_here_becomes_auto(panel: Any, scan: Any) -> None:
    panel.parameters.device = "cuda"
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    wait(lambda: not panel.logic.computing)
    assert panel.options()["device"] == "auto"


def test_that_the_cpu_took_over_is_a_line_in_the_panel(panel: Any, scan: Any, tmp_path: Any) -> None:
    files = write_results(tmp_path / "took over")
    report = json.loads(Path(files["report"]).read_text(encoding="utf-8"))
    report["fit"] = {"verdict": "warn", "reasons": ["coarse voxels"]}
    report["warnings"] = ["coarse voxels", "the GPU's memory ran out: the model ran on the CPU"]
    Path(files["report"]).write_text(json.dumps(report), encoding="utf-8")
    panel.logic.client.files = files
    detect(panel, scan)
    done, *warnings = panel.panels["detect"].ui.messageLabel.text.splitlines()
    assert done.startswith("Done")
    assert warnings == ["the GPU's memory ran out: the model ran on the CPU"]
    assert "coarse voxels" in panel.panels["scan"].ui.fitLabel.text


def test_auto_says_which_model_it_was_until_another_scan_is_chosen(
    panel: Any, scan: Any, slicer: Any, tmp_path: Any
) -> None:
    panel.logic.client.files = write_results(tmp_path / "named", model="atlas-z")
    detect(panel, scan)
    selector = panel.panels["detect"].ui.modelSelector
    assert selector.itemText(0) == "auto: atlas-z 1.0"
    panel.panels["scan"].ui.inputSelector.setCurrentNode(add_scan(slicer, name="next"))
    assert selector.itemText(0) == "auto"


def test_after_a_detection_the_table_lists_the_findings_and_the_scene_holds_them(
    opened: Any, slicer: Any
) -> None:
    assert [row[5] for row in rows(opened)] == ["▲", "▼", "▲", "▲", "▼"]
    nodes = opened.logic.case.nodes
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 5
    labels = slicer.util.arrayFromVolume(nodes.labelmap).T
    np.testing.assert_array_equal(labels, opened.logic.case.findings.labelmap)
    assert "5 findings" in opened.panels["findings"].ui.summaryLabel.text
    assert "fits" in opened.panels["scan"].ui.fitLabel.text


def test_segments_have_terminology_stable_colours_and_their_own_voxels(opened: Any, slicer: Any) -> None:
    from AnomalyDetectLib.findings.tracker import colour_of

    case, segmentation = opened.logic.case, opened.logic.case.nodes.segmentation
    for row in case.findings.table:
        segment = segmentation.GetSegmentation().GetSegment(f"finding_{row.id}")
        assert segment.GetColor() == pytest.approx(colour_of(row.id))
        tag = slicer.vtkSegment.GetTerminologyEntryTagName()
        import vtk

        text = vtk.reference("")
        assert segment.GetTag(tag, text)
        assert "49755003" in str(text)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, f"finding_{row.id}", case.nodes.scan)
        assert found.astype(bool).sum() == len(case.findings.with_id(row.id))
        assert segment.GetRepresentation("Closed surface").GetNumberOfPoints() > 10


def test_the_threshold_slider_changes_findings_at_once_and_surfaces_when_it_rests(
    opened: Any, slicer: Any
) -> None:
    case, ui = opened.logic.case, opened.panels["findings"].ui
    segmentation = case.nodes.segmentation.GetSegmentation()
    ui.thresholdSlider.value = 5.5
    assert len(case.findings) == 3
    gone = segmentation.GetSegment("finding_4")
    shown = slicer.util.arrayFromSegmentInternalBinaryLabelmap(case.nodes.segmentation, "finding_1")
    assert sorted(set(np.unique(shown).tolist()) - {0}) == [1, 2, 3]
    assert gone is not None  # kept until the slider rests: taking it out would cost time
    wait(lambda: segmentation.GetNumberOfSegments() == 3)
    assert len(rows(opened)) == 3
    ui.thresholdSlider.value = 4.0
    wait(lambda: len(rows(opened)) == 5)
    assert segmentation.GetSegment("finding_4").GetRepresentation("Closed surface").GetNumberOfPoints() > 10


def test_a_limit_marks_uncertain_findings_and_hiding_them_is_said(opened: Any, slicer: Any) -> None:
    case, ui = opened.logic.case, opened.panels["findings"].ui
    assert not slicer.util.arrayFromVolume(case.nodes.uncertain).any()
    assert "0 uncertain" in ui.summaryLabel.text
    ui.uncertaintySlider.value = 1.32  # of 1.4, 1.35, 1.3, 1.25, 1.22
    opened.panels["findings"]._settle()
    assert [row[5] for row in rows(opened)] == ["▲?", "▼?", "▲", "▲", "▼"]
    assert "5 findings" in ui.summaryLabel.text
    assert "2 uncertain" in ui.summaryLabel.text
    segment = case.nodes.segmentation.GetSegmentation().GetSegment("finding_1")
    assert segment.GetName().endswith("▲?")
    display = case.nodes.segmentation.GetDisplayNode()
    assert display.GetSegmentOpacity3D("finding_1") < display.GetSegmentOpacity3D("finding_3") == 1
    hatched = slicer.util.arrayFromVolume(case.nodes.uncertain).T > 0
    assert set(np.unique(case.findings.labelmap[hatched]).tolist()) == {1, 2}
    share = hatched.sum() / np.isin(case.findings.labelmap, (1, 2)).sum()
    assert 0.2 < share < 0.5  # stripes, through which the scan is seen
    ui.hideBox.checked = True
    opened.panels["findings"]._settle()
    assert len(rows(opened)) == 3
    assert "2 uncertain ones are hidden" in ui.summaryLabel.text
    assert not slicer.util.arrayFromVolume(case.nodes.uncertain).any()
    ui.undoButton.click()
    assert not ui.hideBox.checked
    ui.undoButton.click()
    assert ui.uncertaintySlider.value == ui.uncertaintySlider.maximum
    assert [row[5] for row in rows(opened)] == ["▲", "▼", "▲", "▲", "▼"]


def test_the_weak_threshold_lets_findings_reach_out_and_its_right_end_switches_it_off(opened: Any) -> None:
    case, ui = opened.logic.case, opened.panels["findings"].ui
    plain = case.findings.labelmap.copy()
    assert ui.weakSlider.value == ui.weakSlider.maximum == 4.0  # the threshold
    assert case.session.settings.hysteresis is None
    ui.weakSlider.value = 1.4
    opened.panels["findings"]._settle()
    assert case.session.settings.hysteresis == 1.4
    strengths = np.abs(case.result.maps.score[(case.findings.labelmap > 0) & (plain == 0)])
    assert len(strengths) > 10
    assert strengths.min() >= 1.4
    assert strengths.max() < 4.0
    np.testing.assert_array_equal(case.findings.labelmap > 0, (case.findings.labelmap > 0) | (plain > 0))
    ui.weakSlider.value = ui.weakSlider.maximum
    np.testing.assert_array_equal(case.findings.labelmap, plain)
    ui.undoButton.click()
    assert ui.weakSlider.value == 1.4
    ui.undoButton.click()
    assert ui.weakSlider.value == ui.weakSlider.maximum
    np.testing.assert_array_equal(case.findings.labelmap, plain)


def test_a_threshold_below_the_weak_one_switches_that_off_when_it_rests(opened: Any) -> None:
    case, findings = opened.logic.case, opened.panels["findings"]
    findings.ui.thresholdSlider.value = 5.5
    findings._settle()
    findings.ui.weakSlider.value = 4.8
    findings._settle()
    findings.ui.thresholdSlider.value = 4.2
    assert case.session.settings.hysteresis is None
    findings.ui.thresholdSlider.value = 6.5  # in one movement there and back
    assert case.session.settings.hysteresis == 4.8
    findings.ui.thresholdSlider.value = 4.2
    findings._settle()
    assert findings.ui.weakSlider.value == findings.ui.weakSlider.maximum == 4.2
    findings.ui.thresholdSlider.value = 5.5
    assert case.session.settings.hysteresis is None
    assert opened.panels["detect"].ui.messageLabel.text.startswith("Done")


def test_a_weak_threshold_leaves_the_chosen_number_of_false_alarms(
    panel: Any, scan: Any, tmp_path: Any
) -> None:
    files = write_results(tmp_path / "calibrated", model="atlas-z")
    panel.logic.client.files = files
    detect(panel, scan)
    case, ui = panel.logic.case, panel.panels["findings"].ui
    chosen, before = case.expected(), case.session.settings.threshold
    ui.weakSlider.value = 0.7 * before
    panel.panels["findings"]._settle()
    assert case.session.settings.hysteresis == pytest.approx(0.7 * before, abs=0.01)
    assert case.session.settings.threshold != before
    assert case.expected() == pytest.approx(chosen, rel=0.1)
    ui.falseAlarmsSlider.value = ui.falseAlarmsSlider.maximum
    assert case.expected() == pytest.approx(10, rel=0.1)


def test_a_click_on_a_row_moves_every_view_there(opened: Any, slicer: Any) -> None:
    from AnomalyDetectLib.mrml.views import slice_nodes

    if not slice_nodes():
        for name in ("Red", "Green"):
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", name).SetLayoutName(name)
    opened.panels["findings"].ui.findingsTable.selectRow(2)
    centre = opened.logic.case.findings.table[2].centroid_ras_mm
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairRAS() == pytest.approx(centre, abs=0.01)
    for node in slice_nodes():
        if node.GetOrientation() == "Axial":
            assert node.GetSliceOffset() == pytest.approx(centre[2], abs=0.5)


def test_keep_reject_and_undo_with_the_buttons(opened: Any) -> None:
    ui, case = opened.panels["findings"].ui, opened.logic.case
    display = case.nodes.segmentation.GetDisplayNode()
    ui.findingsTable.selectRow(0)
    ui.keepButton.click()
    assert rows(opened)[0][6] == "✓"
    ui.findingsTable.selectRow(1)
    ui.rejectButton.click()
    assert rows(opened)[1][6] == "✗"
    assert not display.GetSegmentVisibility("finding_2")
    ui.undoButton.click()
    assert rows(opened)[1][6] == ""
    assert display.GetSegmentVisibility("finding_2")
    ui.redoButton.click()
    assert rows(opened)[1][6] == "✗"
    ui.undoButton.click()
    ui.undoButton.click()
    assert rows(opened)[0][6] == ""
    assert not ui.undoButton.enabled


def test_a_note_belongs_to_its_finding_and_is_one_step_to_undo(opened: Any) -> None:
    ui, case = opened.panels["findings"].ui, opened.logic.case
    ui.findingsTable.selectRow(1)
    ui.noteEdit.text = "Virchow–Robin space?"
    ui.noteEdit.returnPressed.emit()
    ui.noteEdit.editingFinished.emit()
    assert case.notes == {2: "Virchow–Robin space?"}
    ui.findingsTable.selectRow(0)
    assert ui.noteEdit.text == ""
    ui.noteEdit.text = "old infarct"
    ui.findingsTable.selectRow(1)  # without Enter
    assert case.notes == {2: "Virchow–Robin space?", 1: "old infarct"}
    assert ui.noteEdit.text == "Virchow–Robin space?"
    ui.keepButton.click()
    assert case.verdicts == {2: "keep"}
    ui.undoButton.click()
    ui.undoButton.click()
    assert case.notes == {2: "Virchow–Robin space?"}
    ui.undoButton.click()
    assert case.notes == {}
    assert ui.noteEdit.text == ""
    assert not ui.undoButton.enabled
    ui.redoButton.click()
    assert ui.noteEdit.text == "Virchow–Robin space?"
    assert "Robin" in opened.logic.case.nodes.segmentation.GetAttribute("AnomalyDetect.Session")


def test_a_note_that_is_being_typed_stays_when_the_panel_is_shown_anew(opened: Any) -> None:
    ui = opened.panels["findings"].ui
    ui.findingsTable.selectRow(0)
    ui.noteEdit.text = "half a sent"
    opened.refresh()
    assert ui.noteEdit.text == "half a sent"
    ui.rejectButton.click()
    assert opened.logic.case.notes == {1: "half a sent"}
    assert opened.logic.case.verdicts == {1: "reject"}


def test_a_note_needs_a_chosen_finding(panel: Any) -> None:
    note = panel.panels["findings"].ui.noteEdit
    assert not note.enabled
    assert note.toolTip == "there are no findings"


def test_keys_go_through_the_findings_and_stop_when_the_module_is_left(opened: Any) -> None:
    keys = {shortcut.key.toString(): shortcut for shortcut in opened.shortcuts._all}
    table = opened.panels["findings"].ui.findingsTable
    table.selectRow(0)
    keys["N"].activated.emit()
    assert table.currentRow() == 1
    keys["K"].activated.emit()
    assert rows(opened)[1][6] == "✓"
    keys["P"].activated.emit()
    assert table.currentRow() == 0
    keys["3"].activated.emit()
    assert opened.parameters.overlay == "uncertainty"
    opened.exit()
    assert not any(shortcut.isEnabled() for shortcut in keys.values())


def press(kind: str, receiver: Any, key: str = "H") -> None:
    """Send a key event, as Qt does to the widget that has the focus."""
    from PySide6 import QtCore, QtGui, QtWidgets

    event = QtGui.QKeyEvent(
        getattr(QtCore.QEvent.Type, kind),
        getattr(QtCore.Qt.Key, f"Key_{key}"),
        QtCore.Qt.KeyboardModifier.NoModifier,
        key.lower(),
    )
    QtWidgets.QApplication.sendEvent(receiver, event)


def background_of(slicer: Any) -> str:
    """What lies in the background of the first slice view."""
    return str(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetBackgroundVolumeID())


@pytest.fixture
def view_that_eats_keys(slicer: Any) -> Any:
    """A slice view's layers, and a widget that keeps every key press to itself, as a render window does."""
    from PySide6 import QtWidgets

    class Greedy(QtWidgets.QWidget):
        def keyPressEvent(self, event: Any) -> None:
            event.accept()

    if not slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetLayoutName("Red")
    return Greedy()


def test_h_flickers_also_when_a_view_has_the_focus_and_comes_back_when_released(
    view_that_eats_keys: Any, opened: Any, slicer: Any
) -> None:
    opened.refresh()
    scan, healthy = (node.GetID() for node in (opened.logic.case.nodes.scan, opened.logic.case.nodes.healthy))
    press("KeyPress", view_that_eats_keys)
    assert background_of(slicer) == healthy
    press("KeyRelease", view_that_eats_keys)
    assert background_of(slicer) == scan
    press("KeyPress", view_that_eats_keys)
    opened.exit()  # the module is left with the key down
    assert background_of(slicer) == scan
    press("KeyPress", view_that_eats_keys)
    assert background_of(slicer) == scan


def test_h_in_a_note_is_a_letter(
    view_that_eats_keys: Any, opened: Any, slicer: Any, monkeypatch: Any
) -> None:
    import qt

    opened.refresh()
    note = opened.panels["findings"].ui.noteEdit
    monkeypatch.setattr(qt.QApplication, "focusWidget", lambda: note)
    before = background_of(slicer)
    press("KeyPress", note)
    assert background_of(slicer) == before
    assert note.text == "h"


def test_a_menus_key_is_ours_while_the_module_is_open_and_goes_back(panel: Any) -> None:
    import qt

    panel.exit()
    menu = qt.QAction("New", panel.parent)
    menu.setShortcut(qt.QKeySequence("Ctrl+N"))
    other = qt.QAction("Save", panel.parent)
    other.setShortcut(qt.QKeySequence("Ctrl+S"))
    panel.enter()
    assert (menu.shortcut.toString(), other.shortcut.toString()) == ("", "Ctrl+S")
    panel.exit()
    assert menu.shortcut.toString() == "Ctrl+N"


def test_undo_after_a_hand_over_takes_the_segmentation_back_and_only_that(opened: Any, slicer: Any) -> None:
    ui = opened.panels["findings"].ui
    ui.findingsTable.selectRow(0)
    ui.rejectButton.click()
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    opened.panels["hand_over"].ui.segmentEditorButton.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1
    assert "4 findings" in opened.panels["hand_over"].ui.resultLabel.text
    ui.undoButton.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before
    assert rows(opened)[0][6] == "✗"
    ui.undoButton.click()
    assert rows(opened)[0][6] == ""


def test_cancel_leaves_the_scene_as_it_was(panel: Any, scan: Any, slicer: Any) -> None:
    panel.logic.client.held = True
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(panel.logic.client.requests))
    assert not panel.panels["detect"].ui.cancelButton.isHidden()
    panel.panels["detect"].ui.cancelButton.click()
    assert "Cancelled" in panel.panels["detect"].ui.messageLabel.text
    assert panel.panels["detect"].ui.detectButton.enabled
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_cancel_while_results_are_being_shown_takes_them_back(panel: Any, scan: Any, slicer: Any) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(result_nodes(slicer)))
    assert panel.logic.busy
    panel.panels["detect"].ui.cancelButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before


@pytest.mark.parametrize("kind", ["crashed", "error"])
def test_a_crash_is_a_line_with_details_to_copy(panel: Any, scan: Any, slicer: Any, kind: str) -> None:
    panel.logic.client.instead = {"type": kind, "message": "memory ran out; crop the scan", "details": "x"}
    before = slicer.mrmlScene.GetNumberOfNodes()
    detect(panel, scan)
    ui = panel.panels["detect"].ui
    assert ui.messageLabel.text == "memory ran out; crop the scan"
    assert not ui.copyButton.isHidden()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    panel.logic.client.instead = None
    detect(panel, scan)
    assert len(rows(panel)) == 5


def test_closing_the_scene_in_the_middle_of_a_run(panel: Any, scan: Any, slicer: Any) -> None:
    panel.logic.client.held = True
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(panel.logic.client.requests))
    slicer.mrmlScene.Clear(0)
    assert not panel.logic.busy
    assert result_nodes(slicer) == []
    assert panel.parameters.inputVolume is None
    assert panel.panels["detect"].ui.detectButton.toolTip == "choose a volume"
    panel.logic.client.held = False
    detect(panel, add_scan(slicer))
    assert len(rows(panel)) == 5


def test_cancel_while_surfaces_are_made_takes_all_back_and_the_next_run_is_whole(
    panel: Any, scan: Any, slicer: Any
) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: segments_in(slicer) == 5)
    assert panel.logic.busy  # segments are there, their surfaces not yet
    panel.panels["detect"].ui.cancelButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: not panel.logic.busy)
    assert len(rows(panel)) == 5


def test_the_event_loop_turns_between_the_surfaces_of_a_run(panel: Any, scan: Any, slicer: Any) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: segments_in(slicer) == 5)
    made = []
    while panel.logic.busy:
        panel.tick()
        made.append(surfaces_in(slicer))
    assert {1, 2, 3, 4, 5} <= set(made)


def segments_in(slicer: Any) -> int:
    """Segments in the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return sum(node.GetSegmentation().GetNumberOfSegments() for node in nodes)


def surfaces_in(slicer: Any) -> int:
    """Segments with a surface."""
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segments = map(node.GetSegmentation().GetNthSegment, range(node.GetSegmentation().GetNumberOfSegments()))
    surfaces = [segment.GetRepresentation("Closed surface") for segment in segments]
    return sum(surface is not None and surface.GetNumberOfPoints() > 0 for surface in surfaces)


@pytest.mark.parametrize("clear", [True, False], ids=["in place of this one", "beside it"])
def test_loading_a_scene_in_the_middle_of_a_run_ends_the_run_and_takes_the_scene_up(
    opened: Any, slicer: Any, tmp_path: Any, clear: bool
) -> None:
    opened.panels["findings"].ui.findingsTable.selectRow(2)
    opened.panels["findings"].ui.rejectButton.click()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    opened.logic.client.held = True
    opened.panels["scan"].ui.inputSelector.setCurrentNode(add_scan(slicer, name="other"))
    opened.panels["detect"].ui.detectButton.click()
    wait(lambda: len(opened.logic.client.requests) == 2)
    slicer.util.loadScene(path, {"clear": clear})
    wait(lambda: opened.logic.case is not None and not opened.logic.busy)
    assert opened.parameters.inputVolume.GetName() == "small"
    assert [row[6] for row in rows(opened)] == ["", "", "✗", "", ""]
    assert segments_in(slicer) == 5
    opened.logic.client.held = False
    assert opened.logic.client.poll() in ([{"type": "cancelled"}], [])


def test_another_volume_can_be_chosen_when_the_run_has_ended(panel: Any, scan: Any, slicer: Any) -> None:
    panel.logic.client.held = True
    selector = panel.panels["scan"].ui.inputSelector
    selector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(panel.logic.client.requests))
    assert not selector.enabled
    assert "cancel it first" in selector.toolTip
    panel.logic.client.held = False
    wait(lambda: not panel.logic.busy)
    assert selector.enabled
    assert "cancel" not in selector.toolTip


def test_a_script_that_changes_the_volume_in_the_middle_of_a_run_ends_it(
    panel: Any, scan: Any, slicer: Any
) -> None:
    panel.logic.client.held = True
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(panel.logic.client.requests))
    panel.parameters.inputVolume = add_scan(slicer, name="other")
    assert not panel.logic.busy
    assert "Cancelled" in panel.panels["detect"].ui.messageLabel.text
    assert result_nodes(slicer) == []
    panel.logic.client.held = False
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: not panel.logic.busy)
    assert panel.logic.case.nodes.scan.GetName() == "other"


def test_a_new_scene_does_not_inherit_the_verdict_on_a_scan_of_the_same_id(
    panel: Any, scan: Any, slicer: Any
) -> None:
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["scan"].ui.checkButton.click()
    wait(lambda: not panel.logic.busy)
    before = scan.GetID()
    slicer.mrmlScene.Clear(0)
    other = add_scan(slicer, name="other")
    assert other.GetID() == before
    panel.panels["scan"].ui.inputSelector.setCurrentNode(other)
    assert panel.panels["scan"].ui.fitLabel.text.startswith("not checked yet")


def test_a_refused_scan_is_red_with_the_reason(panel: Any, scan: Any) -> None:
    reason = "small: FLAIR scans are not what this model knows"
    panel.logic.client.instead = {"type": "error", "message": reason, "details": "", "refused": True}
    detect(panel, scan)
    assert panel.panels["scan"].ui.fitLabel.text.startswith("does not fit")
    assert reason in panel.panels["scan"].ui.fitLabel.text
    assert "#D55E00" in panel.panels["scan"].ui.fitDot.styleSheet


def test_closing_the_scene_with_an_open_case_empties_the_panel(opened: Any, slicer: Any) -> None:
    slicer.mrmlScene.Clear(0)
    assert opened.logic.case is None
    assert rows(opened) == []
    assert result_nodes(slicer) == []


def test_deleting_the_input_in_the_middle_of_a_run(panel: Any, scan: Any, slicer: Any) -> None:
    panel.logic.client.held = True
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: bool(panel.logic.client.requests))
    slicer.mrmlScene.RemoveNode(scan)
    wait(lambda: not panel.logic.busy)
    assert result_nodes(slicer) == []
    assert "removed" in panel.panels["detect"].ui.messageLabel.text


@pytest.mark.parametrize("which", ["scan", "segmentation"])
def test_deleting_a_node_of_the_open_case_removes_the_rest(opened: Any, slicer: Any, which: str) -> None:
    slicer.mrmlScene.RemoveNode(getattr(opened.logic.case.nodes, which))
    assert opened.logic.case is None
    assert result_nodes(slicer) == []
    assert rows(opened) == []


def test_a_second_run_takes_the_place_of_the_first(opened: Any, slicer: Any) -> None:
    before = sorted(result_nodes(slicer))
    detect(opened, opened.parameters.inputVolume)
    assert sorted(result_nodes(slicer)) == before
    assert len(rows(opened)) == 5


def test_results_follow_a_transform_of_the_scan(panel: Any, scan: Any, slicer: Any) -> None:
    import vtk

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 30)
    transform.SetMatrixTransformToParent(matrix)
    scan.SetAndObserveTransformNodeID(transform.GetID())
    detect(panel, scan)
    nodes = panel.logic.case.nodes
    for node in (nodes.score, nodes.segmentation, nodes.labelmap, nodes.brain):
        assert node.GetTransformNodeID() == transform.GetID()
    panel.panels["findings"].ui.findingsTable.selectRow(1)
    own = panel.logic.case.findings.table[1].centroid_ras_mm
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()
    assert crosshair == pytest.approx((own[0] + 30, own[1], own[2]), abs=0.01)


def test_results_follow_a_non_linear_transform_of_the_scan(panel: Any, scan: Any, slicer: Any) -> None:
    import vtk

    grid = slicer.vtkOrientedGridTransform()
    field = vtk.vtkImageData()
    field.SetDimensions(4, 4, 4)
    field.SetOrigin(-100, -100, -100)
    field.SetSpacing(70, 70, 70)
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    from vtk.util import numpy_support

    numpy_support.vtk_to_numpy(field.GetPointData().GetScalars())[:] = (0, 7, 0)
    grid.SetDisplacementGridData(field)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    transform.SetAndObserveTransformToParent(grid)
    scan.SetAndObserveTransformNodeID(transform.GetID())
    detect(panel, scan)
    own = panel.logic.case.findings.table[0].centroid_ras_mm
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()
    assert crosshair == pytest.approx((own[0], own[1] + 7, own[2]), abs=0.05)


def test_a_scan_in_a_rotated_frame_gets_results_in_the_same_frame(
    panel: Any, slicer: Any, tmp_path: Any
) -> None:
    from AnomalyDetectLib.mrml.scan import affine

    angle = np.deg2rad(25)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rotated = rotation @ AFFINE
    panel.logic.client.files = write_results(tmp_path / "rotated", rotated)
    detect(panel, add_scan(slicer, rotated))
    nodes = panel.logic.case.nodes
    np.testing.assert_allclose(affine(nodes.score), rotated, atol=1e-4)
    row = panel.logic.case.findings.table[0]
    centre = np.array([(14 + 19) / 2, (20 + 27) / 2, (18 + 23) / 2, 1])
    assert row.centroid_ras_mm == pytest.approx((rotated @ centre)[:3], abs=0.01)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, f"finding_{row.id}", nodes.scan)
    assert found.T[14:20, 20:28, 18:24].all()
    assert found.sum() == 6 * 8 * 6


def test_a_label_map_or_a_vector_volume_is_refused_in_words(panel: Any, slicer: Any) -> None:
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.ones(SHAPE[::-1], np.int16))
    panel.parameters.inputVolume = labels
    assert "label map" in panel.panels["detect"].ui.detectButton.toolTip
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "vector")
    slicer.util.updateVolumeFromArray(vector, np.ones((*SHAPE[::-1], 3), np.uint8))
    panel.parameters.inputVolume = vector
    assert "3 values a voxel" in panel.panels["detect"].ui.detectButton.toolTip
    with pytest.raises(ValueError, match="3 values"):
        panel.logic.detect(vector, {})


def test_a_mask_on_another_grid_is_refused_in_words(panel: Any, scan: Any, slicer: Any) -> None:
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    slicer.util.updateVolumeFromArray(mask, np.ones((5, 5, 5), np.int16))
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["scan"].ui.maskSelector.setCurrentNode(mask)
    assert "another grid" in panel.panels["detect"].ui.detectButton.toolTip


def test_a_saved_scene_goes_on_where_it_was_left(opened: Any, slicer: Any, tmp_path: Any) -> None:
    ui = opened.panels["findings"].ui
    ui.findingsTable.selectRow(1)
    ui.rejectButton.click()
    ui.thresholdSlider.value = 4.8
    wait(lambda: len(rows(opened)) == 4)
    ui.weakSlider.value = 1.4
    opened.panels["findings"]._settle()
    ui.noteEdit.text = "Zyste – 囊肿; <&>:"
    ui.noteEdit.editingFinished.emit()
    shown = rows(opened)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    assert rows(opened) == []
    slicer.util.loadScene(path)
    wait(lambda: opened.logic.case is not None and not opened.logic.busy)
    assert rows(opened) == shown
    assert opened.parameters.inputVolume.GetName() == "small"
    assert ui.weakSlider.value == 1.4
    assert opened.logic.case.notes == {2: "Zyste – 囊肿; <&>:"}


def test_coming_back_to_the_module_adds_no_observer_to_its_parameters(panel: Any) -> None:
    before = panel.parameters
    for _ in range(3):
        panel.exit()
        panel.enter()
    assert panel.parameters is before


def test_each_scan_of_a_scene_keeps_its_own_decisions(opened: Any, slicer: Any, tmp_path: Any) -> None:
    first = opened.parameters.inputVolume
    opened.panels["findings"].ui.findingsTable.selectRow(1)
    opened.panels["findings"].ui.rejectButton.click()
    second = add_scan(slicer, name="second")
    detect(opened, second)
    opened.panels["findings"].ui.findingsTable.selectRow(3)
    opened.panels["findings"].ui.keepButton.click()
    selector = opened.panels["scan"].ui.inputSelector
    for scan, verdicts in ((first, {2: "reject"}), (second, {4: "keep"}), (first, {2: "reject"})):
        selector.setCurrentNode(scan)
        wait(lambda: opened.logic.case is not None and not opened.logic.busy)
        assert opened.logic.case.nodes.scan is scan
        assert opened.logic.case.verdicts == verdicts


def test_brain_where_the_score_is_nought_is_still_brain_after_a_saved_scene(
    panel: Any, scan: Any, slicer: Any, tmp_path: Any
) -> None:
    import nibabel as nib

    files = write_results(tmp_path / "quiet")
    quiet = (slice(24, 30), slice(26, 34), slice(18, 24))  # in the brain, between the findings
    score = score_array()
    score[quiet] = 0
    nib.Nifti1Image(score, AFFINE).to_filename(files["score"])
    panel.logic.client.files = files
    detect(panel, scan)
    np.testing.assert_array_equal(panel.logic.case.result.maps.brain, brain())
    node = panel.logic.case.nodes.brain_mask
    assert node.GetHideFromEditors()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    maps = panel.logic.case.result.maps
    assert not maps.score[quiet].any()
    np.testing.assert_array_equal(maps.brain, brain())
    assert len(rows(panel)) == 5


def test_a_scene_without_a_brain_mask_takes_the_brain_from_the_score(
    opened: Any, slicer: Any, tmp_path: Any
) -> None:
    slicer.mrmlScene.RemoveNode(opened.logic.case.nodes.brain_mask)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    wait(lambda: opened.logic.case is not None and not opened.logic.busy)
    maps = opened.logic.case.result.maps
    np.testing.assert_array_equal(maps.brain, maps.score != 0)
    assert len(rows(opened)) == 5


def test_decisions_are_dropped_when_saving_has_reordered_the_voxels(
    panel: Any, slicer: Any, tmp_path: Any
) -> None:
    left_handed = AFFINE @ np.diag([-1.0, 1, 1, 1])  # Slicer's own files turn such a grid around
    panel.logic.client.files = write_results(tmp_path / "left", left_handed)
    detect(panel, add_scan(slicer, left_handed))
    panel.panels["findings"].ui.findingsTable.selectRow(1)
    panel.panels["findings"].ui.rejectButton.click()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    wait(lambda: panel.logic.case is not None and not panel.logic.busy)
    assert len(rows(panel)) == 5
    assert [row[6] for row in rows(panel)] == [""] * 5
    assert "can't be taken over" in panel.panels["detect"].ui.messageLabel.text


def incomplete() -> Any:
    """What a computer needs that lacks SciPy."""
    from AnomalyDetectLib import preflight

    part = preflight.Part("scipy", "missing", 36, "scipy>=1.11")
    return preflight.Plan(None, (part,), (), (), (), Path(), 1000.0)


def test_a_no_to_the_installation_is_a_cancel_not_an_error(panel: Any, scan: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("AnomalyDetectLib.preflight.examine", incomplete)
    monkeypatch.setattr("slicer.util.confirmOkCancelDisplay", lambda text: False)
    panel._ready = False
    detect(panel, scan)
    assert panel.panels["detect"].ui.messageLabel.text == "Cancelled: nothing was installed."
    assert panel.logic.client.requests == []


def install_from(
    panel: Any, folder: Path | str, monkeypatch: Any, answer: bool = True
) -> tuple[list[Any], str]:
    """Click the button and choose a folder; what pip was told, and what the panel says.

    A complete computer lacks SciPy until pip was called.
    """
    import qt

    from AnomalyDetectLib import preflight

    told: list[Any] = []
    complete = preflight.Plan(None, (), (), (), (), Path(), 1000.0)
    monkeypatch.setattr(preflight, "examine", lambda *known: complete if told else incomplete())
    monkeypatch.setattr("slicer.util.pip_install", told.append, raising=False)
    monkeypatch.setattr("slicer.util.confirmOkCancelDisplay", lambda text: answer)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *asked: str(folder))
    panel._ready = False
    ui = panel.panels["detect"].ui
    ui.installButton.click()
    return told, ui.messageLabel.text


def small_bundle(folder: Path) -> Path:
    """An offline bundle with one wheel."""
    from AnomalyDetectLib.checksums import write_sums

    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "scipy-1.99-py3-none-any.whl").write_bytes(b"wheel")
    write_sums(folder)
    return folder


def test_what_is_missing_is_installed_from_a_folder_without_a_network(
    panel: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    bundle = small_bundle(tmp_path / "Bündel")
    told, said = install_from(panel, bundle, monkeypatch)
    assert said == "Everything that is needed is installed."
    assert told[0][:3] == ["--no-index", "--find-links", str(bundle / "wheels")]
    assert told[0][-1] == "scipy>=1.11"
    assert panel._ready


def test_a_no_to_a_folders_installation_is_a_cancel_not_an_error(
    panel: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    told, said = install_from(panel, small_bundle(tmp_path / "bundle"), monkeypatch, answer=False)
    assert said == "Cancelled: nothing was installed."
    assert panel.panels["detect"].ui.copyButton.isHidden()
    assert told == []
    assert not panel._ready


def test_a_damaged_folder_installs_nothing_and_the_panel_says_why(
    panel: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    next((bundle / "wheels").iterdir()).write_bytes(b"other")
    told, said = install_from(panel, bundle, monkeypatch)
    assert "copy the whole bundle again" in said
    assert not panel.panels["detect"].ui.copyButton.isHidden()
    assert told == []


def test_a_closed_dialogue_installs_nothing(panel: Any, monkeypatch: Any) -> None:
    told, said = install_from(panel, "", monkeypatch)
    assert (told, said) == ([], "")


@pytest.fixture
def two_sequences(panel: Any, tmp_path: Any) -> Any:
    """The panel whose worker answers as for two sequences: the second one saw the first finding's half."""
    files = write_results(tmp_path / "two")
    sequence = np.where(brain(), 1, 0).astype(np.uint8)
    sequence[: SHAPE[0] // 2][brain()[: SHAPE[0] // 2]] = 2
    write_nifti(sequence, Grid(SHAPE, AFFINE), Path(files["score"]).with_name("sequences.nii.gz"))
    report = json.loads(Path(files["report"]).read_text(encoding="utf-8"))
    second = {"input": "b", "modality": "FLAIR", "model": {"name": "", "version": "1.0"}}
    report |= {"also": second, "sequences": ["T1", "FLAIR"]}
    Path(files["report"]).write_text(json.dumps(report), encoding="utf-8")
    panel.logic.client.files = files
    return panel


def add_second(slicer: Any) -> Any:
    """A volume on another grid than the small scan."""
    node = add_scan(slicer, np.diag([2.5, 2.0, 3.0, 1.0]), name="flair")
    slicer.util.updateVolumeFromArray(node, np.ones((20, 30, 40), np.float32) * np.arange(40))
    return node


def test_a_second_sequence_is_folded_away_until_it_is_wanted(panel: Any, scan: Any, slicer: Any) -> None:
    ui, flair = panel.panels["scan"].ui, add_second(slicer)
    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    assert not ui.alsoSelector.visible
    ui.alsoButton.click()
    assert ui.alsoSelector.visible
    ui.alsoSelector.setCurrentNode(flair)
    assert panel.parameters.alsoVolume is flair
    ui.alsoButton.click()
    assert not ui.alsoSelector.visible
    assert panel.parameters.alsoVolume is None


def test_the_scan_itself_as_second_sequence_disables_detect_and_says_why(panel: Any, scan: Any) -> None:
    ui, button = panel.panels["scan"].ui, panel.panels["detect"].ui.detectButton
    ui.inputSelector.setCurrentNode(scan)
    assert button.enabled
    panel.parameters.alsoVolume = scan
    assert not button.enabled
    assert "scan itself" in button.toolTip
    assert ui.alsoSelector.visible


def test_two_sequences_are_sent_and_the_table_says_which_one_saw_a_finding(
    two_sequences: Any, scan: Any, slicer: Any, monkeypatch: Any
) -> None:
    panel, shapes = two_sequences, []
    client = panel.logic.client
    submit = client.submit

    def looking(request: dict[str, Any]) -> None:
        if request["type"] == "detect":
            shapes.append(nib.load(request["also"]).shape)
            assert request["also_modality"] == "FLAIR"
        submit(request)

    monkeypatch.setattr(client, "submit", looking)
    panel.parameters.alsoVolume = add_second(slicer)
    panel.parameters.alsoSequence = "FLAIR"
    detect(panel, scan)
    assert shapes == [(40, 30, 20)]
    table = panel.panels["findings"].ui.findingsTable
    assert not table.isColumnHidden(7)
    assert {row[7] for row in rows(panel)} == {"T1", "FLAIR"}
    first = panel.logic.case.findings.table[0]
    assert first.sequence == ("FLAIR" if first.centroid_ras_mm[0] < 0 else "T1")
    assert "T1 + FLAIR" in panel.panels["scan"].ui.fitLabel.text


def test_a_scene_with_two_sequences_still_knows_which_one_saw_a_finding(
    two_sequences: Any, scan: Any, slicer: Any
) -> None:
    panel = two_sequences
    detect(panel, scan)
    before = rows(panel)
    panel.parameters.inputVolume = add_scan(slicer, name="other")
    wait(lambda: not panel.logic.busy)
    panel.parameters.inputVolume = scan
    wait(lambda: not panel.logic.busy and panel.logic.case is not None)
    assert rows(panel) == before
    assert {row[7] for row in before} == {"T1", "FLAIR"}


def test_one_scan_alone_has_no_column_for_the_sequence(opened: Any) -> None:
    assert opened.panels["findings"].ui.findingsTable.isColumnHidden(7)


def test_the_sliders_calibration_is_the_contrasts_own_and_for_two_sequences_the_sum(
    tmp_path: Any, monkeypatch: Any
) -> None:
    from AnomalyDetectLib.checksums import sha256_of
    from AnomalyDetectLib.findings import FalseAlarmTable
    from AnomalyDetectLib.mrml.result import calibration_of
    from AnomalyDetectLib.scoring.maps import AnomalyMaps

    folder = tmp_path / "Models" / "two-contrasts"
    folder.mkdir(parents=True)
    maps = AnomalyMaps.from_score(score_array(), brain=brain(), affine=AFFINE)
    for name, n_scans in (("false_alarms.json", 1), ("false_alarms-FLAIR.json", 2)):
        table = FalseAlarmTable.from_maps([maps] * n_scans, thresholds=(3.0, 4.0), openings_mm=(0.0,))
        (folder / name).write_text(table.to_json(), encoding="utf-8")
    sums = {path.name: sha256_of(path) for path in folder.iterdir()}
    card = {"contrasts": ["T1", "FLAIR"], "sha256": sums}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    monkeypatch.setattr("AnomalyDetectLib.resources.resources_folder", lambda: tmp_path)
    t1, flair = ({"modality": modality, "model": {"name": "two-contrasts"}} for modality in ("T1", "FLAIR"))
    assert [calibration_of(one).n_scans for one in (t1, flair)] == [1, 2]
    both = calibration_of(t1 | {"also": flair})
    assert both.summed
    assert both.components.peaks.sum() == 2 * calibration_of(t1).components.peaks.sum()
    assert calibration_of(t1 | {"also": flair | {"model": {"name": "no calibration"}}}) is None
