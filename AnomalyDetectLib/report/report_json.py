"""report.json: what was done to a scan, by what, and what came out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from AnomalyDetectLib import __version__
from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.prepare.prepared import ScanFit
from AnomalyDetectLib.report.notice import NOTICE


@dataclass(frozen=True)
class ModelUsed:
    """The model that rebuilt the scan: its name, version, and its weights' SHA-256 ("" when it has none)."""

    name: str
    version: str
    sha256: str = ""


@dataclass(frozen=True)
class SecondUsed:
    """A second sequence of the same patient: what stands of it in the report.

    input: the path as it was given. modality: as given or guessed. fit: with its own model. brain_overlap:
    Dice of both scans' brains after coregistration. second_from_first: 4x4 rigid, RAS mm of the first scan
    to RAS mm of the second.
    """

    input: str
    modality: str
    model: ModelUsed
    fit: ScanFit
    brain_overlap: float
    second_from_first: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CaseReport:
    """Everything that report.json holds of one case.

    input: the path as it was given. modality: as given or guessed. image_score: one number for the scan;
    image_p: its p-value among healthy scans; None without calibration. threshold: z. expected_false_alarms:
    findings in a healthy brain at this setting; None without calibration. findings: rows of the table. fit:
    the gate's verdict. stripped: the scan came without skull. alignment_overlap: Dice of the aligned brain
    with the template's. seconds: wall time of each stage. warnings: one sentence each. also: the second
    sequence, None for one scan alone; sequences: what the findings' rows call the two.
    """

    case: str
    input: str
    modality: str
    model: ModelUsed
    threshold: float
    fit: ScanFit
    device: str
    image_score: float | None = None
    image_p: float | None = None
    expected_false_alarms: float | None = None
    findings: tuple[Finding, ...] = ()
    stripped: bool = False
    alignment_overlap: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    version: str = __version__
    also: SecondUsed | None = None
    sequences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, in the order in which a reader wants them."""
        return {
            "case": self.case,
            "input": self.input,
            "modality": self.modality,
            "model": dataclasses.asdict(self.model),
            "also": None if self.also is None else plain(dataclasses.asdict(self.also)),
            "sequences": list(self.sequences),
            "image_score": plain(self.image_score),
            "image_p": plain(self.image_p),
            "threshold": plain(self.threshold),
            "expected_false_alarms": plain(self.expected_false_alarms),
            "n_findings": len(self.findings),
            "findings_ml": round(sum(finding.volume_ml for finding in self.findings), 3),
            "findings": [plain(dataclasses.asdict(finding)) for finding in self.findings],
            "fit": {"verdict": self.fit.verdict, "reasons": list(self.fit.reasons)},
            "stripped": self.stripped,
            "alignment_overlap": plain(self.alignment_overlap),
            "seconds": {stage: round(float(value), 3) for stage, value in self.seconds.items()},
            "device": self.device,
            "version": self.version,
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }


def plain(value: Any) -> Any:
    """`value` without NumPy types, and with null in place of what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return float(f"{number:.6g}") if math.isfinite(number) else None
    return value


def write_report(report: CaseReport, path: Path) -> None:
    """Write report.json: UTF-8, indented, strict JSON."""
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
