"""preview.png: scan, healthy version and score side by side, in three planes through the largest finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import FloatArray, Volume, voxel_sizes

# Two hues that every common colour blindness tells apart, each brighter where the score is farther from 0.
DARKER = ((0.05, 0.30, 0.85), (0.55, 0.90, 1.00))
BRIGHTER = ((0.85, 0.32, 0.00), (1.00, 0.90, 0.35))
BACKGROUND, TEXT = "black", "0.85"
MARGIN_MM = 12.0
INCHES, DPI = 10.0, 110


@dataclass(frozen=True)
class Plane:
    """One row of the picture: which RAS axes run across and up, and what stands at the left and right edge.

    The patient's right is on the left of the picture, anterior on the left of a sagittal one.
    """

    name: str
    normal: int
    across: int
    up: int
    left: str
    right: str


PLANES = (
    Plane("axial", 2, 0, 1, "R", "L"),
    Plane("coronal", 1, 0, 2, "R", "L"),
    Plane("sagittal", 0, 1, 2, "A", "P"),
)
AXIS_LETTERS = "RAS"


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn, turned so that i, j, k run to the right, front and top, and cropped.

    scan, healthy: scan units. score: z. labelmap: int. size: voxel size, mm. centre: voxel shown. at: the
    same in RAS mm. window: lowest and highest grey value. threshold, limit: z where colours begin, and
    where they end.
    """

    scan: FloatArray
    healthy: FloatArray
    score: FloatArray
    labelmap: NDArray[np.int32]
    size: NDArray[np.float64]
    centre: tuple[int, int, int]
    at: NDArray[np.float64]
    window: tuple[float, float]
    threshold: float
    limit: float

    def slice_of(self, array: NDArray[Any], plane: Plane) -> NDArray[Any]:
        """The plane's slice of `array` as picture rows from top to bottom and columns from left to right."""
        cut: NDArray[Any] = np.take(array, self.centre[plane.normal], axis=plane.normal).T[::-1, ::-1]
        return cut  # up is the first row; the right, or the front, is the first column

    def extent_mm(self, plane: Plane) -> tuple[float, float]:
        """Width and height of the plane's slice in mm."""
        shape = self.scan.shape
        return shape[plane.across] * self.size[plane.across], shape[plane.up] * self.size[plane.up]


