"""One case from beginning to end, with the real worker and the real model on the simulated patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The window must stay alive beside the worker, also on a busy machine of two cores.
LONGEST_GAP_SECONDS = 2.0


@pytest.mark.timeout(900)
def test_the_simulated_patient_from_scan_to_segmentation_and_back(
    slicer: Any, module: Any, tmp_path: Path
) -> None:
    from Testing.slicer_host.module import open_widget, wait

    panel = open_widget(module, "AnomalyDetect")
    try:
        panel.panels["scan"].ui.sampleButton.click()
        panel.panels["detect"].ui.detectButton.click()
        stages = []

        def ended() -> bool:
            stages.append(panel.panels["detect"].ui.progressBar.value)
            return not panel.logic.busy

        gaps = wait(ended, 500)
        assert panel.logic.case is not None, panel.panels["detect"].ui.messageLabel.text
        assert max(gaps) < LONGEST_GAP_SECONDS
        assert stages == sorted(stages)
        assert len(set(stages)) >= 4
        case = panel.logic.case
        findings, slider = panel.panels["findings"], panel.panels["findings"].ui.falseAlarmsSlider
        few = len(case.findings)
        slider.value = slider.maximum  # ten expected false alarms: every model shows something
        wait(lambda: findings.ui.findingsTable.rowCount == len(case.findings) > few, 60)
        assert any(row.location != "unknown" for row in case.findings.table)
        labels = slicer.util.arrayFromVolume(case.nodes.labelmap).T
        np.testing.assert_array_equal(labels, case.findings.labelmap)
        findings.ui.findingsTable.selectRow(0)
        findings.keep()
        findings.ui.whyButton.click()
        wait(lambda: not panel.logic.busy, 400)
        assert findings.why_window.label is not None, panel.panels["detect"].ui.messageLabel.text
        assert findings.why_window.label.pixmap.width() > 1000
        panel.panels["hand_over"].folder = tmp_path
        panel.panels["hand_over"].ui.reportButton.click()
        report = json.loads(next(tmp_path.rglob("report.json")).read_text(encoding="utf-8"))
        assert report["expected_false_alarms"] == pytest.approx(10, rel=0.1)
        assert [row["verdict"] for row in report["findings"]].count("keep") == 1
        assert report["model"]["sha256"]
        panel.panels["hand_over"].ui.segmentEditorButton.click()
        panel.panels["findings"].ui.undoButton.click()
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    finally:
        panel.exit()
        panel.cleanup()
        panel.parent.close()


@pytest.mark.timeout(300)
def test_cancel_ends_the_real_worker_at_once(slicer: Any, module: Any) -> None:
    from Testing.slicer_host.module import open_widget, wait

    panel = open_widget(module, "AnomalyDetect")
    try:
        panel.panels["scan"].ui.sampleButton.click()
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        panel.panels["detect"].ui.detectButton.click()
        wait(lambda: panel.logic.client.running, 60)
        panel.panels["detect"].ui.cancelButton.click()
        assert not panel.logic.client.running
        assert not panel.logic.busy
        assert slicer.mrmlScene.GetNumberOfNodes() == nodes
        assert panel.panels["detect"].ui.detectButton.enabled
    finally:
        panel.exit()
        panel.cleanup()
        panel.parent.close()
