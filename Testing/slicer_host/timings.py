"""Times the panel's slider on a head of 182 x 218 x 182 voxels; the last line of its output is JSON.

    python -m Testing.slicer_host.timings

A step is: engine, shared label map, colour table, and three slice views of 400 x 400 drawn.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np

from AnomalyDetectLib.mrml import views
from AnomalyDetectLib.mrml.case_nodes import add_case
from AnomalyDetectLib.mrml.open_case import OpenCase
from AnomalyDetectLib.mrml.result import built
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Grid, smooth
from Testing.slicer_host.boot import boot
from Testing.slicer_host.views import view, why_no_rendering

SHAPE = (182, 218, 182)
N_LESIONS = 20


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


def opened(slicer: Any) -> OpenCase:
    """The case in the scene."""
    made = maps()
    scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(scan, np.ascontiguousarray((made.healthy + made.residual).T))
    from AnomalyDetectLib.mrml.scan import set_affine

    set_affine(scan, made.grid.affine)
    scan.CreateDefaultDisplayNodes()
    result = built(made, {"model": {"name": "atlas-z"}, "threshold": 4.0})
    steps = add_case(scan, result)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return OpenCase(end.value, result)


def milliseconds(work: Any, clock: Any = time.perf_counter) -> float:
    """Time of a call, on the wall or on another clock."""
    began = clock()
    work()
    return 1000 * float(clock() - began)


def main() -> None:
    """Measure and print."""
    if why_no_rendering():
        sys.exit(why_no_rendering())
    slicer = boot()
    case = opened(slicer)
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
    figures = {
        "shape": list(SHAPE),
        "findings_at_lowest_threshold": len(case.result.engine.at(settings.changed(threshold=3.2))),
        "slider_step_ms_median": round(float(np.median(steps)), 1),
        "slider_step_ms_p95": round(float(np.percentile(steps, 95)), 1),
        "slider_step_main_thread_cpu_ms_median": round(float(np.median(thread)), 1),
        "of_which_engine_ms_median": round(float(np.median(engine)), 1),
        "settle_with_surfaces_ms_median": round(float(np.median(settles)), 1),
        "settle_with_surfaces_ms_max": round(float(np.max(settles)), 1),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
