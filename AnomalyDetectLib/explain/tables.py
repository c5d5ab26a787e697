"""An explanation as the terminal shows it."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from AnomalyDetectLib.explain.legend import EVIDENCE, headline, sentences


def explanation_tables(numbers: dict[str, Any]) -> list[Table | str]:
    """What the score is made of, what each model says, and the rest in sentences. numbers: of why.json."""
    lines = "\n".join(f"• {sentence}" for sentence in sentences(numbers))
    return [headline(numbers), *evidence_tables(numbers), models_table(numbers), lines]


def evidence_tables(numbers: dict[str, Any]) -> list[Table]:
    """The evidence maps of each sequence."""
    tables = []
    for sequence, evidence in numbers["evidence"].items():
        titles = ["evidence", "mean z", "peak z", "part of the mean z", "share"]
        table = Table(*titles, title=f"{sequence}: mean z {evidence['mean_z']:+.1f}, made of")
        rows = sorted(evidence["maps"].items(), key=lambda row: -abs(row[1]["mean_part"]))
        for name, row in rows:
            cells = [f"{row[column]:+.1f}" for column in ("mean_z", "peak_z", "mean_part")]
            table.add_row(f"{name}: {EVIDENCE.get(name, '')}", *cells, f"{round(100 * row['share'])} %")
        tables.append(table)
    return tables


def models_table(numbers: dict[str, Any]) -> Table:
    """What each model says of the place."""
    table = Table("model", "mean z", "peak z", "its threshold", "beyond it", "found")
    for one in numbers["models"]:
        if one["reason"]:
            table.add_row(one["model"], "", "", "", "", one["reason"])
            continue
        threshold = "" if one["threshold"] is None else f"{one['threshold']:.1f}"
        beyond = "" if one["share_beyond"] is None else f"{100 * one['share_beyond']:.0f} %"
        found = {True: "yes", False: "no", None: "not calibrated"}[one["found"]]
        z = [f"{one[column]:+.1f}" for column in ("mean_z", "peak_z")]
        table.add_row(f"{one['model']} {one['version']}", *z, threshold, beyond, found)
    return table
