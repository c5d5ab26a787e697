"""Times the panel on a head of 182 x 218 x 182 voxels; the last line of its output is JSON.

    python -m Testing.slicer_host.timings

A slider step is: engine, shared label map, colour table, and three slice views of 400 x 400 drawn. A gap is
the time between two turns of the event loop, from the click on Detect until the findings are there: once with
the real worker on the simulated patient, once with results that hold many findings. Views aren't drawn then.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np

from AnomalyDetectLib.io.write import BRAIN, write_nifti
from AnomalyDetectLib.mrml import views
from AnomalyDetectLib.mrml.case_nodes import add_case
from AnomalyDetectLib.mrml.mailbox import PostOffice
from AnomalyDetectLib.mrml.open_case import OpenCase
from AnomalyDetectLib.mrml.result import MAPS, built
from AnomalyDetectLib.mrml.scan import set_affine
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Grid, smooth
from Testing.slicer.small_case import ReplayClient
from Testing.slicer_host import python_qt, scripted_module
from Testing.slicer_host.boot import boot
from Testing.slicer_host.module import load_module, open_widget, wait
from Testing.slicer_host.views import view, why_no_rendering

ROOT = Path(__file__).parents[2]
SHAPE = (182, 218, 182)
N_LESIONS = 20
MANY = 30.0  # expected false alarms
REPORT = {"model": {"name": "atlas-z", "version": ""}, "threshold": 3.2}


def maps() -> AnomalyMaps:
    """Smooth noise of z about 1 in an ellipsoid, with lesions of 3 to 12 mm radius and z of 4 to 12."""
    random = np.random.default_rng(0)
    i, j, k = np.meshgrid(*(np.linspace(-1.2, 1.2, size) for size in SHAPE), indexing="ij", sparse=True)
    brain = i**2 + j**2 + k**2 < 1
    score = smooth(random.standard_normal(SHAPE).astype(np.float32), (2.0, 2.0, 2.0))
    score /= score[brain].std()
    places = np.argwhere(brain)[random.integers(0, int(brain.sum()), N_LESIONS)]
    grid = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij", sparse=True)
    for place in places:
        radius, peak = random.uniform(3, 12), random.choice([-1, 1]) * random.uniform(4, 12)
        distance = sum((axis - at) ** 2 for axis, at in zip(grid, place, strict=True))
        score += peak * np.exp(-distance / (2 * (radius / 2) ** 2)).astype(np.float32)
    score = np.where(brain, score, 0).astype(np.float32)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = [-90, -126, -72]
    healthy = np.where(brain, 100, 0).astype(np.float32)
    uncertainty = brain.astype(np.float32)
    return AnomalyMaps(Grid(SHAPE, affine), brain, healthy, score * 10, score, uncertainty)


def add_scan(slicer: Any, made: AnomalyMaps) -> Any:
    """The scan in the scene."""
    scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(scan, np.ascontiguousarray((made.healthy + made.residual).T))
    set_affine(scan, made.grid.affine)
    scan.CreateDefaultDisplayNodes()
    return scan


def opened(slicer: Any, made: AnomalyMaps) -> OpenCase:
    """The case in the scene."""
    result = built(made, REPORT)
    steps = add_case(add_scan(slicer, made), result)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            case = OpenCase(end.value, result)
            break
    for _ in case.showing():
        pass
    return case


def gaps_of_a_run(widget: Any) -> list[float]:
    """Press Detect; milliseconds between the turns of the event loop until the findings are there."""
    widget.panels["findings"].ui.findingsTable.clearSelection()
    click = milliseconds(widget.panels["detect"].ui.detectButton.click)
    gaps = wait(lambda: not widget.logic.busy, 500)
    assert widget.logic.case is not None, widget.panels["detect"].ui.messageLabel.text
    return [click, *(1000 * gap for gap in gaps)]


def run_figures(slicer: Any, made: AnomalyMaps) -> dict[str, Any]:
    """The longest gaps of a run with the real worker, and of one that shows many findings."""
    slicer.mrmlScene.Clear(0)
    python_qt.install()
    scripted_module.install()
    widget = open_widget(load_module(ROOT / "AnomalyDetect" / "AnomalyDetect.py"), "AnomalyDetect")
    widget.panels["scan"].ui.sampleButton.click()
    wait(lambda: not widget.logic.computing, 60)
    real = gaps_of_a_run(widget)
    widget.logic.client.close()
    with tempfile.TemporaryDirectory() as folder:
        widget.logic.client = ReplayClient(written(made, Path(folder)))
        widget.logic._office = PostOffice(widget.logic.client)
        widget.panels["scan"].ui.inputSelector.setCurrentNode(add_scan(slicer, made))
        widget.parameters.expectedFalseAlarms = MANY
        wait(lambda: not widget.logic.computing, 60)
        many = gaps_of_a_run(widget)
    n_findings = len(widget.logic.case.findings)
    widget.exit()
    widget.cleanup()
    return {
        "longest_gap_ms_simulated_patient": round(max(real), 1),
        "longest_gap_ms_many_findings": round(max(many), 1),
        "gap_ms_p99": round(float(np.percentile(real + many, 99)), 1),
        "many_findings": n_findings,
    }


def written(made: AnomalyMaps, folder: Path) -> dict[str, str]:
    """The maps as the worker leaves them; path by name."""
    files = {name: str(folder / f"{name}.nii.gz") for name in MAPS}
    for name, path in files.items():
        write_nifti(getattr(made, name), made.grid, path, keep_bits=10)
    write_nifti(made.brain, made.grid, folder / BRAIN)
    (folder / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    return files | {"report": str(folder / "report.json")}


def milliseconds(work: Any, clock: Any = time.perf_counter) -> float:
    """Time of a call, on the wall or on another clock."""
    began = clock()
    work()
    return 1000 * float(clock() - began)


def slider_figures(slicer: Any, made: AnomalyMaps) -> dict[str, Any]:
    """A moving slider, and one that rests."""
    case = opened(slicer, made)
    planes = (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
    shown = [view("vtkMRMLSliceNode", name, orientation) for name, orientation in planes]
    views.show_layers(case.nodes, views.Look())
    for one in shown:
        one.fit()
        one.render()
    settings = case.session.settings

    def step(threshold: float) -> None:
        case.preview(settings.changed(threshold=threshold))
        for one in shown:
            one.render()

    step(4.2)
    steps = [milliseconds(lambda z=z: step(z)) for z in np.linspace(3.2, 8.0, 60)]
    thread = [milliseconds(lambda z=z: step(z), time.thread_time) for z in np.linspace(3.3, 7.9, 40)]
    engine = [
        milliseconds(lambda z=z: case.result.engine.at(settings.changed(threshold=z)))
        for z in np.linspace(3.25, 8.05, 60)
    ]
    settles = []
    for z in (3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 4.2, 3.8):
        step(z)
        settles.append(milliseconds(case.settle))
    return {
        "findings_at_lowest_threshold": len(case.result.engine.at(settings.changed(threshold=3.2))),
        "slider_step_ms_median": round(float(np.median(steps)), 1),
        "slider_step_ms_p95": round(float(np.percentile(steps, 95)), 1),
        "slider_step_main_thread_cpu_ms_median": round(float(np.median(thread)), 1),
        "of_which_engine_ms_median": round(float(np.median(engine)), 1),
        "settle_with_surfaces_ms_median": round(float(np.median(settles)), 1),
        "settle_with_surfaces_ms_max": round(float(np.max(settles)), 1),
    }


def main() -> None:
    """Measure and print."""
    if why_no_rendering():
        sys.exit(why_no_rendering())
    slicer, made = boot(), maps()
    figures = {"shape": list(SHAPE)} | slider_figures(slicer, made) | run_figures(slicer, made)
    print(json.dumps(figures | {"load_average": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
