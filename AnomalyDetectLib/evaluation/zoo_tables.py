"""The tables of benchmark zoo: on the console, in zoo.md and in zoo.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table as ConsoleTable

from AnomalyDetectLib.evaluation import published
from AnomalyDetectLib.evaluation.ranking import NOTHING, Interval
from AnomalyDetectLib.evaluation.zoo_cases import ZooSet
from AnomalyDetectLib.evaluation.zoo_figures import AP, PATIENTS, SECONDS, SLICE_AP, Table

SHOWN = (PATIENTS, AP, "oracle Dice", "slice AUROC", SLICE_AP, "region AUROC", SECONDS)  # on the console
CHANCE = "slice position and brain area alone"
NOTE = (
    "95 % bootstrap over patients; a dash is what can't be had: voxel figures where no lesion is drawn, "
    "sparsification without a variance or without healthy scans. Maps in brackets are trivial rivals; their "
    "millimetres are those of voxels of 2 mm. Hybrids are fitted to healthy scans alone. Slow models are "
    "measured on fewer patients, so that their rows compare with others only loosely."
)


def flat(figures: Mapping[str, Interval]) -> dict[str, object]:
    """Figures and their intervals as columns."""
    columns: dict[str, object] = {}
    for name, (value, low, high) in figures.items():
        columns |= {name: round(value, 4), f"{name}, low": round(low, 4), f"{name}, high": round(high, 4)}
    return columns


def shown(value: Interval, brief: bool = False) -> str:
    """A figure with its interval (brief: without), a dash where it can't be had."""
    middle, low, high = value
    if not np.isfinite(middle):
        return "–"
    if low == high and float(middle).is_integer():
        return f"{middle:g}"
    if low == high or brief:
        return f"{middle:.3f}"
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def printed(which: ZooSet, table: Table) -> ConsoleTable:
    """The table of one set for the console, which is narrow: intervals and other columns stand in zoo.md."""
    result = ConsoleTable(title=which.name)
    result.add_column("model", no_wrap=True)
    for name in SHOWN:
        result.add_column(name)
    for model, figures in table.items():
        result.add_row(model, *(shown(figures.get(name, NOTHING), brief=True) for name in SHOWN))
    return result


def markdown(which: ZooSet, table: Table, chance: Mapping[str, Interval]) -> str:
    """The table of one set, the leak check, and the published figure that each row answers to."""
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    lines = [f"## {which.name}", "", NOTE, ""]
    lines += [f"| model | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [
        f"| {model} | {' | '.join(shown(f.get(n, NOTHING)) for n in names)} |" for model, f in table.items()
    ]
    alone = ", ".join(f"{name} {shown(value)}" for name, value in chance.items())
    lines += ["", f"{CHANCE.capitalize()} (no picture): {alone}.", ""]
    lines += [f"In print for {which.contrast}: {published.BEST[which.contrast]} Row by row:", ""]
    lines += [f"- {model}: {published.answer(model, which.contrast)}" for model in table]
    return "\n".join(lines)


def write(
    out: Path, tables: Mapping[ZooSet, Table], chances: Mapping[ZooSet, Mapping[str, Interval]]
) -> None:
    """Write zoo.md and zoo.csv anew."""
    sections = [markdown(which, table, chances[which]) for which, table in tables.items()]
    (out / "zoo.md").write_text("\n\n".join(["# The zoo", *sections]) + "\n", encoding="utf-8")
    rows = [
        {"set": which.name, "model": name, **flat(one)}
        for which, table in tables.items()
        for name, one in (*table.items(), (CHANCE, chances[which]))
    ]
    write_csv(out / "zoo.csv", rows)


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """One line a model and set; columns that a set hasn't are empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
