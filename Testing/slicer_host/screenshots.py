"""Draws the picture in Resources/Screenshots: panel and views after a detection in the simulated patient.

    make screenshots

No person was scanned for it. Look at it before it is committed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.resources import resource
from Testing.slicer_host import python_qt, scripted_module
from Testing.slicer_host.boot import boot
from Testing.slicer_host.module import load_module, open_widget, wait
from Testing.slicer_host.views import save, views_of_layout, why_no_rendering

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
PANEL_WIDTH, VIEW_WIDTH = 430, 380
WRAPPED_LINES = 60  # pixels that Qt's least height leaves out
ORDER = (
    ("AnomalyScan", "AnomalyHealthy", "AnomalyScore"),
    ("AnomalyCoronal", "AnomalySagittal", "Anomaly3D"),
)
CAPTIONS = {"AnomalyScan": "scan", "AnomalyHealthy": "healthy", "AnomalyScore": "score over the scan"}


def draw(folder: Path) -> None:
    """Write overview.png into a folder: the panel, and beside it the views of the comparing layout."""
    folder.mkdir(parents=True, exist_ok=True)
    slicer = boot()
    app = python_qt.install()
    scripted_module.install()
    widget = open_widget(load_module(ROOT / "AnomalyDetect" / "AnomalyDetect.py"), "AnomalyDetect")
    widget.panels["scan"].ui.sampleButton.click()
    widget.panels["detect"].ui.detectButton.click()
    wait(lambda: not widget.logic.busy, 500)
    widget.parent.resize(PANEL_WIDTH, 0)
    app.processEvents()
    widget.parent.resize(PANEL_WIDTH, widget.parent.height + WRAPPED_LINES)
    app.processEvents()
    views = views_of_layout((VIEW_WIDTH, widget.parent.height // 2))
    widget.refresh()
    for view in views.values():
        view.fit()
    case = widget.logic.case
    row = lesion_row(widget)
    widget.panels["findings"].ui.findingsTable.selectRow(row)
    case.jump(case.findings.table[row])
    wait(lambda: widget.panels["findings"]._curve_work is None, 60)
    app.processEvents()
    views["Anomaly3D"].renderer.GetActiveCamera().Azimuth(150)
    views["Anomaly3D"].fit()
    views["Anomaly3D"].renderer.GetActiveCamera().Zoom(1.3)
    for name, text in CAPTIONS.items():
        views[name].caption(text)
    shown = np.vstack([np.hstack([views[name].picture() for name in row]) for row in ORDER])
    panel = pixels(widget.parent.grab().toImage())
    height = max(len(panel), len(shown))
    save(np.hstack([filled(panel, height), filled(shown, height)]), folder / "overview.png")
    widget.exit()
    widget.cleanup()
    slicer.mrmlScene.Clear(0)


def pixels(image: Any) -> NDArray[np.uint8]:
    """A QImage as (rows, columns, RGB)."""
    image = image.convertToFormat(image.Format.Format_RGB888)
    flat = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return flat[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def filled(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture with its last row repeated down to a height."""
    return np.vstack([picture, np.repeat(picture[-1:], height - len(picture), axis=0)])


def lesion_row(widget: Any) -> int:
    """The row that holds most of a true lesion, with the main slider at the first place that shows one."""
    truth = read_volume(resource("SampleData", "demo_truth.nii.gz")).array > 0
    case, slider = widget.logic.case, widget.panels["findings"].ui.falseAlarmsSlider
    for tick in range(slider.value, slider.maximum + 1, 10):
        slider.value = tick
        widget.panels["findings"]._settle()
        hits = [int(truth.reshape(-1)[case.findings.with_id(row.id)].sum()) for row in case.findings.table]
        if max(hits, default=0) > 0:
            return int(np.argmax(hits))
    return 0


if __name__ == "__main__":
    if why_no_rendering():
        sys.exit(why_no_rendering())
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else SCREENSHOTS)
