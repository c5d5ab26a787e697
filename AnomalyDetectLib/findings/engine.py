"""FindingsEngine: built once per case from the anomaly maps, answers any settings at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cc3d
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import FindingsSettingsError
from AnomalyDetectLib.findings.atlas import RegionAtlas
from AnomalyDetectLib.findings.cavities import CavityLevels, filled
from AnomalyDetectLib.findings.component_tree import ComponentTree
from AnomalyDetectLib.findings.findings import Findings, FloatColumn, Measures
from AnomalyDetectLib.findings.morphology import closed, dilate, erode, opened
from AnomalyDetectLib.findings.settings import THRESHOLD_RANGE, FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import BoolArray, FloatArray

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable

T = TypeVar("T")

# Flat indices in the engine's box, ascending (m,); labels from 0 (m,); how many labels.
Labelled = tuple[NDArray[np.int64], NDArray[np.int64], int]

# Thresholds that keep at most so many voxels are looked up; the tree takes 0.3 s for a million.
LOOKED_UP_VOXELS = 750_000

# A volume of n voxels is not below a minimum of n voxels although the affine carries rounding errors.
VOLUME_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components before the minimum volume, the bright ones before the dark ones.

    box_voxels: flat indices (m,) in the engine's box, ascending within each sign. labels: (m,), 0 to n-1.
    counts: voxels (n,). first: flat index of each component's first voxel (n,). sign: 1 or -1, (n,).
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
        self._levels_and_trees()

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

    def _levels_and_trees(self) -> None:
        """What is found once so that a threshold is looked up: cavities and components at every threshold."""
        strength = np.abs(self._score[self._brain])
        floor = THRESHOLD_RANGE[0]
        if len(strength) > LOOKED_UP_VOXELS:
            floor = max(floor, float(np.partition(strength, -LOOKED_UP_VOXELS)[-LOOKED_UP_VOXELS]))

        def of_sign(sign: int) -> tuple[CavityLevels, FloatArray, ComponentTree]:
            score = np.maximum(self._score * np.float32(sign), 0)
            cavities = CavityLevels.of(score, self._brain)
            score.reshape(-1)[cavities.voxels] = cavities.levels
            return cavities, score, ComponentTree.of(score, floor)

        found = _for_each(of_sign, (1, -1))
        self._cavities = {sign: cavities for sign, (cavities, _, _) in found.items()}
        self._trees = {sign: tree for sign, (_, _, tree) in found.items()}
        # Up to here some voxel belongs to both signs, such as the dark core of a bright shell.
        self._claimed_up_to = float(np.minimum(found[1][1], found[-1][1]).max())

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
            ("threshold", (s.threshold, s.hysteresis, s.fill_holes), lambda _: self._filled(s, sign)),
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

    def _filled(self, settings: FindingsSettings, sign: int) -> BoolArray:
        """Stages 1 and 2, bool on the box."""
        if settings.hysteresis is not None:
            looked_up = self._beyond_and_filled(settings, sign)
            if looked_up is not None:
                mask = np.zeros(self._score.shape, dtype=np.bool_)
                mask.reshape(-1)[looked_up[0]] = True
                return mask
        mask = self._beyond(settings, sign)
        if not settings.fill_holes:
            return mask
        if settings.hysteresis is not None:
            return filled(mask) & self._brain
        self._cavities[sign].fill(mask, settings.threshold)
        return mask

    def _beyond(self, settings: FindingsSettings, sign: int) -> BoolArray:
        """Stage 1, bool on the box."""
        if settings.hysteresis is None:
            return _beyond(self._score, settings.threshold, sign)
        weak = _beyond(self._score, settings.hysteresis, sign)
        image, n = cc3d.connected_components(weak, connectivity=26, return_N=True)
        seeded = np.zeros(n + 1, dtype=np.bool_)
        seeded[image[_beyond(self._score, settings.threshold, sign)]] = True
        return np.asarray(seeded[image])

    def _grown(self, mask: BoolArray, grow_mm: float) -> BoolArray:
        """Stage 5, bool on the box."""
        if grow_mm > 0:
            return dilate(mask, grow_mm, self.maps.grid.spacing) & self._brain
        return erode(mask, -grow_mm, self.maps.grid.spacing)

    def _label(self, settings: FindingsSettings) -> Components:
        """Stages 1 to 7."""
        looked_up = self._looked_up(settings)
        if looked_up is not None:
            return looked_up
        masks = _for_each(lambda sign: self._mask(settings, sign), settings.signs)
        if len(masks) == 2:
            masks = self._apart(masks)
        return _joined(_for_each(lambda sign: _components(masks[sign], sign), settings.signs))

    def _looked_up(self, settings: FindingsSettings) -> Components | None:
        """Stages 1 to 7 where they are thresholds alone; None where they are not, or not in the trees."""
        s = settings
        if s.open_mm or s.close_mm or s.grow_mm:
            return None
        if s.sign == "both" and np.float32(s.weakest) <= self._claimed_up_to:
            return None
        found = _for_each(lambda sign: self._beyond_and_filled(s, sign), s.signs)
        parts = {sign: _numbered(*part, sign) for sign, part in found.items() if part is not None}
        return _joined(parts) if len(parts) == len(found) else None

    def _beyond_and_filled(self, settings: FindingsSettings, sign: int) -> Labelled | None:
        """Stages 1 and 2 for one sign from its tree; None when it doesn't hold them."""
        tree, weak = self._trees[sign], settings.weakest
        if np.float32(weak) < tree.floor:
            return None
        cavities = self._cavities[sign].at(weak)
        if len(cavities) and not settings.fill_holes:
            return None
        if settings.hysteresis is None:
            return tree.at(weak)
        if np.float32(weak) <= self._cavities[sign].cut_up_to:
            return None  # what is filled may lie apart from the shell that its seed lies in
        voxels, labels, n = tree.at(weak)
        seeded = tree.tops(weak) >= np.float32(settings.threshold)
        doubtful = np.zeros(n, dtype=np.bool_)
        doubtful[labels[np.searchsorted(voxels, cavities)]] = True
        inside = np.flatnonzero((doubtful & seeded)[labels])
        if len(inside) and not self._seeded_from_outside(voxels[inside], labels[inside], settings, sign):
            return None
        kept = seeded[labels]
        number = np.cumsum(seeded) - 1
        return voxels[kept], number[labels[kept]], int(seeded.sum())

    def _seeded_from_outside(
        self, voxels: NDArray[np.int64], labels: NDArray[np.int64], settings: FindingsSettings, sign: int
    ) -> bool:
        """Whether the outermost shell of each filled component (m,) holds a strong voxel itself.

        A component may hold another in a cavity; a strong voxel of that one alone doesn't seed the shell.
        """
        score = self._score.reshape(-1)[voxels] * np.float32(sign)
        weak = np.zeros(self._score.shape, dtype=np.bool_)
        weak.reshape(-1)[voxels[score >= np.float32(settings.weakest)]] = True
        image = cc3d.connected_components(weak, connectivity=26).reshape(-1)
        strong = np.unique(image[voxels[score >= np.float32(settings.threshold)]])
        # The first voxel of a component in C order is never in a cavity.
        _, first = np.unique(labels, return_index=True)
        return bool(np.all(np.isin(image[voxels[first]], strong)))

    def _apart(self, masks: dict[int, BoolArray]) -> dict[int, BoolArray]:
        """Stage 6, bool on the box."""
        claimed = np.flatnonzero(masks[1] & masks[-1])
        if len(claimed) == 0:
            return masks
        bright = self._score.reshape(-1)[claimed] >= 0
        bright_mask, dark_mask = masks[1].copy(), masks[-1].copy()
        bright_mask.reshape(-1)[claimed] = bright
        dark_mask.reshape(-1)[claimed] = ~bright
        return {1: bright_mask, -1: dark_mask}

    def _above_limit(self, settings: FindingsSettings, components: Components) -> BoolArray:
        """Stage 9: whether each component's mean uncertainty is above the limit (n,)."""
        if settings.max_uncertainty is None:
            return np.zeros(len(components.counts), dtype=np.bool_)
        values = self._uncertainty.reshape(-1)[components.box_voxels]
        total = np.bincount(components.labels, weights=values, minlength=len(components.counts))
        return np.asarray(total / np.maximum(components.counts, 1) > settings.max_uncertainty)


