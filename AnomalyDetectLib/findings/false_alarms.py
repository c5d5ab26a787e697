"""What a threshold means: findings expected in a healthy scan, and p-values of single findings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from AnomalyDetectLib.errors import AnomalyDetectError, FindingsSettingsError
from AnomalyDetectLib.findings.healthy_components import (
    SIGNS,
    Counts,
    HealthyComponents,
    added,
    bin_of,
    count_components,
)
from AnomalyDetectLib.findings.settings import THRESHOLD_RANGE, FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps

FloatColumn = NDArray[np.float64]

FORMAT = 1
EXPECTED_RANGE = (0.01, 30.0)
# Below this many components in all scans a cell's count is too uncertain, and the trend of its neighbours is
# used.
RELIABLE_COUNT = 5
# A size band holds at least this many healthy components, or is widened.
BAND_COUNT = 30
# Beyond the healthy value that this many components exceed, the tail is exponential with their mean excess
# ...
TAIL_COUNT = 10
# ... and never promises more than this factor below 1 / (components + 1).
TAIL_FACTOR = 0.01
# Counts fall at least this fast, in log units per z and per log mm³, where the trend is all there is.
SLOWEST_FALL = 0.5


@dataclass(frozen=True, eq=False)
class FalseAlarmTable:
    """Expected findings in a healthy brain for any settings, from held-out healthy scans.

    components: the healthy components. Counts are interpolated log-linearly in threshold and log minimum
    volume; an opening counts as the next smaller one of the table. Hysteresis uses the components at the weak
    threshold whose peak reaches the strong one. Growing and shrinking change the minimum volume as they
    change a ball's volume. Closing, uncertainty and the filling of cavities (which was on) don't enter;
    `caveats` names what is approximate. summed: of two sequences, see `summed`.
    """

    components: HealthyComponents
    summed: bool = False

    @classmethod
    def from_maps(
        cls, scans: Iterable[AnomalyMaps], *, progress: Callable[[int], None] | None = None, **axes: Any
    ) -> FalseAlarmTable:
        """Calibrate on healthy scans that the model was not trained on; see `count_components`."""
        return cls(count_components(scans, progress=progress, **axes))

    @property
    def n_scans(self) -> int:
        """Healthy scans behind the table."""
        return self.components.n_scans

    def to_json(self) -> str:
        """The table as JSON, some tens of kB."""
        return json.dumps({"format": FORMAT, **self.components.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> FalseAlarmTable:
        """From `to_json`; raises `AnomalyDetectError` when it is damaged or of another version."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise AnomalyDetectError(f"false-alarm table: not JSON ({error}); calibrate again") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise AnomalyDetectError(f"false-alarm table: not of format {FORMAT}; calibrate the model again")
        return cls(HealthyComponents.from_dict(values))

    def expected(self, settings: FindingsSettings) -> float:
        """Mean number of findings in a healthy scan under these settings."""
        return float(self.expected_at(np.array([settings.threshold]), settings)[0])

    def expected_at(self, thresholds: FloatColumn, settings: FindingsSettings) -> FloatColumn:
        """`expected` for each threshold in z (n,) and the other settings; the weak threshold stays below."""
        thresholds = np.asarray(thresholds, dtype=np.float64)
        volume = _volume_before_growing(settings)
        if settings.hysteresis is None:
            return self._counted(thresholds, volume, settings)
        weak = np.minimum(settings.hysteresis, thresholds)
        reaching = np.array(
            [self._reaching(w, t, volume, settings) for w, t in zip(weak, thresholds, strict=True)]
        )
        return np.asarray(self._counted(weak, volume, settings) * reaching)

    def interval(
        self, settings: FindingsSettings, *, n_scans: int = 1, level: float = 0.95
    ) -> tuple[float, float]:
        """Where the mean number of findings of `n_scans` new healthy scans lies with probability `level`.

        A gamma-Poisson prediction: scans differ in their rate of findings as the calibration scans did, and
        the rate itself is known from only as many scans as the table holds. Moments: mean n μ, variance n s²
        (1 + n / m).
        """
        low, high = self.interval_at(np.array([settings.threshold]), settings, n_scans=n_scans, level=level)
        return float(low[0]), float(high[0])

    def interval_at(
        self, thresholds: FloatColumn, settings: FindingsSettings, *, n_scans: int = 1, level: float = 0.95
    ) -> tuple[FloatColumn, FloatColumn]:
        """`interval` for each threshold in z (n,): lower and upper ends."""
        mean = self.expected_at(thresholds, settings)
        weakest = thresholds if settings.hysteresis is None else np.minimum(settings.hysteresis, thresholds)
        spread = self._interpolated(self._overdispersion, weakest, _volume_before_growing(settings), settings)
        total = n_scans * mean
        variance = n_scans * (mean + spread * mean**2) * (1 + n_scans / self.n_scans)
        excess = np.maximum(variance - total, 1e-9 * total)
        shape = total**2 / excess
        tail = (1 - level) / 2
        ends = stats.nbinom.ppf([[tail], [1 - tail]], shape, shape / (shape + total)) / n_scans
        return ends[0], ends[1]

    def threshold_for(self, expected: float, settings: FindingsSettings) -> float:
        """The threshold in z at which a healthy scan shows `expected` findings (0.01 to 30), never rising
        with it.

        Below one finding in all healthy scans (see `extrapolates`) the trend of the tail is followed. When no
        threshold gives that many findings, the one that gives the most. Raises `FindingsSettingsError`
        outside of the range.
        """
        low, high = EXPECTED_RANGE
        if not (isinstance(expected, (int, float, np.number)) and low <= float(expected) <= high):
            raise FindingsSettingsError(
                f"expected false alarms: {expected!r} is not allowed; "
                f"the allowed range is {low:g} to {high:g}"
            )
        grid = np.asarray(self.components.thresholds)
        grid = np.append(grid, grid[-1] * np.linspace(1.2, 3, 10))
        thresholds = np.interp(np.arange(8 * len(grid) - 7) / 8, np.arange(len(grid)), grid)
        log_expected = np.log(np.maximum(self.expected_at(thresholds, settings), 1e-12))
        # Near the lowest thresholds components merge and counts fall again: only the outer, falling branch
        # counts.
        falling = np.maximum.accumulate(log_expected[::-1])
        found = np.interp(math.log(expected), falling, thresholds[::-1])
        return float(np.clip(found, *THRESHOLD_RANGE))

    def extrapolates(self, expected: float) -> bool:
        """Whether so few findings lie beyond what the healthy scans can show: below 1 / their number."""
        return expected < 1 / self.n_scans

    def caveats(self, settings: FindingsSettings) -> tuple[str, ...]:
        """What makes `expected` approximate under these settings, one sentence each."""
        notes = []
        if self.summed:
            notes.append("Two sequences: the false alarms of both are added; there may be fewer.")
        if self.extrapolates(self.expected(settings)):
            notes.append(f"Less than one finding in {self.n_scans} healthy scans: the tail is extrapolated.")
        if settings.close_mm > 0:
            notes.append("Closing is not calibrated: neighbouring findings may merge.")
        if settings.grow_mm != 0:
            notes.append("Growing and shrinking are calibrated for ball-shaped findings.")
        if settings.open_mm > self.components.openings_mm[-1]:
            notes.append(f"Opening is calibrated up to {self.components.openings_mm[-1]:g} mm.")
        if settings.max_uncertainty is not None and settings.hide_uncertain:
            notes.append("Hidden uncertain findings are counted as expected.")
        return tuple(notes)

    def p_values(
        self,
        settings: FindingsSettings,
        *,
        sign: NDArray[np.int8],
        volume_mm3: FloatColumn,
        peak: FloatColumn,
        mean: FloatColumn,
    ) -> FloatColumn:
        """p of each finding (n,) among the healthy components of its size band at the same threshold.

        sign: 1 or -1. peak, mean: |score|, z. The smaller of two, times two: p of the peak, and p of the mass
        (volume times mean). A healthy component that reached the threshold has a uniform p, as in topological
        inference (Chumbley & Friston, NeuroImage 2009). Beyond the strongest healthy components the tail is
        extrapolated.
        """
        opening, threshold = at = self._nearest(settings)
        excess_of_peak, excess_of_mean = peak - settings.weakest, mean - settings.weakest
        p = np.ones(len(sign))
        for finding in range(len(sign)):
            which = 0 if sign[finding] > 0 else 1
            volume = float(volume_mm3[finding])
            band = self._band(which, at, volume)
            of_size = self.components.peaks[which, opening, threshold, band].sum(axis=0)
            of_peak = _tail(np.asarray(self.components.excesses), of_size, float(excess_of_peak[finding]))
            of_mass = self._mass_tail(which, at, band, volume, float(excess_of_mean[finding]))
            p[finding] = min(1.0, 2 * min(of_peak, of_mass))
        return p

    @cached_property
    def _log_expected(self) -> FloatColumn:
        """Log of the count to be expected (3, o, t, v), completed by the trends where components are few.

        Not the mean of the calibration scans itself: a threshold chosen where they happen to show few
        findings shows more in new scans. To second order these have more by the squared relative error of the
        mean, (1 / μ + s²) / m in m scans; for Poisson counts k that is (k + 1) / m instead of k / m.
        """
        counts, m = self.components.exceedances(), self.n_scans
        log_mean = np.log(np.maximum(counts, 1) / m)
        thresholds = np.asarray(self.components.thresholds)
        # The first size bin starts at 0; its stand-in on the log axis only has to come before the next.
        log_volumes = _log_volumes(self.components.volumes_mm3)
        for cell in np.ndindex(counts.shape[:2]):
            log_mean[cell] = _completed(log_mean[cell], counts[cell], thresholds, log_volumes)
        # A trend is as sure as the last counts that it goes on from.
        of_mean = np.minimum(np.exp(-log_mean) / m, 1 / RELIABLE_COUNT)
        log_mean += np.log1p(of_mean + self._overdispersion / m)
        log_mean = np.minimum.accumulate(log_mean, axis=3)
        log_mean[2] = np.maximum(log_mean[2], log_mean[:2].max(axis=0))  # trends may cross, sums may not
        return log_mean

    @cached_property
    def _overdispersion(self) -> FloatColumn:
        """Variance beyond Poisson over squared mean (3, o, t, v); where few, that of lower thresholds."""
        counts, m = self.components.exceedances(), self.n_scans
        mean = counts / m
        variance = (self.components.squares - counts * mean) / max(m - 1, 1)
        spread = np.maximum(variance - mean, 0) / np.maximum(mean, 1e-9) ** 2
        enough = counts >= 2 * RELIABLE_COUNT
        for at in range(1, counts.shape[2]):
            spread[:, :, at] = np.where(enough[:, :, at], spread[:, :, at], spread[:, :, at - 1])
        return np.asarray(spread)

    def _counted(self, thresholds: FloatColumn, volume_mm3: float, settings: FindingsSettings) -> FloatColumn:
        """Mean number of components of at least that size at each threshold (n,)."""
        return np.exp(self._interpolated(self._log_expected, thresholds, volume_mm3, settings))

    def _interpolated(
        self, values: FloatColumn, thresholds: FloatColumn, volume_mm3: float, settings: FindingsSettings
    ) -> FloatColumn:
        """(3, o, t, v) at thresholds (n,), at one volume and at the settings' opening and sign, linear."""
        axes = self.components
        at_sign = values[SIGNS.index(settings.sign)]
        # A ball grows in steps as its radius does: between two radii of the table, the smaller one's effect
        # is sure.
        opening = int(bin_of(np.array([settings.open_mm]), axes.openings_mm)[0])
        log_volume = math.log(max(volume_mm3, 1e-9))
        volume, weight_v = _between(log_volume, _log_volumes(axes.volumes_mm3))
        upper = min(volume + 1, len(axes.volumes_mm3) - 1)
        line = at_sign[opening, :, volume]
        line = line + weight_v * (at_sign[opening, :, upper] - line)
        grid = np.asarray(axes.thresholds)
        inside = np.interp(thresholds, grid, line)
        if values is not self._log_expected:
            return np.asarray(inside)
        slope = (line[-1] - line[-2]) / (grid[-1] - grid[-2])
        return np.asarray(inside + np.maximum(thresholds - grid[-1], 0) * min(slope, -SLOWEST_FALL))

    def _reaching(self, weak: float, strong: float, volume_mm3: float, settings: FindingsSettings) -> float:
        """Share of the components at the weak threshold whose peak reaches the strong one."""
        if strong <= weak:
            return 1.0
        at = self._nearest(settings.changed(threshold=weak, hysteresis=None))
        size = int(bin_of(np.array([volume_mm3]), self.components.volumes_mm3)[0])
        signs = {"bright": slice(0, 1), "dark": slice(1, 2), "both": slice(0, 2)}[settings.sign]
        histogram = self.components.peaks[signs, at[0], at[1], size:].sum(axis=(0, 1))
        return _tail(np.asarray(self.components.excesses), histogram, strong - weak)

    def _nearest(self, settings: FindingsSettings) -> tuple[int, int]:
        """The table's opening and threshold nearest to the settings' that have healthy components."""
        opening = int(bin_of(np.array([settings.open_mm]), self.components.openings_mm)[0])
        enough = self.components.peaks[:, opening].sum(axis=(0, 2, 3)) >= BAND_COUNT
        distance = np.abs(np.asarray(self.components.thresholds) - settings.weakest)
        return opening, int(np.where(enough, distance, distance + 1e6).argmin())

    def _band(self, sign: int, at: tuple[int, int], volume_mm3: float) -> slice:
        """Size bins within an octave of the volume, widened to hold `BAND_COUNT` healthy components."""
        of_size = self.components.peaks[sign, at[0], at[1]].sum(axis=1)
        centre = int(bin_of(np.array([volume_mm3]), self.components.volumes_mm3)[0])
        low, high = max(centre - 2, 0), min(centre + 3, len(of_size))
        while of_size[low:high].sum() < BAND_COUNT and (low > 0 or high < len(of_size)):
            low, high = max(low - 1, 0), min(high + 1, len(of_size))
        return slice(low, high)

    def _mass_tail(
        self, sign: int, at: tuple[int, int], band: slice, volume_mm3: float, excess: float
    ) -> float:
        """p of volume times mean in a size band, on the log scale, where tails are closer to exponential."""
        axes = self.components
        upper = np.append(np.asarray(axes.volumes_mm3[1:]), 2 * axes.volumes_mm3[-1])
        volumes = np.sqrt(np.maximum(np.asarray(axes.volumes_mm3), 1) * np.maximum(upper, 1))[band]
        means = axes.thresholds[at[1]] + np.asarray(axes.excesses)
        log_mass = np.log(volumes[:, None] * means[None, :]).ravel()
        order = np.argsort(log_mass)
        histogram: Counts = axes.means[sign, at[0], at[1], band].ravel()
        floor = log_mass[order][0]
        mean = axes.thresholds[at[1]] + excess
        value = math.log(max(volume_mm3 * mean, 1e-9)) - floor
        return _tail(log_mass[order] - floor, histogram[order], value)


