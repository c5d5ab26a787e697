"""The words and bars around the slices of why.png."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.report.preview import TEXT

SPEAKS, AGAINST, QUIET = "#3aa655", "#9a6fb0", "0.45"
# What the evidence maps are, in a reader's words.
EVIDENCE = {
    "residual": "scan − healthy version",
    "anomaly": "network: “a lesion”",
    "tissue-fine": "scan − expected tissue, fine",
    "tissue": "scan − expected tissue",
    "tissue-wide": "scan − expected tissue, wide",
    "mirror": "scan − its other side",
    "score": "the model's own score",
}
FEWEST_ROWS = 4  # that a plot has room for, so that a single bar isn't a block
LINE = 62  # letters of the summary


def write_headline(figure: Figure, numbers: dict[str, Any], width: float, height: float) -> None:
    """Which finding it is."""
    line = f"{numbers['case']}   |   mean z {numbers['mean_z']:+.1f}, peak z {numbers['peak_z']:+.1f}"
    if numbers["threshold"]:
        line += f", threshold |z| ≥ {numbers['threshold']:.1f}"
    for text, y, size in ((headline(numbers), 0.3, 14), (line, 0.58, 10)):
        figure.text(
            0.12 / width, 1 - y / height, text, color=TEXT, fontsize=size, va="center", parse_math=False
        )


def headline(numbers: dict[str, Any]) -> str:
    """The finding in one line."""
    than = "brighter" if numbers["sign"] == "bright" else "darker"
    where = numbers["location"] or "place unknown"
    return f"Why finding {numbers['finding']}?  {where}, {numbers['volume_ml']:.2f} ml, {than} than expected"


def draw_parts(axes: Axes, numbers: dict[str, Any]) -> None:
    """What the mean z is made of: one bar for each evidence map."""
    toward = 1 if numbers["sign"] == "bright" else -1
    maps = numbers["evidence"][numbers["carried_by"]["peak"]]["maps"]
    names = sorted(maps, key=lambda name: toward * maps[name]["mean_part"])
    values = [toward * maps[name]["mean_part"] for name in names]
    labels = [f"{EVIDENCE.get(name, name)}" for name in names]
    style(axes, "what the mean z is made of", labels)
    axes.barh(range(len(names)), values, color=[SPEAKS if value >= 0 else AGAINST for value in values])
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        said = (
            f" {value:+.1f} z, {round(100 * maps[name]['share'])} %" if value else " not used by this model"
        )
        axes.text(max(value, 0), row, said, color=TEXT, fontsize=8, va="center")
    axes.set_xlim(min(0, *values), 1.6 * max(*values, 0.1))
    axes.set_xlabel("part in the finding's mean z, towards the finding", color=TEXT, fontsize=8)


def draw_models(axes: Axes, numbers: dict[str, Any]) -> None:
    """The peak z of every model, and where its own threshold lies."""
    toward = 1 if numbers["sign"] == "bright" else -1
    models = numbers["models"][::-1]
    labels = [f"{one['model']} {one['version']}" for one in models]
    style(axes, "the same place in every model", labels)
    peaks = [toward * one["peak_z"] if one["peak_z"] is not None else 0.0 for one in models]
    colours = [SPEAKS if one["found"] else QUIET for one in models]
    axes.barh(range(len(models)), peaks, color=colours)
    end = max([*peaks, *(one["threshold"] or 0 for one in models), 0.1])
    for row, (one, peak) in enumerate(zip(models, peaks, strict=True)):
        if one["threshold"]:
            axes.plot([one["threshold"]] * 2, [row - 0.45, row + 0.45], color="white", linewidth=1.5)
        said = " found" if one["found"] else " not asked" if one["peak_z"] is None else " not found"
        axes.text(max(peak, one["threshold"] or 0, 0), row, said, color=TEXT, fontsize=8, va="center")
    axes.set_xlim(min(0, *peaks), 1.35 * end)
    axes.set_xlabel("peak z towards the finding; white: its own threshold", color=TEXT, fontsize=8)


def style(axes: Axes, title: str, labels: list[str]) -> None:
    """An empty plot of horizontal bars."""
    axes.set_facecolor("none")
    axes.set_title(title, color=TEXT, fontsize=10, loc="left", pad=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(min(-0.6, len(labels) - 0.4 - FEWEST_ROWS), len(labels) - 0.4)
    axes.tick_params(colors=TEXT, labelsize=8, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(TEXT)


def write_summary(figure: Figure, numbers: dict[str, Any], left: float, top: float) -> None:
    """The explanation in sentences, then the warnings and the notice."""
    lines = [
        line
        for one in sentences(numbers)
        for line in textwrap.wrap(f"• {one}", LINE, subsequent_indent="   ")
    ]
    figure.text(
        left, top, "\n".join([*lines, "", NOTICE]), color=TEXT, fontsize=8.5, va="top", linespacing=1.35,
        parse_math=False,
    )  # fmt: skip


def sentences(numbers: dict[str, Any]) -> list[str]:
    """The explanation in sentences, each of which stands on numbers of why.json."""
    said = []
    shares = numbers["carried_by"]["share_of_voxels"]
    if len(shares) > 1:
        parts = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
        said.append(f"Seen in {numbers['carried_by']['peak']} (of its voxels: {parts}); explained there.")
    found = [one["model"] for one in numbers["models"][1:] if one["found"]]
    asked = [one for one in numbers["models"][1:] if one["peak_z"] is not None]
    if asked:
        which = f"{len(found)} find it too: {', '.join(found)}" if found else "none finds it too"
        said.append(f"Of {len(asked)} other models, {which}.")
    gradients, occlusion, grad_cam = (
        numbers[name] for name in ("integrated_gradients", "occlusion", "grad_cam")
    )
    if "left_out" not in gradients:
        difference = gradients["target_z"] - gradients["healthy_target_z"]
        said.append(
            f"From healthy anatomy to this scan the finding's mean z rises by {difference:.1f}; "
            f"{gradients['sum_inside_z']:.1f} of it come from its own voxels (integrated gradients)."
        )
    if "left_out" not in occlusion:
        said.append(
            f"With healthy anatomy in the finding alone its mean z of {occlusion['target_z']:.1f} falls by "
            f"{occlusion['finding_healthy_fall_z']:.1f}; with healthy anatomy in all of the brain but its "
            f"neighbourhood, by {occlusion['elsewhere_healthy_fall_z']:.1f} (occlusion)."
        )
    if "left_out" not in grad_cam:
        more = "more" if grad_cam["mean_inside"] > grad_cam["mean_brain"] else "less"
        said.append(
            f"What the deepest layer adds comes from here {more} than from elsewhere (Grad-CAM, coarse)."
        )
    for reason in dict.fromkeys(
        one["left_out"] for one in (gradients, occlusion, grad_cam) if "left_out" in one
    ):
        said.append(f"Left out: {reason}.")
    return [*said, *numbers["warnings"]]
