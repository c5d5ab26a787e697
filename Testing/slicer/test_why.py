"""What a reader sees who asks why a finding is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from Testing.slicer.small_case import add_scan, write_results

PICTURE = (640, 400)


@pytest.fixture
def asking(opened: Any, tmp_path: Path) -> Any:
    """The panel with an open case, whose worker makes pictures."""
    Image.new("RGB", PICTURE, (10, 120, 60)).save(tmp_path / "why.png")
    opened.logic.client.picture = str(tmp_path / "why.png")
    return opened


def wait(until: Any, seconds: float = 60) -> None:
    """Turn the event loop."""
    from Testing.slicer_host.module import wait as turn

    turn(until, seconds)


def button(panel: Any) -> Any:
    """The button that asks."""
    return panel.panels["findings"].ui.whyButton


def request(panel: Any) -> dict[str, Any]:
    """The last question that reached the worker."""
    found: dict[str, Any] = panel.logic.client.requests[-1]
    return found


def test_why_is_disabled_and_says_so_until_there_is_a_finding(panel: Any, scan: Any) -> None:
    assert not button(panel).enabled
    assert button(panel).toolTip == "there are no findings"


def test_the_picture_of_the_chosen_finding_opens_in_a_window_and_the_scene_stays_as_it_was(
    asking: Any, slicer: Any
) -> None:
    before = slicer.mrmlScene.GetNumberOfNodes()
    asking.panels["findings"].ui.findingsTable.selectRow(1)
    assert button(asking).enabled
    button(asking).click()
    assert not asking.panels["detect"].ui.cancelButton.isHidden()
    assert not button(asking).enabled
    wait(lambda: not asking.logic.busy)
    window = asking.panels["findings"].why_window
    assert window.label.isVisible()
    assert (window.label.pixmap.width(), window.label.pixmap.height()) == PICTURE
    chosen = asking.logic.case.findings.table[1].id
    assert f"finding {chosen} is one" in asking.panels["detect"].ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert button(asking).enabled
    assert not Path(request(asking)["folder"]).exists(), "the run's own folder goes"


def test_the_worker_is_given_the_findings_as_they_are_shown_now(asking: Any) -> None:
    asking.logic.client.held = True
    case = asking.logic.case
    case.settle(case.session.settings.changed(threshold=5.5))
    asking.refresh()
    asking.panels["findings"].ui.findingsTable.selectRow(0)
    asking.panels["findings"].explain()
    sent = len(asking.logic.client.requests)
    wait(lambda: len(asking.logic.client.requests) == sent + 1)
    asked = request(asking)
    folder = Path(asked["folder"])
    assert asked["type"] == "explain"
    assert asked["finding"] == case.findings.table[0].id
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["threshold"] == 5.5
    assert [row["id"] for row in report["findings"]] == [row.id for row in case.findings.table]
    mask = nib.load(folder / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), case.findings.labelmap)
    np.testing.assert_allclose(nib.load(asked["input"]).affine, mask.affine, atol=1e-4)


def test_cancel_ends_the_question_and_the_case_stays_open(asking: Any) -> None:
    asking.logic.client.held = True
    case = asking.logic.case
    button(asking).click()
    wait(lambda: request(asking)["type"] == "explain")
    asking.panels["detect"].ui.cancelButton.click()
    assert "Cancelled" in asking.panels["detect"].ui.messageLabel.text
    assert asking.logic.case is case
    assert button(asking).enabled
    assert asking.panels["findings"].why_window.label is None


def test_an_error_is_a_line_and_opens_no_window(asking: Any) -> None:
    asking.logic.client.instead = {"type": "error", "message": "model gone; install it", "details": ""}
    button(asking).click()
    wait(lambda: not asking.logic.busy)
    assert asking.panels["detect"].ui.messageLabel.text == "model gone; install it"
    assert asking.panels["findings"].why_window.label is None
    assert asking.logic.case is not None


def test_a_case_of_two_sequences_asks_for_the_second_one(asking: Any, slicer: Any, tmp_path: Path) -> None:
    from Testing.slicer.conftest import detect

    files = write_results(tmp_path / "two")
    report = json.loads(Path(files["report"]).read_text(encoding="utf-8"))
    report["also"] = {"modality": "FLAIR", "model": {"name": "", "version": ""}}
    Path(files["report"]).write_text(json.dumps(report), encoding="utf-8")
    asking.logic.client.files = files
    detect(asking, asking.logic.case.nodes.scan)
    assert not button(asking).enabled
    assert "second sequence" in button(asking).toolTip
    asking.parameters.alsoVolume = add_scan(slicer, name="flair")
    asking.refresh()
    assert button(asking).enabled
    button(asking).click()
    wait(lambda: not asking.logic.busy)
    assert Path(request(asking)["also"]).name == "also.nii"
