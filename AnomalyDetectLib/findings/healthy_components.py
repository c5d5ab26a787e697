"""Components that healthy scans hold by chance: how many, how large and how strong, pooled over scans."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps

Counts = NDArray[np.int64]

# z at which components are counted: close together where slider positions lie, up to scores of gross
# artefacts.
THRESHOLDS = (
    *(1 + 0.25 * step for step in range(13)),
    *(4.5 + 0.5 * step for step in range(8)),
    *(9.0, 10.0, 12.0, 15.0, 20.0),
)
OPENINGS_MM = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0)
# mm³, lower edges of size bins, half an octave wide.
VOLUMES_MM3 = (0.0, *(round(5 * 2 ** (step / 2), 2) for step in range(20)), 10000.0, 40000.0)
# z above the threshold, lower edges of the bins of a component's peak and mean.
EXCESSES = (
    *(0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0),
    *(2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0),
)
NO_SCAN = "false-alarm table: no healthy scan was given; at least one is needed"
SIGNS = ("bright", "dark", "both")


@dataclass(frozen=True, eq=False)
class HealthyComponents:
    """Histograms over all components of all healthy scans.

    thresholds: z (t,). openings_mm: mm (o,). volumes_mm3: lower edges of size bins (v,). excesses: lower
    edges of the bins of z above the threshold (e,). n_scans. peaks, means: int64 (2, o, t, v, e), components
    by sign (bright, dark), opening, threshold, size and the excess of their largest and of their mean
    |score|. squares: int64 (3, o, t, v), the sum over scans of the squared number of components of at least
    that size, for bright, dark, both.
    """

    thresholds: tuple[float, ...]
    openings_mm: tuple[float, ...]
    volumes_mm3: tuple[float, ...]
    excesses: tuple[float, ...]
    n_scans: int
    peaks: Counts
    means: Counts
    squares: Counts

    def exceedances(self) -> Counts:
        """Components of at least each size, over all scans: int64 (3, o, t, v), for bright, dark, both."""
        at_least = self.peaks.sum(axis=4)[..., ::-1].cumsum(axis=3)[..., ::-1]
        return np.concatenate([at_least, at_least.sum(axis=0, keepdims=True)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the histograms compressed, since most of their cells are empty."""
        return {
            "thresholds": list(self.thresholds),
            "openings_mm": list(self.openings_mm),
            "volumes_mm3": list(self.volumes_mm3),
            "excesses": list(self.excesses),
            "n_scans": self.n_scans,
            **{name: _packed(getattr(self, name)) for name in ("peaks", "means", "squares")},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HealthyComponents:
        """From `to_dict`; raises `AnomalyDetectError` when something is missing or damaged."""
        try:
            axes = {
                name: tuple(float(value) for value in values[name])
                for name in ("thresholds", "openings_mm", "volumes_mm3", "excesses")
            }
            t, o, v, e = (len(axis) for axis in axes.values())
            return cls(
                thresholds=axes["thresholds"],
                openings_mm=axes["openings_mm"],
                volumes_mm3=axes["volumes_mm3"],
                excesses=axes["excesses"],
                n_scans=int(values["n_scans"]),
                peaks=_unpacked(values["peaks"], (2, o, t, v, e)),
                means=_unpacked(values["means"], (2, o, t, v, e)),
                squares=_unpacked(values["squares"], (3, o, t, v)),
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise AnomalyDetectError(f"false-alarm table: damaged ({error}); calibrate again") from error


def count_components(
    scans: Iterable[AnomalyMaps],
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
    openings_mm: tuple[float, ...] = OPENINGS_MM,
    progress: Callable[[int], None] | None = None,
) -> HealthyComponents:
    """Count the components of held-out healthy scans, one scan in memory at a time.

    progress: called with the number of scans done. Raises `AnomalyDetectError` when there is no scan.
    """
    shape = (len(openings_mm), len(thresholds), len(VOLUMES_MM3))
    peaks = np.zeros((2, *shape, len(EXCESSES)), dtype=np.int64)
    means = np.zeros_like(peaks)
    squares = np.zeros((3, *shape), dtype=np.int64)
    n_scans = 0
    for n_scans, maps in enumerate(scans, start=1):
        peak, mean = _histograms(FindingsEngine(maps), thresholds, openings_mm)
        at_least = peak.sum(axis=4)[..., ::-1].cumsum(axis=3)[..., ::-1]
        squares += np.concatenate([at_least, at_least.sum(axis=0, keepdims=True)]) ** 2
        peaks += peak
        means += mean
        if progress is not None:
            progress(n_scans)
    if n_scans == 0:
        raise AnomalyDetectError(NO_SCAN)
    return HealthyComponents(
        thresholds, openings_mm, VOLUMES_MM3, EXCESSES, n_scans, peaks=peaks, means=means, squares=squares
    )


def pooled(parts: Iterable[HealthyComponents]) -> HealthyComponents:
    """The components of several sets of scans together; the axes are those of the first.

    Raises `AnomalyDetectError` when there is no set.
    """
    every = list(parts)
    if not every:
        raise AnomalyDetectError(NO_SCAN)
    return replace(
        every[0],
        n_scans=sum(one.n_scans for one in every),
        peaks=np.sum([one.peaks for one in every], axis=0),
        means=np.sum([one.means for one in every], axis=0),
        squares=np.sum([one.squares for one in every], axis=0),
    )


def added(one: HealthyComponents, two: HealthyComponents) -> HealthyComponents:
    """At most what two sequences of the same healthy heads show together: the components of both.

    The counts are scaled to the smaller number of scans, which is what is known for sure. How the two go
    together is not known; the squares are the largest that there can be, (√a + √b)² (Cauchy-Schwarz).
    Raises `AnomalyDetectError` when the axes differ.
    """
    if _axes(one) != _axes(two):
        raise AnomalyDetectError(
            "false-alarm tables: those of two models differ in axes; calibrate both again"
        )
    n = min(one.n_scans, two.n_scans)
    shares = [n / part.n_scans for part in (one, two)]
    roots = [np.sqrt(part.squares * share) for part, share in zip((one, two), shares, strict=True)]
    return replace(
        one,
        n_scans=n,
        peaks=_scaled(one.peaks, shares[0]) + _scaled(two.peaks, shares[1]),
        means=_scaled(one.means, shares[0]) + _scaled(two.means, shares[1]),
        squares=np.ceil((roots[0] + roots[1]) ** 2 - 1e-9).astype(np.int64),
    )


def _axes(components: HealthyComponents) -> tuple[tuple[float, ...], ...]:
    return (components.thresholds, components.openings_mm, components.volumes_mm3, components.excesses)


def _scaled(counts: Counts, share: float) -> Counts:
    """Histograms (2, o, t, v, e) times a share, in whole components, of which none gets lost: rounded are
    the numbers that reach a size and strength, not those of single cells.
    """
    if share == 1:
        return counts
    cells = counts.reshape(*counts.shape[:3], -1)[..., ::-1]
    reaching = np.rint(cells.cumsum(axis=3) * share).astype(np.int64)
    scaled = np.diff(reaching, axis=3, prepend=0)[..., ::-1]
    return np.asarray(scaled.reshape(counts.shape))


def _histograms(
    engine: FindingsEngine, thresholds: tuple[float, ...], openings_mm: tuple[float, ...]
) -> tuple[Counts, Counts]:
    """One scan's components by the excess of their peak, and of their mean: two of (2, o, t, v, e)."""
    peaks = np.zeros((2, len(openings_mm), len(thresholds), len(VOLUMES_MM3), len(EXCESSES)), dtype=np.int64)
    means = np.zeros_like(peaks)
    for at, threshold in enumerate(thresholds):
        for opening, open_mm in enumerate(openings_mm):
            settings = FindingsSettings(threshold=threshold, open_mm=open_mm, min_volume_mm3=0)
            components = engine.components(settings)
            if len(components.counts) == 0:
                break  # a wider opening leaves nothing either
            peak, mean = engine.strengths(components)
            sign = (components.sign < 0).astype(np.int64)
            volume = bin_of(components.counts.astype(np.float64) * engine.maps.grid.voxel_mm3, VOLUMES_MM3)
            np.add.at(peaks[:, opening, at], (sign, volume, bin_of(peak - threshold, EXCESSES)), 1)
            np.add.at(means[:, opening, at], (sign, volume, bin_of(mean - threshold, EXCESSES)), 1)
    return peaks, means


def bin_of(values: NDArray[np.float64], edges: tuple[float, ...]) -> NDArray[np.int64]:
    """The bin, by lower edges, that each value falls into; the first for values below all of them."""
    # A volume that equals an edge but for rounding belongs to the bin that starts there.
    found = np.searchsorted(edges, np.asarray(values) * (1 + 1e-6), side="right") - 1
    return np.maximum(found, 0)


def _packed(array: Counts) -> str:
    return base64.b85encode(zlib.compress(array.astype("<i4").tobytes(), 9)).decode("ascii")


def _unpacked(text: str, shape: tuple[int, ...]) -> Counts:
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype="<i4").astype(np.int64).reshape(shape)
