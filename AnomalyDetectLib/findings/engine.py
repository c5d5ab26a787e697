"""FindingsEngine: built once per case from the anomaly maps, answers any settings at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cc3d
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import FindingsSettingsError
from AnomalyDetectLib.findings.atlas import RegionAtlas
from AnomalyDetectLib.findings.cavities import filled
from AnomalyDetectLib.findings.findings import Findings, FloatColumn, Measures
from AnomalyDetectLib.findings.morphology import closed, dilate, erode, opened
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import BoolArray, FloatArray

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable

T = TypeVar("T")

BRIGHT, DARK = 1, 2

# A volume of n voxels is not below a minimum of n voxels although the affine carries rounding errors.
VOLUME_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components before the minimum volume.

    box_voxels: flat indices (m,) in the engine's box, ascending. labels: (m,), 0 to n-1. counts: voxels (n,).
    first: position in `box_voxels` of each component's first voxel (n,). sign: 1 or -1, (n,).
    """

    box_voxels: NDArray[np.int64]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    sign: NDArray[np.int8]


class FindingsEngine:
    """Answers `at(settings)` for one case.

    The semantics, in this order, with M the brain mask, on the unbounded grid that is empty outside of the
    scan:

    1. Threshold. Bright: score >= threshold; dark: score <= -threshold; both inside M. A score that is not a
       number counts as 0. With hysteresis, the 26-connected components of score >= weak (or <= -weak) that
       hold at least one voxel beyond the threshold.
    2. Fill: cavities, that is 6-connected parts of the outside that do not reach infinity, are added, inside
       M.
    3. Opening, 4. closing, 5. growing (or shrinking), each with the ball {x : |x| <= radius} in mm, voxel
       centre to voxel centre, with the grid's spacing (a shear of the affine is ignored); each result is cut
       to M. All of 1 to 5 is done for each sign alone.
    6. A voxel claimed by both signs is bright where its score is >= 0, else dark.
    7. Components: 26-connected; bright and dark never merge.
    8. Components of less than the minimum volume are dropped.
    9. Components whose mean uncertainty is above the limit are uncertain: hidden, or kept and marked.

    Findings are ranked by volume, equal ones by their first voxel in C order; the id is rank + 1.

    The engine keeps the last result of every stage, so a step recomputes only what its setting touches. It is
    not for several threads at a time; the findings it gives are independent of it and of each other.
    """

    def __init__(
        self,
        maps: AnomalyMaps,
        *,
        false_alarms: FalseAlarmTable | None = None,
        atlas: RegionAtlas | None = None,
    ) -> None:
        """maps: of one case. false_alarms: the calibration, gives p and q. atlas: the regions' names."""
        self.maps = maps
        self.false_alarms = false_alarms
        self.atlas = atlas or RegionAtlas()
        self.brain_mm3 = float(np.count_nonzero(maps.brain)) * maps.grid.voxel_mm3
        self._stages: dict[str, tuple[Hashable, Any]] = {}
        window = _bounding_box(maps.brain)
        # One voxel of margin on every side: the outside is one connected part, whatever the brain's shape.
        inner = (slice(1, -1),) * 3
        shape = tuple(side.stop - side.start + 2 for side in window)
        self._brain: BoolArray = np.zeros(shape, dtype=np.bool_)
        self._brain[inner] = maps.brain[window]
        self._score: FloatArray = np.zeros(shape, dtype=np.float32)
        self._score[inner] = np.where(maps.brain[window], np.nan_to_num(maps.score[window], nan=0.0), 0)
        self._uncertainty: FloatArray = np.zeros(shape, dtype=np.float32)
        self._uncertainty[inner] = maps.uncertainty[window]
        self._grid_voxel = np.zeros(shape, dtype=np.int32)
        self._grid_voxel[inner] = _flat_indices(maps.grid.shape, window)

    def at(self, settings: FindingsSettings) -> Findings:
        """The findings under these settings.

        Raises `FindingsSettingsError` when the minimum volume is above the brain's.
        """
        self._check(settings)
        components = self.components(settings)
        key = (shape_key(settings), settings.max_uncertainty)
        above_limit = self._stage("uncertainty", key, lambda: self._above_limit(settings, components))
        enough = components.counts >= min_voxels(settings.min_volume_mm3, self.maps.grid.voxel_mm3)
        uncertain = enough & above_limit
        kept = enough & ~uncertain if settings.hide_uncertain else enough
        which = np.flatnonzero(kept)
        which = which[np.lexsort((components.first[which], -components.counts[which]))]
        rank_of = np.full(len(kept), -1, dtype=np.int32)
        rank_of[which] = np.arange(len(which), dtype=np.int32)
        ranks = rank_of[components.labels]
        inside = ranks >= 0
        n_uncertain = int(np.count_nonzero(uncertain))
        return Findings(
            settings=settings,
            maps=self.maps,
            voxels=self._grid_voxel.reshape(-1)[components.box_voxels[inside]],
            ranks=ranks[inside],
            ids=np.arange(1, len(which) + 1, dtype=np.int32),
            measures=Measures(components.counts[which], components.sign[which], above_limit[which]),
            n_uncertain=n_uncertain,
            n_hidden=n_uncertain if settings.hide_uncertain else 0,
            atlas=self.atlas,
            false_alarms=self.false_alarms,
        )

    def fork(self) -> FindingsEngine:
        """An engine on the same maps, without a copy of them, that keeps stages of its own."""
        other = copy(self)
        other._stages = {}
        return other

    @property
    def largest_score(self) -> float:
        """The largest |score| in the brain, z."""
        return float(max(self._score.max(), -self._score.min()))

    def components(self, settings: FindingsSettings) -> Components:
        """The components of stage 7, before minimum volume and uncertainty."""
        return self._stage("components", shape_key(settings), lambda: self._label(settings))

    def strengths(self, components: Components) -> tuple[FloatColumn, FloatColumn]:
        """Largest and mean |score| in z, in the direction of its sign, of each component (n,)."""
        if len(components.counts) == 0:
            return np.zeros(0), np.zeros(0)
        score = self._score.reshape(-1)[components.box_voxels] * components.sign[components.labels]
        starts = np.flatnonzero(np.diff(components.labels, prepend=-1))
        peak = np.full(len(components.counts), -np.inf)
        np.maximum.at(peak, components.labels[starts], np.maximum.reduceat(score, starts))
        return peak, np.bincount(components.labels, weights=score) / components.counts

    def _stage(self, name: str, key: Hashable, compute: Callable[[], T]) -> T:
        """The stage's last result when it was computed for the same key, else a new one."""
        kept = self._stages.get(name)
        if kept is None or kept[0] != key:
            kept = self._stages[name] = (key, compute())
        return cast(T, kept[1])

    def _check(self, settings: FindingsSettings) -> None:
        if settings.min_volume_mm3 > self.brain_mm3 > 0:
            raise FindingsSettingsError(
                f"min_volume_mm3: {settings.min_volume_mm3:g} mm³ is more than the brain; "
                f"the allowed range is 0 to {self.brain_mm3:g} mm³"
            )

    def _mask(self, settings: FindingsSettings, sign: int) -> BoolArray:
        """Stages 1 to 5 for one sign, bool on the box."""
        spacing, s = self.maps.grid.spacing, settings
        chain: tuple[tuple[str, Hashable, Callable[[BoolArray], BoolArray]], ...] = (
            ("threshold", (s.threshold, s.hysteresis), lambda _: self._beyond(s, sign)),
            ("fill", s.fill_holes, lambda mask: filled(mask) & self._brain if s.fill_holes else mask),
            ("open", s.open_mm, lambda mask: opened(mask, s.open_mm, spacing)),
            ("close", s.close_mm, lambda mask: closed(mask, s.close_mm, spacing) & self._brain),
            ("grow", s.grow_mm, lambda mask: self._grown(mask, s.grow_mm)),
        )
        mask = self._brain
        key: tuple[Hashable, ...] = (sign,)
        for name, value, step in chain:
            key = (*key, value)
            mask = self._stage(f"{name} {sign}", key, partial(step, mask))
        return mask

    def _beyond(self, settings: FindingsSettings, sign: int) -> BoolArray:
        """Stage 1, bool on the box."""
        if settings.hysteresis is None or settings.hysteresis == settings.threshold:
            return _beyond(self._score, settings.threshold, sign)
        key = (settings.threshold, settings.hysteresis, settings.sign)
        seeded = self._stage("hysteresis", key, lambda: self._seeded(settings))
        return np.asarray(seeded == (BRIGHT if sign > 0 else DARK))

    def _seeded(self, settings: FindingsSettings) -> NDArray[np.uint8]:
        """`BRIGHT` or `DARK` in the weak components of either sign that hold a strong voxel, on the box."""
        weak = self._signs(settings.weakest, settings.signs)
        image, n = cc3d.connected_components(weak, connectivity=26, return_N=True)
        voxels = np.flatnonzero(weak != 0)
        labels = image.reshape(-1)[voxels]
        strong = np.abs(self._score.reshape(-1)[voxels]) >= np.float32(settings.threshold)
        seeded = np.zeros(n + 1, dtype=np.uint8)
        seeded[labels[strong]] = 1
        weak.reshape(-1)[voxels] *= seeded[labels]
        return weak

    def _signs(self, threshold: float, signs: tuple[int, ...]) -> NDArray[np.uint8]:
        """`BRIGHT` or `DARK` where |score| is beyond the threshold, on the box."""
        result = np.zeros(self._score.shape, dtype=np.uint8)
        for sign in signs:
            beyond = _beyond(self._score, threshold, sign).view(np.uint8)
            result += beyond if sign > 0 else beyond + beyond
        return result

    def _grown(self, mask: BoolArray, grow_mm: float) -> BoolArray:
        """Stage 5, bool on the box."""
        if grow_mm > 0:
            return dilate(mask, grow_mm, self.maps.grid.spacing) & self._brain
        return erode(mask, -grow_mm, self.maps.grid.spacing)

    def _label(self, settings: FindingsSettings) -> Components:
        """Stages 1 to 7."""
        marked, signs = self._marked({sign: self._mask(settings, sign) for sign in settings.signs})
        image, n = cc3d.connected_components(signs, connectivity=26, return_N=True)
        box_voxels = np.flatnonzero(marked)
        labels = image.reshape(-1)[box_voxels].astype(np.int64) - 1
        # Neighbours in memory mostly share a label: counting runs is faster than counting voxels.
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        label_of_run = labels[starts]
        lengths = np.diff(starts, append=len(labels))
        counts = np.bincount(label_of_run, weights=lengths, minlength=n).astype(np.int64)
        first = np.zeros(n, dtype=np.int64)
        first[label_of_run[::-1]] = starts[::-1]  # the last one written is the first voxel
        sign = np.where(signs.reshape(-1)[box_voxels[first]] == BRIGHT, 1, -1).astype(np.int8)
        return Components(box_voxels, labels, counts, first, sign)

    def _marked(self, masks: dict[int, BoolArray]) -> tuple[BoolArray, NDArray[np.uint8]]:
        """Stage 6: the voxels of either sign, and `BRIGHT` or `DARK` at each, on the box."""
        if len(masks) == 1:
            (sign, mask), *_ = masks.items()
            return mask, mask.view(np.uint8) * np.uint8(BRIGHT if sign > 0 else DARK)
        bright, dark = masks[1].view(np.uint8), masks[-1].view(np.uint8)
        signs = dark + dark
        signs += bright
        claimed = np.flatnonzero(masks[1] & masks[-1])
        signs.reshape(-1)[claimed] = np.where(self._score.reshape(-1)[claimed] >= 0, BRIGHT, DARK)
        return masks[1] | masks[-1], signs

    def _above_limit(self, settings: FindingsSettings, components: Components) -> BoolArray:
        """Stage 9: whether each component's mean uncertainty is above the limit (n,)."""
        if settings.max_uncertainty is None:
            return np.zeros(len(components.counts), dtype=np.bool_)
        values = self._uncertainty.reshape(-1)[components.box_voxels]
        total = np.bincount(components.labels, weights=values, minlength=len(components.counts))
        return np.asarray(total / np.maximum(components.counts, 1) > settings.max_uncertainty)