def write_preview(
    volume: Volume,
    maps: AnomalyMaps,
    labelmap: NDArray[np.int32],
    table: Sequence[Finding],
    path: Path,
    *,
    case: str,
    model: str,
    threshold: float,
    note: str = "",
) -> None:
    """Draw the case into a PNG file.

    volume, maps, labelmap: all (i,j,k) on the scan's grid. table: rows of the findings; the slices go
    through the largest one, or through the brain's centre when there is none. threshold: z, where colours
    begin, so that normal tissue stays unveiled. note: one more line for the title, such as "simulated
    patient".
    """
    scene = compose(volume, maps, labelmap, table, threshold)
    widths, heights = zip(*(scene.extent_mm(plane) for plane in PLANES), strict=True)
    top, bottom, gap = 0.95, 0.85, 0.06
    cell = (INCHES - 2 * gap) / 3
    rows = [cell * height / max(widths) for height in heights]
    total = sum(rows) + 2 * gap + top + bottom
    figure = Figure(figsize=(INCHES, total), dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    y = total - top
    for plane, height in zip(PLANES, rows, strict=True):
        y -= height
        for column in range(3):
            place = (column * (cell + gap) / INCHES, y / total, cell / INCHES, height / total)
            axes = figure.add_axes(place, facecolor=BACKGROUND)
            draw_cell(axes, scene, plane, column)
        y -= gap
    write_title(figure, total, case, model, note, summary(table, threshold))
    draw_colour_bar(figure, total, scene)
    draw: Any = canvas.print_png  # untyped in matplotlib
    draw(path, metadata={"Software": None}, pil_kwargs={"compress_level": 2})


def compose(
    volume: Volume, maps: AnomalyMaps, labelmap: NDArray[np.int32], table: Sequence[Finding], threshold: float
) -> Scene:
    """Turn, crop and window what is to be drawn."""
    turn = nib.orientations.io_orientation(volume.affine)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.array.shape)

    def turned(array: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = nib.orientations.apply_orientation(array, turn)
        return result

    size = voxel_sizes(affine)
    brain = turned(maps.brain)
    low, high = box_of(brain, np.ceil(MARGIN_MM / size).astype(int))
    crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    centre = centre_of(brain, table, affine)
    inside = volume.array[maps.brain] if maps.brain.any() else volume.array.ravel()
    grey = np.percentile(inside[:: max(1, inside.size // 200_000)], (0.5, 99.7))
    strongest = max((abs(finding.peak_z) for finding in table), default=0.0)
    shifted = np.clip(centre - low, 0, np.array(high) - low - 1)
    return Scene(
        scan=turned(volume.array)[crop],
        healthy=turned(maps.healthy)[crop],
        score=turned(maps.score)[crop],
        labelmap=turned(labelmap)[crop],
        size=size,
        centre=(int(shifted[0]), int(shifted[1]), int(shifted[2])),
        at=(affine @ np.append(shifted + low, 1.0))[:3],
        window=(min(0.0, float(grey[0])), float(max(grey[1], grey[0] + 1e-6))),
        threshold=threshold,
        limit=float(np.ceil(np.clip(strongest, 2 * threshold, 5 * threshold))),
    )


def box_of(brain: NDArray[np.bool_], margin: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and one past the last voxel of the brain's box with a margin in voxels; the grid if no brain."""
    shape = np.array(brain.shape)
    if not brain.any():
        return np.zeros(3, dtype=int), shape
    sides = [np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = np.array([side[0] for side in sides]) - margin
    high = np.array([side[-1] for side in sides]) + 1 + margin
    return np.maximum(low, 0), np.minimum(high, shape)


def centre_of(
    brain: NDArray[np.bool_], table: Sequence[Finding], affine: NDArray[np.float64]
) -> NDArray[np.int_]:
    """Voxel that the three slices go through: the largest finding's centroid, or the middle of the brain."""
    if table:
        largest = max(table, key=lambda finding: finding.volume_ml)
        voxel = np.linalg.inv(affine) @ np.append(largest.centroid_ras_mm, 1.0)
    else:
        low, high = box_of(brain, np.zeros(3, dtype=int))
        voxel = (low + high - 1) / 2
    nearest: NDArray[np.int_] = np.rint(voxel[:3]).astype(int)
    return nearest


def draw_cell(axes: Axes, scene: Scene, plane: Plane, column: int) -> None:
    """One picture: the scan, the healthy version, or the score over the scan."""
    width, height = scene.extent_mm(plane)
    extent = (0.0, width, 0.0, height)
    widest = max(scene.extent_mm(one)[0] for one in PLANES)
    grey = scene.slice_of(scene.healthy if column == 1 else scene.scan, plane)
    low, high = scene.window
    axes.imshow(
        grey, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear", aspect="auto"
    )
    if column == 2:
        score = scene.slice_of(scene.score, plane)
        axes.imshow(overlay(score, scene), extent=extent, interpolation="nearest", aspect="auto")
        outline(axes, scene.slice_of(scene.labelmap, plane) > 0, extent)
    axes.set_xlim(width / 2 - widest / 2, width / 2 + widest / 2)
    axes.set_ylim(0, height)
    axes.axis("off")
    small: dict[str, Any] = {"transform": axes.transAxes, "color": TEXT, "fontsize": 9, "va": "center"}
    small["path_effects"] = [withStroke(linewidth=2.5, foreground=BACKGROUND)]
    axes.text(0.015, 0.5, plane.left, ha="left", **small)
    axes.text(0.985, 0.5, plane.right, ha="right", **small)
    if column == 0:
        where = f"{plane.name}  {AXIS_LETTERS[plane.normal]} {scene.at[plane.normal]:+.0f} mm"
        axes.text(0.015, 0.03, where, ha="left", **small)


def overlay(score: FloatArray, scene: Scene) -> NDArray[np.float32]:
    """RGBA of a slice of the score (rows, columns): clear below the threshold, blue or orange above."""
    colours = colour_map(scene)(Normalize(-scene.limit, scene.limit, clip=True)(score))
    colours[..., 3] = np.where(np.abs(score) >= scene.threshold, 0.75, 0.0)
    return np.asarray(colours, dtype=np.float32)


def colour_map(scene: Scene) -> ListedColormap:
    """Blue for darker, orange for brighter than expected, grey between minus and plus the threshold."""
    z = np.linspace(-scene.limit, scene.limit, 512)
    share = np.clip((np.abs(z) - scene.threshold) / (scene.limit - scene.threshold), 0, 1)[:, None]
    low, high = (np.array([ends[n] for ends in (DARKER, BRIGHTER)]) for n in (0, 1))
    side = (z > 0).astype(int)
    colours = low[side] * (1 - share) + high[side] * share
    colours[np.abs(z) < scene.threshold] = 0.25
    return ListedColormap(colours)


def outline(axes: Axes, mask: NDArray[np.bool_], extent: tuple[float, float, float, float]) -> None:
    """Draw the border of the findings in a slice (rows, columns)."""
    if not mask.any() or min(mask.shape) < 2:
        return
    rows, columns = mask.shape
    x = (np.arange(columns) + 0.5) * extent[1] / columns
    y = extent[3] - (np.arange(rows) + 0.5) * extent[3] / rows
    axes.contour(x, y, mask.astype(np.float32), levels=[0.5], colors="white", linewidths=0.9)


def summary(table: Sequence[Finding], threshold: float) -> str:
    """The findings in one line."""
    if not table:
        return f"no findings at z ≥ {threshold:.1f}"
    total = sum(finding.volume_ml for finding in table)
    noun = "finding" if len(table) == 1 else "findings"
    largest = max(table, key=lambda finding: finding.volume_ml)
    where = " ".join(word for word in (largest.side, largest.location) if word)
    return (
        f"{len(table)} {noun}, {total:.1f} ml, at z ≥ {threshold:.1f}; "
        f"shown: number {largest.id}, {where}, {largest.volume_ml:.1f} ml"
    )


def write_title(figure: Figure, total: float, case: str, model: str, note: str, line: str) -> None:
    """Case, model and findings above; the heads of the columns; the notice below."""

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, inches / total, text, color=TEXT, parse_math=False, **style)

    shown = case if len(case) <= 60 else f"{case[:57]}…"
    write(
        0.01,
        total - 0.25,
        "  |  ".join(part for part in (shown, note, model) if part),
        fontsize=12,
        va="center",
    )
    write(0.01, total - 0.52, line, fontsize=10, va="center")
    for column, head in enumerate(("scan", "healthy version", "score over scan")):
        write((column + 0.5) / 3, total - 0.8, head, fontsize=10, ha="center", va="center")
    write(0.01, 0.2, NOTICE, fontsize=10, va="center")


def draw_colour_bar(figure: Figure, total: float, scene: Scene) -> None:
    """The legend of the score, in z."""
    axes = figure.add_axes((0.42, 0.5 / total, 0.54, 0.14 / total))
    ramp = np.linspace(-scene.limit, scene.limit, 512)[None]
    ends = (-scene.limit, scene.limit)
    axes.imshow(ramp, cmap=colour_map(scene), extent=(*ends, 0, 1), aspect="auto", vmin=ends[0], vmax=ends[1])
    ticks = [-scene.limit, -scene.threshold, 0, scene.threshold, scene.limit]
    axes.set_xticks(ticks, [f"{tick:+.1f}" if tick else "0" for tick in ticks])
    axes.set_yticks([])
    axes.tick_params(colors=TEXT, labelsize=9, length=2, pad=2)
    axes.set_xlabel(
        "score, z: ◂ darker than expected | brighter than expected ▸", color=TEXT, fontsize=9, labelpad=2
    )
