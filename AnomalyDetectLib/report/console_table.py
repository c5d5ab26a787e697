"""The table of findings as the terminal shows it."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def findings_table(findings: list[dict[str, Any]], threshold: float, expected: float | None) -> Table:
    """The findings of a report; the title says what the threshold means."""
    meaning = "" if expected is None else f", where {expected:g} would be expected in a healthy brain"
    total = sum(row["volume_ml"] for row in findings)
    title = f"{len(findings)} findings, {total:.1f} ml, at |z| ≥ {threshold:.2f}{meaning}"
    titles = ["#", "where", "centre RAS (mm)", "ml", "peak z", "p", "q", "than expected"]
    two = any(row["sequence"] for row in findings)
    table = Table(*titles, *(["sequence"] if two else []), title=title)
    for row in findings:
        where = " ".join(word for word in (row["side"], row["location"]) if word)
        centre = ", ".join(f"{c:.0f}" for c in row["centroid_ras_mm"])
        p, q = ("" if row[name] is None else f"{row[name]:.3f}" for name in ("p", "q"))
        sign = "brighter" if row["sign"] == "bright" else "darker"
        cells = [
            str(row["id"]), where, centre, f"{row['volume_ml']:.2f}", f"{row['peak_z']:.1f}", p, q, sign,
        ]  # fmt: skip
        table.add_row(*cells, *([row["sequence"]] if two else []))
    return table
