"""why.png: a finding in three planes through it, and beside them what its score is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from AnomalyDetectLib.explain.crop import Crop
from AnomalyDetectLib.explain.legend import draw_models, draw_parts, write_headline, write_summary
from AnomalyDetectLib.report.preview import AXIS_LETTERS, BACKGROUND, PLANES, TEXT, Plane

CELL, GAP = 2.15, 0.05  # inches
TOP, BARS, FOOT, LEFT = 1.0, 0.65, 2.65, 0.3
DPI = 110
STRONGEST = 99.9  # percentile of |values| that a colour bar ends at
CLEAR_BELOW, VEIL = 0.05, 0.3  # of the bar's end: weaker values leave the scan unveiled, these hide it most
OPAQUE = 0.8


@dataclass(frozen=True)
class Column:
    """One kind of picture. over: values over the grey ones, None for those alone. colours: a colour map of
    matplotlib. low, high: the bar's ends, in `unit`. clear, veil: |values| below the first aren't painted,
    those beyond the second fully. missing: the values were left out.
    """

    title: str
    grey: NDArray[Any]
    over: NDArray[Any] | None = None
    colours: str = "gray"
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    clear: float = 0.0
    veil: float = 0.0
    missing: bool = False


def write_picture(crop: Crop, numbers: dict[str, Any], path: Path) -> None:
    """Draw the explanation into a PNG file. numbers: what why.json holds."""
    columns = columns_of(crop, numbers)
    width = LEFT + len(columns) * (CELL + GAP)
    height = TOP + 3 * (CELL + GAP) + BARS + FOOT
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    write_headline(figure, numbers, width, height)
    for place, column in enumerate(columns):
        left = LEFT + place * (CELL + GAP)
        for row, plane in enumerate(PLANES):
            bottom = height - TOP - (row + 1) * (CELL + GAP)
            axes = figure.add_axes(
                (left / width, bottom / height, CELL / width, CELL / height), facecolor=BACKGROUND
            )
            draw_cell(axes, crop, column, plane)
            if row == 0:
                axes.set_title(column.title, color=TEXT, fontsize=10, pad=4)
            if place == 0:
                at = f"{plane.name}  {AXIS_LETTERS[plane.normal]} {crop.centre_ras_mm[plane.normal]:+.0f} mm"
                axes.text(-0.03, 0.5, at, rotation=90, transform=axes.transAxes, color=TEXT, fontsize=9,
                          ha="right", va="center")  # fmt: skip
        draw_bar(
            figure, column, (left + 0.2) / width, (FOOT + BARS - 0.28) / height, (CELL - 0.4) / width, height
        )
    draw_parts(figure.add_axes((0.16, 0.62 / height, 0.19, (FOOT - 1.05) / height)), numbers)
    draw_models(figure.add_axes((0.46, 0.62 / height, 0.19, (FOOT - 1.05) / height)), numbers)
    write_summary(figure, numbers, 0.685, (FOOT - 0.2) / height)
    draw: Any = canvas.print_png  # untyped in matplotlib
    draw(path, metadata={"Software": None}, pil_kwargs={"compress_level": 2})


def columns_of(crop: Crop, numbers: dict[str, Any]) -> list[Column]:
    """The pictures from left to right, those that were left out as an empty one that says so."""
    low, high = window(crop)
    residual = np.where(crop.brain, crop.scan - crop.healthy, 0)
    threshold = float(numbers["threshold"] or 1.0)
    end = float(np.ceil(max(abs(float(numbers["peak_z"])), 1.5 * threshold)))
    score = np.where(crop.brain, crop.score, 0)
    return [
        Column("scan", crop.scan, low=low, high=high, unit="scan units"),
        Column("healthy version", crop.healthy, low=low, high=high, unit="scan units"),
        signed("residual: scan − healthy", crop, residual, "RdBu_r", "scan units"),
        Column(
            "score", crop.scan, score, "RdBu_r", -end, end, f"z, painted from ±{threshold / 2:.1f}",
            clear=threshold / 2, veil=threshold,
        ),
        signed("integrated gradients", crop, crop.gradients, "PRGn", "z per ml; green speaks for it"),
        signed("occlusion", crop, crop.occlusion, "PRGn", "fall of mean z; green speaks for it"),
        Column("Grad-CAM", crop.scan, crop.grad_cam, "inferno", 0, 1, "share of maximum", 0.0, 0.5,
               missing=crop.grad_cam is None),
    ]  # fmt: skip


def signed(title: str, crop: Crop, values: NDArray[Any] | None, colours: str, unit: str) -> Column:
    """A column of values on both sides of 0; an empty one where they were left out."""
    if values is None:
        return Column(title, crop.scan, missing=True)
    end = strongest(values)
    return Column(title, crop.scan, values, colours, -end, end, unit, CLEAR_BELOW * end, VEIL * end)


def window(crop: Crop) -> tuple[float, float]:
    """The lowest and the highest grey value."""
    inside = crop.scan[crop.brain] if crop.brain.any() else crop.scan.ravel()
    low, high = (float(value) for value in np.percentile(inside, (0.5, 99.7)))
    return min(low, 0.0), max(high, low + 1e-6)


def strongest(values: NDArray[Any]) -> float:
    """The end of a colour bar: what nearly all |values| that aren't 0 stay below."""
    found = np.abs(values[values != 0])
    return max(float(np.percentile(found, STRONGEST)), 1e-6) if found.size else 1.0


