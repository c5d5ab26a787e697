"""The ways to choose a threshold, and the plot beside the slider."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.errors import FindingsSettingsError
from AnomalyDetectLib.findings import FindingsEngine, FindingsSettings, Method, ThresholdChoice, curves


@pytest.fixture
def engine(case) -> FindingsEngine:
    """Faint noise, a faint and a strong ball: three levels of |z|."""
    return case({(10, 10, 10): (6, -1.0), (28, 28, 28): (8, 6.0)})


def chosen(
    engine: FindingsEngine, method: Method, value: float | None = None, **weak: float
) -> FindingsSettings:
    return ThresholdChoice(method, value, **weak).applied(
        FindingsSettings(), engine.maps, engine.false_alarms
    )


def test_every_method_says_in_one_line_what_it_means() -> None:
    for method in Method:
        assert method.meaning.endswith(".")
        assert "\n" not in method.meaning


def test_otsu_and_yen_separate_the_lesion_from_the_rest(engine: FindingsEngine) -> None:
    for method in (Method.OTSU, Method.YEN):
        settings = chosen(engine, method)
        findings = engine.at(settings)
        assert findings.labelmap[28, 28, 28] == 1
        assert len(findings) == (1 if settings.threshold > 1 else 2)


def test_a_percentile_leaves_that_share_of_the_brain_out(healthy) -> None:
    engine = FindingsEngine(healthy(5))
    for percentile in (50, 90, 99):
        settings = chosen(engine, Method.PERCENTILE, percentile)
        below = (np.abs(engine.maps.score[engine.maps.brain]) < settings.threshold).mean()
        assert below == pytest.approx(percentile / 100, abs=0.001)


def test_hysteresis_shows_cores_down_to_their_borders(engine: FindingsEngine) -> None:
    settings = chosen(engine, Method.HYSTERESIS, 5, weak=0.5)
    assert (settings.threshold, settings.hysteresis) == (5, 0.5)
    assert len(engine.at(settings)) == 1


def test_expected_false_alarms_choose_the_calibrated_threshold(healthy, false_alarms) -> None:
    engine = FindingsEngine(healthy(5), false_alarms=false_alarms)
    settings = chosen(engine, Method.FALSE_ALARMS, 1)
    assert false_alarms.expected(settings) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        (Method.FALSE_ALARMS, 1, "no calibration"),
        (Method.FALSE_ALARMS, None, "0.01 to 30"),
        (Method.FIXED, None, "0.01 to 1000"),
        (Method.FIXED, -1, "0.01 to 1000 z"),
        (Method.PERCENTILE, 101, "0 to 100 %"),
        (Method.PERCENTILE, float("nan"), "0 to 100 %"),
        (Method.HYSTERESIS, 5, "0.01 to 5 z"),
    ],
)
def test_a_choice_that_cannot_be_made_says_why(
    engine: FindingsEngine, method: Method, value: float | None, message: str
) -> None:
    with pytest.raises(FindingsSettingsError, match=message):
        chosen(engine, method, value)


@pytest.mark.parametrize("method", [Method.OTSU, Method.YEN, Method.PERCENTILE])
def test_a_map_where_all_is_the_same_shows_no_findings(case, method: Method) -> None:
    engine = case({})
    settings = chosen(engine, method, 99 if method is Method.PERCENTILE else None)
    assert len(engine.at(settings)) == 0


def test_curves_show_what_the_slider_would(healthy, false_alarms) -> None:
    engine = FindingsEngine(healthy(7, {(20, 24, 20): (4, 5.0)}), false_alarms=false_alarms)
    settings = FindingsSettings(open_mm=2)
    before = engine.at(settings)
    plot = curves(engine, settings)
    assert all(np.diff(plot.thresholds) > 0)
    for threshold, number, volume in zip(plot.thresholds, plot.numbers, plot.volumes_ml, strict=True):
        findings = engine.at(settings.changed(threshold=float(threshold)))
        assert (len(findings), findings.total_ml) == (number, volume)
    np.testing.assert_array_equal(engine.at(settings).labelmap, before.labelmap)


def test_a_healthy_scan_runs_inside_the_healthy_band_and_a_lesion_leaves_it(healthy, false_alarms) -> None:
    def shares_above(lesions: dict) -> float:
        inside = []
        for seed in range(300, 310):
            engine = FindingsEngine(healthy(seed, lesions), false_alarms=false_alarms)
            plot = curves(engine, FindingsSettings(), np.linspace(3, 5, 12))
            assert plot.healthy is not None
            assert all(plot.healthy.low <= plot.healthy.high)
            inside.append((plot.numbers > plot.healthy.high).mean())
        return float(np.mean(inside))

    lesions = {(12 + 8 * i, 16 + 8 * j, 20): (2.0, 7.0) for i in range(3) for j in range(3)}
    assert shares_above({}) < 0.05
    assert shares_above(lesions) > 0.9


def test_without_calibration_there_is_no_band(engine: FindingsEngine) -> None:
    assert curves(engine, FindingsSettings(hysteresis=2), np.array([1.0, 3.0, 5.0])).healthy is None