def _components(mask: BoolArray, sign: int) -> Components:
    """Stage 7 for the voxels of one sign."""
    image, n = cc3d.connected_components(mask, connectivity=26, return_N=True)
    voxels = np.flatnonzero(mask)
    return _numbered(voxels, image.reshape(-1)[voxels].astype(np.int64) - 1, n, sign)


def _numbered(voxels: NDArray[np.int64], labels: NDArray[np.int64], n: int, sign: int) -> Components:
    """Components from the label (m,), 0 to n-1, of each voxel (m,) of one sign."""
    # Neighbours in memory mostly share a label: counting runs is faster than counting voxels.
    starts = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts = np.concatenate([[0], starts]) if len(labels) else starts
    label_of_run = labels[starts]
    lengths = np.diff(starts, append=len(labels))
    counts = np.bincount(label_of_run, weights=lengths, minlength=n).astype(np.int64)
    first = np.zeros(n, dtype=np.int64)
    first[label_of_run[::-1]] = voxels[starts[::-1]]  # the last one written is the first voxel
    return Components(voxels, labels, counts, first, np.full(n, sign, dtype=np.int8))


def _joined(parts: dict[int, Components]) -> Components:
    """The components of every sign, in the order of the signs."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    bright, dark = parts.values()
    return Components(
        np.concatenate([bright.box_voxels, dark.box_voxels]),
        np.concatenate([bright.labels, dark.labels + len(bright.counts)]),
        np.concatenate([bright.counts, dark.counts]),
        np.concatenate([bright.first, dark.first]),
        np.concatenate([bright.sign, dark.sign]),
    )


def _for_each(work: Callable[[int], T], signs: tuple[int, ...]) -> dict[int, T]:
    """The work's result for each sign; a second sign is worked on at the same time."""
    if len(signs) == 1:
        return {signs[0]: work(signs[0])}
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(work, signs[1])
        return {signs[0]: work(signs[0]), signs[1]: other.result()}


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