def slice_of(array: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """The middle slice as picture rows from top to bottom and columns from left to right."""
    cut: NDArray[Any] = np.take(array, array.shape[0] // 2, axis=plane.normal).T[::-1, ::-1]
    return cut


def draw_cell(axes: Axes, crop: Crop, column: Column, plane: Plane) -> None:
    """One slice with the finding's outline, and the patient's sides."""
    grey = slice_of(column.grey, plane)
    low, high = window(crop)
    axes.imshow(grey, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    if column.over is not None:
        over = slice_of(column.over, plane)
        ramp = (np.abs(over) - column.clear) / max(column.veil - column.clear, 1e-6)
        axes.imshow(
            over, cmap=column.colours, vmin=column.low, vmax=column.high,
            alpha=OPAQUE * np.clip(ramp, 0, 1), interpolation="nearest",
        )  # fmt: skip
        if column.over is crop.occlusion:
            edge(axes, slice_of(crop.blocks, plane), "0.75", 0.6)
    edge(axes, slice_of(crop.others, plane), "0.75", 0.8)
    edge(axes, slice_of(crop.finding, plane), "yellow", 1.1)
    axes.set_xlim(-0.5, grey.shape[1] - 0.5)
    axes.set_ylim(grey.shape[0] - 0.5, -0.5)
    axes.axis("off")
    letters: dict[str, Any] = {"transform": axes.transAxes, "color": TEXT, "fontsize": 8, "va": "center"}
    letters["path_effects"] = [withStroke(linewidth=2.5, foreground=BACKGROUND)]
    axes.text(0.02, 0.5, plane.left, ha="left", **letters)
    axes.text(0.98, 0.5, plane.right, ha="right", **letters)
    if column.missing:
        axes.text(0.5, 0.08, "left out: see below", ha="center", **letters)


def edge(axes: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    """The border of a mask in a slice (rows, columns)."""
    if mask.any():
        axes.contour(mask.astype(np.float32), levels=[0.5], colors=colour, linewidths=width)


def draw_bar(figure: Figure, column: Column, left: float, bottom: float, width: float, height: float) -> None:
    """The legend of a column."""
    if column.missing:
        return
    axes = figure.add_axes((left, bottom, width, 0.11 / height))
    ends = (column.low, column.high)
    axes.imshow(np.linspace(*ends, 256)[None], cmap=column.colours, aspect="auto", extent=(*ends, 0, 1))
    middle = [0.0] if column.low < 0 < column.high else []
    ticks = [column.low, *middle, column.high]
    sign = "+" if column.low < 0 else ""
    axes.set_xticks(ticks, [f"{tick:{sign}.3g}" if tick else "0" for tick in ticks])
    axes.set_yticks([])
    axes.tick_params(colors=TEXT, labelsize=8, length=2, pad=1)
    axes.set_xlabel(column.unit, color=TEXT, fontsize=8, labelpad=1)
