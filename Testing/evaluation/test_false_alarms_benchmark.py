"""`benchmark findings --data` splits patients, counts what was not calibrated on, and says what came true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from AnomalyDetectLib.cli import app
from AnomalyDetectLib.evaluation import false_alarms_benchmark
from AnomalyDetectLib.evaluation.false_alarms_benchmark import (
    EXPECTED,
    KINDS,
    Count,
    HealthyScan,
    counts,
    coverage,
    split,
    table_of,
)
from AnomalyDetectLib.findings import FalseAlarmTable, FindingsEngine
from AnomalyDetectLib.findings.healthy_components import count_components
from AnomalyDetectLib.scoring.maps import AnomalyMaps


def healthy(number: int, group: str, strength: float = 1.0) -> HealthyScan:
    """Smooth noise at 3 mm."""
    score = ndimage.gaussian_filter(np.random.default_rng(number).standard_normal((24, 28, 24)), 1.0)
    score = (strength * score / score.std()).astype(np.float32)
    maps = AnomalyMaps.from_score(score, affine=np.diag([3.0, 3.0, 3.0, 1.0]))
    components = count_components([maps], thresholds=(1.5, 2.0, 2.5, 3.0, 3.5, 4.0), openings_mm=(0.0, 2.0))
    return HealthyScan(f"patient {number}", group, None, maps, components)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scans() -> list[HealthyScan]:
    return [healthy(number, "val" if number < 9 else "external") for number in range(14)]


def test_no_patient_is_in_both_halves_and_both_sets_are_in_each(scans: list[HealthyScan]) -> None:
    one, other = split(scans, seed=3)
    assert {scan.name for scan in one}.isdisjoint(scan.name for scan in other)
    assert len(one) == len(other) == 7
    for half in (one, other):
        assert {scan.group for scan in half} == {"val", "external"}
    again, _ = split(scans, seed=3)
    assert [scan.name for scan in again] == [scan.name for scan in one]
    different, _ = split(scans, seed=4)
    assert [scan.name for scan in different] != [scan.name for scan in one]


def test_a_table_of_several_scans_is_that_of_all_their_maps(scans: list[HealthyScan]) -> None:
    axes = {"thresholds": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0), "openings_mm": (0.0, 2.0)}
    together = FalseAlarmTable.from_maps((scan.maps for scan in scans[:4]), **axes)
    assert table_of(scans[:4]).to_json() == together.to_json()


def test_counts_are_those_of_the_scans_that_did_not_calibrate(scans: list[HealthyScan]) -> None:
    one, other = split(scans, seed=3)
    rows = counts(one, other)
    assert [(row.settings, row.expected) for row in rows] == [(k, e) for k in KINDS for e in EXPECTED]
    for row in rows[2::5]:
        settings = KINDS[row.settings].changed(threshold=row.threshold)
        assert row.observed == np.mean([len(FindingsEngine(scan.maps).at(settings)) for scan in other])
        assert row.low < row.expected < row.high


def test_alike_scans_lie_inside_and_noisier_ones_outside(scans: list[HealthyScan]) -> None:
    alike = coverage(scans, 4)
    assert np.mean([row["inside"] for row in alike]) > 0.85
    noisier = counts(scans, [healthy(100 + number, "val", strength=1.4) for number in range(8)])
    assert not any(row.inside for row in noisier if row.expected == 10 and row.settings == "default")


@pytest.mark.parametrize(("observed", "inside"), [(0.0, True), (2.0, True), (2.1, False)])
def test_the_ends_of_the_interval_belong_to_it(observed: float, inside: bool) -> None:
    assert Count("default", 1.0, 3.0, observed, 0.0, 2.0).inside is inside


def test_the_tables_are_written_as_markdown(scans: list[HealthyScan]) -> None:
    one, other = split(scans, seed=3)
    rows = [false_alarms_benchmark._row(count) for count in counts(one, other)]
    page = false_alarms_benchmark._markdown(false_alarms_benchmark._count_table("Half", rows))
    assert page.startswith("## Half\n\n| settings | expected |")
    assert page.count("\n") == len(rows) + 4


def test_a_missing_data_folder_is_one_line(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["benchmark", "findings", "--data", str(tmp_path / "absent")])
    assert outcome.exit_code == 2
    assert "--data" in outcome.output
