"""Contact sheet: the maps of several patients in one picture, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from AnomalyDetectLib.report.preview import (
    BACKGROUND,
    DPI,
    PLANES,
    TEXT,
    Scene,
    compose,
    draw_cell,
    outline,
)
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Volume

AXIAL = PLANES[0]
HEADS = ("scan, true lesion", "healthy version", "z over scan, true lesion")
CELL, TOP, GAP = 2.4, 0.8, 0.04  # inches


@dataclass(frozen=True)
class Picture:
    """One patient's row: a scene that holds the one slice that is shown."""

    name: str
    scene: Scene


def picture(
    name: str, volume: Volume, maps: AnomalyMaps, truth: NDArray[np.integer], threshold: float
) -> Picture:
    """The axial slice with most lesion, or the middle one. threshold: z where colours begin."""
    scene = compose(volume, maps, np.asarray(truth, dtype=np.int32), (), threshold)
    area = (scene.labelmap > 0).sum((0, 1))
    at = int(area.argmax()) if area.any() else scene.centre[2]
    only = slice(at, at + 1)
    return Picture(
        name,
        replace(
            scene,
            scan=scene.scan[:, :, only].copy(),
            healthy=scene.healthy[:, :, only].copy(),
            score=scene.score[:, :, only].copy(),
            labelmap=scene.labelmap[:, :, only].copy(),
            centre=(scene.centre[0], scene.centre[1], 0),
            at=scene.at + np.array([0, 0, (at - scene.centre[2]) * scene.size[2]]),
        ),
    )


def write_sheet(title: str, note: str, pictures: Sequence[Picture], path: Path) -> None:
    """Draw a row for each patient into a PNG: scan, healthy version, z; true lesions are outlined.

    note: a second line for the title.
    """
    heights = [CELL * one.scene.extent_mm(AXIAL)[1] / _widest(one.scene) for one in pictures]
    width, total = 3 * (CELL + GAP), sum(heights) + GAP * len(heights) + TOP
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    style: dict[str, Any] = {"color": TEXT, "parse_math": False}
    figure.text(0.01, 1 - 0.16 / total, title, fontsize=10, va="center", **style)
    figure.text(0.01, 1 - 0.36 / total, note, fontsize=8, va="center", **style)
    for column, head in enumerate(HEADS):
        x = (column + 0.5) / len(HEADS)
        figure.text(x, 1 - 0.66 / total, head, fontsize=8, ha="center", va="center", **style)
    y = total - TOP
    for one, height in zip(pictures, heights, strict=True):
        y -= height
        for column in range(len(HEADS)):
            place = (column * (CELL + GAP) / width, y / total, CELL / width, height / total)
            axes = figure.add_axes(place, facecolor=BACKGROUND)
            draw_row_cell(axes, one, column)
        y -= GAP
    draw: Any = canvas.print_png  # untyped in matplotlib
    draw(path, metadata={"Software": None}, pil_kwargs={"compress_level": 2})


def draw_row_cell(axes: Axes, one: Picture, column: int) -> None:
    """One picture of a row; the first has the patient's name and the true lesion's outline."""
    draw_cell(axes, one.scene, AXIAL, column)
    if column == 0:
        width, height = one.scene.extent_mm(AXIAL)
        outline(axes, one.scene.slice_of(one.scene.labelmap, AXIAL) > 0, (0.0, width, 0.0, height))
        halo = [withStroke(linewidth=2.5, foreground=BACKGROUND)]
        axes.text(
            0.015, 0.97, one.name, transform=axes.transAxes, color=TEXT, fontsize=7, va="top",
            path_effects=halo, parse_math=False,
        )  # fmt: skip


def _widest(scene: Scene) -> float:
    """The width in mm that `draw_cell` gives every plane of a scene."""
    return max(scene.extent_mm(plane)[0] for plane in PLANES)