def summed(one: FalseAlarmTable | None, two: FalseAlarmTable | None) -> FalseAlarmTable | None:
    """The table of a score that two sequences share: at most the sum of both; None when one has no table.

    Raises `AnomalyDetectError` when the tables' axes differ.
    """
    if one is None or two is None:
        return None
    return FalseAlarmTable(added(one.components, two.components), summed=True)


def benjamini_hochberg(p: FloatColumn) -> FloatColumn:
    """q of each p (n,): the smallest false discovery rate that finds it (Benjamini & Hochberg 1995)."""
    n = len(p)
    if n == 0:
        return np.asarray(p, dtype=np.float64)
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def _tail(edges: FloatColumn, histogram: Counts, value: float) -> float:
    """(1 + components that reach the value) / (1 + components), from counts by lower edges."""
    n = int(histogram.sum())
    if n == 0 or value <= edges[0]:
        return 1.0
    reaching = np.append(histogram[::-1].cumsum()[::-1], 0).astype(np.float64)
    ends = np.append(edges, 2 * edges[-1] - edges[-2])
    known = int(np.flatnonzero(reaching >= min(TAIL_COUNT, n))[-1])
    if value <= ends[known]:
        return float((1 + np.interp(value, ends, reaching)) / (1 + n))
    middles = (ends[:-1] + ends[1:]) / 2
    beyond = histogram[known:]
    mean_excess = float((beyond * (middles[known:] - ends[known])).sum() / beyond.sum())
    p = (1 + reaching[known]) / (1 + n) * math.exp(-(value - ends[known]) / mean_excess)
    return float(max(p, TAIL_FACTOR / (1 + n)))