def min_voxels(min_volume_mm3: float, voxel_mm3: float) -> int:
    """The smallest number of voxels whose volume is not below the minimum."""
    return max(1, math.ceil(min_volume_mm3 / voxel_mm3 - VOLUME_TOLERANCE))


def shape_key(settings: FindingsSettings) -> Hashable:
    """What the components depend on."""
    s = settings
    return (s.sign, s.threshold, s.hysteresis, s.fill_holes, s.open_mm, s.close_mm, s.grow_mm)


def _beyond(score: FloatArray, threshold: float, sign: int) -> BoolArray:
    return np.asarray(score >= np.float32(threshold) if sign > 0 else score <= np.float32(-threshold))


def _bounding_box(mask: BoolArray) -> tuple[slice, slice, slice]:
    """The smallest box (i,j,k) that holds the mask; empty for an empty mask."""
    sides = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(int(line[0]), int(line[-1]) + 1) if len(line) else slice(0, 0))
    return sides[0], sides[1], sides[2]


def _flat_indices(shape: tuple[int, int, int], window: tuple[slice, slice, slice]) -> NDArray[np.int32]:
    """Flat C-order index on the whole grid of each voxel of the window (i,j,k)."""
    i, j, k = (np.arange(side.start, side.stop, dtype=np.int32) for side in window)
    return np.asarray((i[:, None, None] * shape[1] + j[:, None]) * shape[2] + k)
