"""findings.csv and report.json say the same as the table, in plain numbers with units in their names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from AnomalyDetectLib.prepare.prepared import ScanFit
from AnomalyDetectLib.report.findings_csv import COLUMNS, write_findings_csv
from AnomalyDetectLib.report.report_json import CaseReport, ModelUsed, write_report
from Testing.report.cases import finding

CONTRACT = (
    "case", "input", "modality", "model", "image_score", "image_p", "threshold", "expected_false_alarms",
    "n_findings", "findings_ml", "fit", "seconds", "device", "version", "warnings",
)  # fmt: skip


def report(**changes: object) -> CaseReport:
    fields = {
        "case": "Müller",
        "input": "scans/Müller.nii.gz",
        "modality": "T1",
        "model": ModelUsed("restore-t1", "1.0.0", "ab" * 32),
        "threshold": 3.5,
        "fit": ScanFit("warn", ("slices of 6 mm are thick",)),
        "device": "cpu",
        "findings": (finding(), finding(id=2, volume_ml=0.5)),
        "seconds": {"prepare": 3.14159, "rebuild": np.float32(1.5)},
    }
    return CaseReport(**(fields | changes))  # type: ignore[arg-type]


def written(tmp_path: Path, made: CaseReport) -> dict[str, object]:
    write_report(made, tmp_path / "report.json")
    result: dict[str, object] = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    return result


def test_the_report_has_every_field_that_was_promised(tmp_path: Path) -> None:
    fields = written(tmp_path, report())
    assert [name for name in CONTRACT if name not in fields] == []
    assert fields["model"] == {"name": "restore-t1", "version": "1.0.0", "sha256": "ab" * 32}
    assert fields["fit"] == {"verdict": "warn", "reasons": ["slices of 6 mm are thick"]}
    assert (fields["n_findings"], fields["findings_ml"]) == (2, 12.846)
    assert fields["seconds"] == {"prepare": 3.142, "rebuild": 1.5}
    assert "Not a medical device" in str(fields["notice"])


def test_the_report_shows_umlauts_as_they_are(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "report.json")
    assert "Müller" in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan"), None])
def test_a_number_that_is_not_known_is_null(tmp_path: Path, value: float | None) -> None:
    fields = written(tmp_path, report(image_score=value, image_p=np.float64(0.03)))
    assert fields["image_score"] is None
    assert fields["image_p"] == 0.03


def test_the_table_has_one_row_a_finding_under_named_columns(tmp_path: Path) -> None:
    write_findings_csv([finding(), finding(id=2, sign="dark", uncertain=True)], tmp_path / "findings.csv")
    with (tmp_path / "findings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["1", "2"]
    first = rows[0]
    assert (first["centroid_r_mm"], first["centroid_a_mm"], first["centroid_s_mm"]) == ("-8.0", "6.0", "2.0")
    assert (first["volume_ml"], first["peak_z"]) == ("12.346", "9.13")
    assert (first["p"], first["q"]) == ("0.001235", "")
    assert (rows[1]["sign"], rows[1]["uncertain"]) == ("dark", "yes")


def test_no_findings_leave_the_header_alone(tmp_path: Path) -> None:
    write_findings_csv([], tmp_path / "findings.csv")
    assert (tmp_path / "findings.csv").read_text() == ",".join(COLUMNS) + "\n"
