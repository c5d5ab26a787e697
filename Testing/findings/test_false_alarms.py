"""Expected false alarms are what healthy scans show, p-values are fair, and lesions are found."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.errors import AnomalyDetectError, FindingsSettingsError
from AnomalyDetectLib.findings import (
    FalseAlarmTable,
    FindingsEngine,
    FindingsSettings,
    benjamini_hochberg,
)
from AnomalyDetectLib.findings.false_alarms import summed

EXPECTED = (0.1, 0.3, 1, 3, 10)
KINDS = {
    "as it comes": {},
    "bright": {"sign": "bright"},
    "dark": {"sign": "dark"},
    "opened": {"open_mm": 2.0},
    "large": {"min_volume_mm3": 150},
    "between the table's sizes and openings": {"min_volume_mm3": 67, "open_mm": 2.2},
    "with weak borders": {"hysteresis": 2.0},
}
N_NEW = 100


@pytest.fixture(scope="module")
def new_scans(healthy, false_alarms) -> list[FindingsEngine]:
    """Healthy scans that the calibration has not seen."""
    return [FindingsEngine(healthy(seed), false_alarms=false_alarms) for seed in range(1000, 1000 + N_NEW)]


@pytest.mark.parametrize("kind", KINDS)
def test_new_healthy_scans_show_as_many_findings_as_expected(kind: str, false_alarms, new_scans) -> None:
    base = FindingsSettings(**KINDS[kind])
    for expected in EXPECTED:
        threshold = false_alarms.threshold_for(expected, base.changed(threshold=20))
        settings = base.changed(threshold=max(threshold, base.weakest if base.hysteresis else threshold))
        assert false_alarms.expected(settings) == pytest.approx(expected, rel=0.02)
        observed = np.mean([len(engine.at(settings)) for engine in new_scans])
        low, high = false_alarms.interval(settings, n_scans=N_NEW)
        assert low < expected < high
        assert low <= observed <= high, (
            f"{expected} expected, {observed} seen, {low:.2f} to {high:.2f} predicted"
        )


def test_the_interval_is_narrow_enough_to_mean_something(false_alarms) -> None:
    settings = FindingsSettings()
    for expected, widest in ((0.3, 0.6), (1, 1.2), (3, 2.6), (10, 6)):
        there = settings.changed(threshold=false_alarms.threshold_for(expected, settings))
        low, high = false_alarms.interval(there, n_scans=N_NEW)
        assert high - low < widest


def test_single_new_scans_lie_within_the_interval_for_one_scan(false_alarms, new_scans) -> None:
    settings = FindingsSettings()
    for expected in (1, 3, 10):
        there = settings.changed(threshold=false_alarms.threshold_for(expected, settings))
        low, high = false_alarms.interval(there)
        counts = np.array([len(engine.at(there)) for engine in new_scans])
        assert ((counts >= low) & (counts <= high)).mean() >= 0.9


def test_fewer_expected_false_alarms_never_lower_the_threshold(false_alarms) -> None:
    for kind in KINDS.values():
        settings = FindingsSettings(threshold=20).changed(**kind)
        slider = np.geomspace(0.01, 30, 60)
        thresholds = [false_alarms.threshold_for(float(expected), settings) for expected in slider]
        assert all(np.diff(thresholds) <= 1e-9)
        assert np.abs(np.diff(thresholds)).max() < 0.6, "no jumps under the hand"


def test_a_stricter_setting_never_expects_more(false_alarms) -> None:
    for threshold in (2.5, 3.3, 4.1):
        base = FindingsSettings(threshold=threshold)
        by_volume = [
            false_alarms.expected(base.changed(min_volume_mm3=float(v))) for v in np.geomspace(5, 2000, 30)
        ]
        assert all(np.diff(by_volume) <= 0)
        one_sign = false_alarms.expected(base.changed(sign="bright"))
        assert one_sign < false_alarms.expected(base)
        weak = false_alarms.expected(base.changed(hysteresis=threshold - 0.5, min_volume_mm3=5))
        assert weak > 0


def test_new_scans_are_expected_to_show_a_little_more_than_the_calibration_did(false_alarms) -> None:
    counts = false_alarms.components
    at = counts.thresholds.index(2.5)
    size = counts.volumes_mm3.index(40.0)
    own = counts.exceedances()[2, 0, at, size] / false_alarms.n_scans
    expected = false_alarms.expected(FindingsSettings(threshold=2.5, min_volume_mm3=40))
    assert (own * false_alarms.n_scans + 1) / false_alarms.n_scans <= expected + 1e-9
    assert expected < 1.1 * own + 0.1


def test_far_out_the_tail_is_extrapolated_and_says_so(false_alarms) -> None:
    settings = FindingsSettings()
    there = settings.changed(threshold=false_alarms.threshold_for(0.01, settings))
    assert false_alarms.extrapolates(0.01)
    assert not false_alarms.extrapolates(0.1)
    assert false_alarms.caveats(there) == (
        "Less than one finding in 60 healthy scans: the tail is extrapolated.",
    )
    further = false_alarms.expected(settings.changed(threshold=40))
    assert 0 < further < false_alarms.expected(there)


def test_what_the_calibration_does_not_cover_is_told(false_alarms) -> None:
    assert false_alarms.caveats(FindingsSettings(threshold=3)) == ()
    odd = FindingsSettings(threshold=2, open_mm=5, close_mm=1, grow_mm=-1, max_uncertainty=1)
    notes = " ".join(false_alarms.caveats(odd))
    for word in ("Closing", "Growing", "Opening", "uncertain"):
        assert word in notes


@pytest.mark.parametrize("expected", [0, 0.009, 31, -1, float("nan"), "1", None])
def test_an_impossible_number_of_false_alarms_is_refused_with_the_range(expected, false_alarms) -> None:
    with pytest.raises(FindingsSettingsError, match=r"0\.01 to 30"):
        false_alarms.threshold_for(expected, FindingsSettings())


def test_more_false_alarms_than_any_threshold_gives_yields_the_threshold_with_most(false_alarms) -> None:
    settings = FindingsSettings(min_volume_mm3=5000)
    threshold = false_alarms.threshold_for(30, settings)
    most = max(false_alarms.expected_at(np.linspace(1, 6, 50), settings))
    assert false_alarms.expected(settings.changed(threshold=threshold)) == pytest.approx(most, rel=0.05)


def test_the_table_is_small_and_comes_back_from_json_as_it_was(false_alarms) -> None:
    text = false_alarms.to_json()
    assert len(text) < 300_000
    again = FalseAlarmTable.from_json(text)
    for settings in (
        FindingsSettings(),
        FindingsSettings(threshold=2.2, hysteresis=1.6, sign="dark", open_mm=1),
    ):
        assert again.expected(settings) == false_alarms.expected(settings)
        assert again.interval(settings) == false_alarms.interval(settings)
    assert again.to_json() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "n_scans": "x"}'])
def test_a_damaged_table_says_to_calibrate_again(text: str) -> None:
    with pytest.raises(AnomalyDetectError, match="calibrate"):
        FalseAlarmTable.from_json(text)


def test_a_table_needs_a_scan() -> None:
    with pytest.raises(AnomalyDetectError, match="no healthy scan"):
        FalseAlarmTable.from_maps([])


@pytest.mark.parametrize("threshold", [2.0, 2.6, 3.0])
def test_p_values_of_healthy_findings_are_fair(threshold: float, new_scans) -> None:
    settings = FindingsSettings(threshold=threshold)
    p = np.array([row.p for engine in new_scans for row in engine.at(settings).table])
    assert len(p) > 200
    for level in (0.01, 0.05, 0.2, 0.5):
        chance = 3 * np.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() <= level + chance


def test_healthy_scans_seldom_have_a_finding_of_low_q(new_scans) -> None:
    settings = FindingsSettings(threshold=2.6)
    alarmed = [any(row.q < 0.05 for row in engine.at(settings).table) for engine in new_scans]
    assert np.mean(alarmed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_NEW)


def test_lesions_are_found_with_low_q_and_few_others_are(healthy, false_alarms) -> None:
    lesions = {(12, 24, 20): (2.5, 6.0), (26, 14, 20): (2.0, -7.0), (24, 34, 22): (3.0, 5.0)}
    settings = FindingsSettings(threshold=false_alarms.threshold_for(3, FindingsSettings()))
    found, significant, false = 0, 0, 0
    for seed in range(2000, 2020):
        findings = FindingsEngine(healthy(seed, lesions), false_alarms=false_alarms).at(settings)
        of_lesions = {int(findings.labelmap[centre]) for centre in lesions} - {0}
        found += len(of_lesions)
        significant += sum(row.q < 0.05 for row in findings.table if row.id in of_lesions)
        false += sum(row.q < 0.05 for row in findings.table if row.id not in of_lesions)
    assert found >= 0.95 * 60
    assert significant >= 0.9 * 60
    assert false <= 0.1 * significant


def test_q_is_the_rate_of_benjamini_and_hochberg() -> None:
    q = benjamini_hochberg(np.array([0.04, 0.001, 0.03, 0.5]))
    np.testing.assert_allclose(q, [0.16 / 3, 0.004, 0.16 / 3, 0.5])
    assert len(benjamini_hochberg(np.zeros(0))) == 0


@pytest.fixture(scope="module")
def fewer(healthy) -> FalseAlarmTable:
    """A calibration on 20 other healthy scans."""
    return FalseAlarmTable.from_maps(healthy(seed) for seed in range(500, 520))


def test_two_sequences_are_expected_to_show_the_false_alarms_of_both(false_alarms, fewer) -> None:
    both = summed(false_alarms, fewer)
    assert both is not None
    assert both.n_scans == 20
    counts, one, two = (
        table.components.exceedances() / table.n_scans for table in (both, false_alarms, fewer)
    )
    np.testing.assert_allclose(counts[:2], (one + two)[:2], atol=0.5 / 20 + 1e-9)
    settings = FindingsSettings(threshold=3.0)
    apart = false_alarms.expected(settings) + fewer.expected(settings)
    assert both.expected(settings) == pytest.approx(apart, rel=0.1)
    assert both.threshold_for(1.0, settings) > false_alarms.threshold_for(1.0, settings)


def test_the_sum_says_that_it_is_one(false_alarms, fewer) -> None:
    both = summed(false_alarms, fewer)
    assert both is not None
    assert any("Two sequences" in note for note in both.caveats(FindingsSettings()))
    assert not any("Two sequences" in note for note in false_alarms.caveats(FindingsSettings()))


def test_without_both_calibrations_nothing_is_promised(false_alarms) -> None:
    assert summed(false_alarms, None) is None
    assert summed(None, false_alarms) is None


def test_tables_of_different_axes_are_not_added(false_alarms, healthy) -> None:
    other = FalseAlarmTable.from_maps([healthy(1)], openings_mm=(0.0, 4.0))
    with pytest.raises(AnomalyDetectError, match="axes"):
        summed(false_alarms, other)
