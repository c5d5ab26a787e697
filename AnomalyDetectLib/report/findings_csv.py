"""findings.csv: one row for each finding, the largest first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from AnomalyDetectLib.findings.findings import Finding

COLUMNS = (
    "id",
    "location",
    "side",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
    "volume_ml",
    "peak_z",
    "mean_z",
    "sign",
    "p",
    "q",
    "uncertainty_z",
    "uncertain",
    "longest_diameter_mm",
    "elongation",
    "sequence",
)


def row(finding: Finding) -> dict[str, str]:
    """The cells of one finding by column; centroid in RAS mm, volume in ml; empty where there is no value."""
    right, anterior, superior = finding.centroid_ras_mm
    return {
        "id": str(finding.id),
        "location": finding.location,
        "side": finding.side,
        "centroid_r_mm": f"{right:.1f}",
        "centroid_a_mm": f"{anterior:.1f}",
        "centroid_s_mm": f"{superior:.1f}",
        "volume_ml": f"{finding.volume_ml:.3f}",
        "peak_z": f"{finding.peak_z:.2f}",
        "mean_z": f"{finding.mean_z:.2f}",
        "sign": finding.sign,
        "p": "" if finding.p is None else f"{finding.p:.4g}",
        "q": "" if finding.q is None else f"{finding.q:.4g}",
        "uncertainty_z": f"{finding.uncertainty:.2f}",
        "uncertain": "yes" if finding.uncertain else "no",
        "longest_diameter_mm": f"{finding.longest_diameter_mm:.1f}",
        "elongation": f"{finding.elongation:.2f}",
        "sequence": finding.sequence,
    }


def write_findings_csv(table: Sequence[Finding], path: Path) -> None:
    """Write the table of findings as UTF-8 CSV with a header line; the header alone when there are none."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row(finding) for finding in table)
