"""Ways to choose a threshold, each with its meaning in one line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from AnomalyDetectLib.errors import FindingsSettingsError
from AnomalyDetectLib.findings.false_alarms import EXPECTED_RANGE, FalseAlarmTable
from AnomalyDetectLib.findings.settings import THRESHOLD_RANGE, FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps

HISTOGRAM_BINS = 256


class Method(Enum):
    """What the threshold is chosen by; the value is its name in files and on the command line."""

    FALSE_ALARMS = "false-alarms"
    FIXED = "fixed"
    PERCENTILE = "percentile"
    OTSU = "otsu"
    YEN = "yen"
    HYSTERESIS = "hysteresis"

    @property
    def meaning(self) -> str:
        """One line for the reader."""
        return MEANINGS[self]


MEANINGS = {
    Method.FALSE_ALARMS: "As many findings like these are expected in a healthy brain.",
    Method.FIXED: "Everything at least this many standard deviations from healthy.",
    Method.PERCENTILE: "This percentage of the brain is less unusual than what is shown.",
    Method.OTSU: "Splits this brain's scores into the two groups that differ most (Otsu 1979).",
    Method.YEN: "Splits this brain's scores where both parts keep most information (Yen 1995).",
    Method.HYSTERESIS: "Only regions with a strong core are shown, down to a weaker border.",
}


@dataclass(frozen=True)
class ThresholdChoice:
    """A method and its value.

    value: expected false alarms (0.01 to 30), z (fixed, hysteresis) or percentile (0 to 100); Otsu and Yen
    have none. weak: z of the border, for hysteresis.
    """

    method: Method
    value: float | None = None
    weak: float | None = None

    def applied(
        self, settings: FindingsSettings, maps: AnomalyMaps, table: FalseAlarmTable | None = None
    ) -> FindingsSettings:
        """The settings with the threshold that this choice gives for one case.

        Raises `FindingsSettingsError` when the value is missing or out of range, or the method needs a
        calibration that is not at hand.
        """
        threshold = self._threshold(settings, maps, table)
        if self.method is Method.HYSTERESIS:
            if self.weak is None:
                raise FindingsSettingsError(
                    f"hysteresis: the weak threshold is missing; the allowed range is "
                    f"{THRESHOLD_RANGE[0]:g} to {threshold:g} z"
                )
            return settings.changed(threshold=threshold, hysteresis=self.weak)
        weak = settings.hysteresis if self.method is Method.FALSE_ALARMS else None
        weak = None if weak is None else min(weak, threshold)
        return settings.changed(threshold=threshold, hysteresis=weak)

    def _threshold(
        self, settings: FindingsSettings, maps: AnomalyMaps, table: FalseAlarmTable | None
    ) -> float:
        if self.method in (Method.OTSU, Method.YEN):
            return automatic_threshold(maps, settings, self.method)
        if self.value is None:
            allowed = {Method.FALSE_ALARMS: EXPECTED_RANGE, Method.PERCENTILE: (0.0, 100.0)}
            low, high = allowed.get(self.method, THRESHOLD_RANGE)
            raise FindingsSettingsError(
                f"{self.method.value}: the value is missing; the allowed range is {low:g} to {high:g}"
            )
        if self.method is Method.FALSE_ALARMS:
            if table is None:
                raise FindingsSettingsError(
                    "expected false alarms: this map has no calibration; choose a fixed threshold in z"
                )
            return table.threshold_for(self.value, settings)
        if self.method is Method.PERCENTILE:
            return percentile_threshold(maps, settings, self.value)
        return self.value


def method_of_score(name: str, weak: float | None) -> Method:
    """The method of this name for a map without a calibration; hysteresis where a fixed one has a weak
    border.

    Raises `FindingsSettingsError` for another name, and for a weak threshold beside a method without one.
    """
    allowed = [Method.FIXED.value, Method.PERCENTILE.value, Method.OTSU.value, Method.YEN.value]
    if name not in allowed:
        raise FindingsSettingsError(f"method: {name!r} is not allowed; choose one of {', '.join(allowed)}")
    if weak is None:
        return Method(name)
    if name != Method.FIXED.value:
        raise FindingsSettingsError(f"hysteresis: method {name} has no weak threshold; leave it or use fixed")
    return Method.HYSTERESIS


def percentile_threshold(maps: AnomalyMaps, settings: FindingsSettings, percentile: float) -> float:
    """The |z| that `percentile` % of the brain's voxels of the settings' sign stay below."""
    if not 0 <= percentile <= 100:
        raise FindingsSettingsError(
            f"percentile: {percentile:g} % is not allowed; the allowed range is 0 to 100 %"
        )
    strength = _strength(maps, settings)
    return _in_range(float(np.percentile(strength, percentile))) if len(strength) else THRESHOLD_RANGE[1]


def automatic_threshold(maps: AnomalyMaps, settings: FindingsSettings, method: Method) -> float:
    """Otsu's (IEEE Trans. SMC 1979) or Yen's (IEEE Trans. Image Proc. 1995) threshold of |z| in the brain."""
    strength = _strength(maps, settings)
    if len(strength) == 0 or strength.min() == strength.max():
        return THRESHOLD_RANGE[1]  # nothing stands out where all is the same
    image = sitk.GetImageFromArray(strength[None])
    threshold = sitk.OtsuThresholdImageFilter() if method is Method.OTSU else sitk.YenThresholdImageFilter()
    threshold.SetNumberOfHistogramBins(HISTOGRAM_BINS)
    threshold.Execute(image)
    return _in_range(float(threshold.GetThreshold()))


def _strength(maps: AnomalyMaps, settings: FindingsSettings) -> NDArray[np.float32]:
    """|score| of the brain's voxels, 0 where the sign is not looked for, (n,)."""
    score = np.nan_to_num(maps.score[maps.brain])
    if settings.sign == "both":
        return np.abs(score)
    return np.maximum(score if settings.sign == "bright" else -score, 0)


def _in_range(threshold: float) -> float:
    return float(np.clip(threshold, *THRESHOLD_RANGE))
