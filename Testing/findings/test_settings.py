"""Bad settings are refused with the range that is allowed; odd maps give an empty table, not an error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from AnomalyDetectLib.errors import AnomalyDetectError, FindingsSettingsError
from AnomalyDetectLib.findings import FindingsEngine, FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps

BAD = [
    ("threshold", 0, "0.01 to 1000 z"),
    ("threshold", -3, "0.01 to 1000 z"),
    ("threshold", math.nan, "0.01 to 1000 z"),
    ("threshold", math.inf, "0.01 to 1000 z"),
    ("threshold", "3", "0.01 to 1000 z"),
    ("threshold", True, "0.01 to 1000 z"),
    ("threshold", None, "0.01 to 1000 z"),
    ("threshold", [3], "0.01 to 1000 z"),
    ("hysteresis", 4, "0.01 to 3.5 z"),
    ("hysteresis", 0, "0.01 to 3.5 z"),
    ("sign", "up", "bright, dark, both"),
    ("open_mm", -1, "0 to 10 mm"),
    ("open_mm", 11, "0 to 10 mm"),
    ("close_mm", -0.1, "0 to 10 mm"),
    ("close_mm", math.nan, "0 to 10 mm"),
    ("grow_mm", -5.5, "-5 to 5 mm"),
    ("min_volume_mm3", -1, "0 to 2e+06 mm³"),
    ("fill_holes", 1, "True, False"),
    ("fill_holes", "no", "True, False"),
    ("max_uncertainty", -0.1, "0 to 1000 z"),
    ("max_uncertainty", math.nan, "0 to 1000 z"),
    ("hide_uncertain", None, "True, False"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_setting_is_refused_with_its_name_and_the_allowed_range(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(FindingsSettingsError) as caught:
        FindingsSettings(**{name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert allowed in str(caught.value)
    assert isinstance(caught.value, AnomalyDetectError)


def test_a_minimum_volume_above_the_brain_is_refused_with_the_brains_volume(case) -> None:
    with pytest.raises(FindingsSettingsError, match="0 to 64000 mm³"):
        case({}).at(FindingsSettings(min_volume_mm3=64001))


def test_a_setting_that_does_not_exist_is_named() -> None:
    with pytest.raises(FindingsSettingsError, match="treshold: no such setting"):
        FindingsSettings.from_dict({"treshold": 3})


def test_settings_come_back_from_a_file_as_they_were() -> None:
    chosen = FindingsSettings(threshold=4, hysteresis=2, sign="dark", grow_mm=-1, max_uncertainty=0.5)
    assert FindingsSettings.from_dict(chosen.to_dict()) == chosen


def test_numpy_numbers_are_numbers() -> None:
    chosen = FindingsSettings(threshold=np.float32(3.5), open_mm=np.int64(2))  # type: ignore[arg-type]
    assert chosen == FindingsSettings(threshold=3.5, open_mm=2)


@pytest.mark.parametrize(
    ("score", "brain"),
    [
        (np.zeros((5, 6, 7), dtype=np.float32), np.ones((5, 6, 7), dtype=bool)),
        (np.full((5, 6, 7), 9, dtype=np.float32), np.zeros((5, 6, 7), dtype=bool)),
        (np.full((5, 6, 7), np.nan, dtype=np.float32), np.ones((5, 6, 7), dtype=bool)),
        (np.zeros((0, 4, 4), dtype=np.float32), np.zeros((0, 4, 4), dtype=bool)),
    ],
    ids=["no anomaly", "no brain", "not a number", "no voxel"],
)
def test_an_empty_map_gives_an_empty_table(score: np.ndarray, brain: np.ndarray) -> None:
    engine = FindingsEngine(AnomalyMaps.from_score(score, brain=brain))
    for settings in (FindingsSettings(), FindingsSettings(hysteresis=1, open_mm=1, close_mm=2, grow_mm=1)):
        findings = engine.at(settings)
        assert findings.table == ()
        assert len(findings) == findings.total_ml == findings.n_hidden == 0
        assert findings.labelmap.shape == score.shape
        assert not findings.labelmap.any()