def _completed(
    log_mean: FloatColumn, counts: Counts, thresholds: FloatColumn, log_volumes: FloatColumn
) -> FloatColumn:
    """Log counts (t, v), unreliable cells replaced by the trend along the threshold, else the volume."""
    result = log_mean.copy()
    reliable = counts >= RELIABLE_COUNT
    known = reliable.copy()
    for v in range(len(log_volumes)):
        at = np.flatnonzero(reliable[:, v])
        if len(at) >= 2:
            last = slice(max(at[-1] - 3, at[0]), at[-1] + 1)
            slope = _slope(thresholds[last], result[last, v], counts[last, v])
            beyond = thresholds[at[-1] + 1 :] - thresholds[at[-1]]
            result[at[-1] + 1 :, v] = result[at[-1], v] + slope * beyond
            result[: at[0], v] = result[at[0], v]
            known[:, v] = True
    for t in range(len(thresholds)):
        at = np.flatnonzero(known[t])
        if len(at) == 0:
            result[t] = result[t].min() - SLOWEST_FALL * thresholds[t]
            continue
        last = slice(max(at[-1] - 3, 0), at[-1] + 1)
        slope = _slope(log_volumes[last], result[t, last], np.maximum(counts[t, last], 1))
        result[t, at[-1] + 1 :] = result[t, at[-1]] + slope * (
            log_volumes[at[-1] + 1 :] - log_volumes[at[-1]]
        )
    return np.minimum.accumulate(result, axis=1)  # no more components of a larger size than of a smaller one


def _slope(x: FloatColumn, y: FloatColumn, weights: Counts) -> float:
    """Weighted least-squares slope, at most `-SLOWEST_FALL`."""
    if len(x) < 2:
        return -SLOWEST_FALL
    w = weights / weights.sum()
    centre = (w * x).sum()
    slope = (w * (x - centre) * y).sum() / max((w * (x - centre) ** 2).sum(), 1e-12)
    return float(min(slope, -SLOWEST_FALL))


def _between(value: float, grid: FloatColumn) -> tuple[int, float]:
    """The grid interval that holds the value, and how far along it lies, 0 to 1; clamped to the grid."""
    if len(grid) == 1:
        return 0, 0.0
    at = int(np.clip(np.searchsorted(grid, value, side="right") - 1, 0, len(grid) - 2))
    return at, float(np.clip((value - grid[at]) / (grid[at + 1] - grid[at]), 0, 1))


def _log_volumes(volumes_mm3: tuple[float, ...]) -> FloatColumn:
    return np.asarray(np.log(np.maximum(np.asarray(volumes_mm3), 0.5)))


def _volume_before_growing(settings: FindingsSettings) -> float:
    """The minimum volume in mm³ that a ball has before it is grown to the settings' minimum."""
    if settings.grow_mm == 0:
        return settings.min_volume_mm3
    radius = (settings.min_volume_mm3 * 3 / (4 * math.pi)) ** (1 / 3) - settings.grow_mm
    return float(4 / 3 * math.pi * max(radius, 0.0) ** 3)
