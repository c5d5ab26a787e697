"""Stable ids: a finding keeps its id as long as it overlaps itself, and gets it back when it returns."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.findings.findings import Findings, IntArray

# The latest finding of about the same size owns a voxel; a much larger one, that of a merger, leaves it as it
# was.
SAME_SIZE = 1.25
GOLDEN_RATIO = 0.618033988749895


def colour_of(finding_id: int) -> tuple[float, float, float]:
    """Red, green, blue (0 to 1) of an id: always the same, and far from those of the ids before and after."""
    return colorsys.hsv_to_rgb(finding_id * GOLDEN_RATIO % 1.0, (0.85, 0.6)[finding_id % 2], 0.95)


class Tracker:
    """Gives the findings of successive settings stable ids.

    A finding takes the id that its voxels had a step ago. Where findings merge or part, each id goes to one
    finding: to where it came from first, then to the larger overlap. What is left takes the id of the
    last small finding that covered most of its voxels, if that is free, so that ids come back when a
    slider does; else a new one.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """shape: of the input grid (i,j,k)."""
        self._owner: IntArray = np.zeros(shape, dtype=np.int32).reshape(-1)
        self._owner_size: IntArray = np.zeros(shape, dtype=np.int32).reshape(-1)
        self._previous: Findings | None = None
        self._next_id = 1

    def follow(self, findings: Findings, priority: Callable[[int], int] = lambda _: 0) -> Findings:
        """The findings under stable ids. priority: of two ids that merge, the higher wins."""
        ids = np.zeros(len(findings), dtype=np.int32)
        remembered = _Overlaps(findings, self._owner[findings.voxels])
        if self._previous is not None and len(self._previous):
            before = _Overlaps(findings, self._previous.labelmap.reshape(-1)[findings.voxels])
            before.assign(ids, priority, remembered.majority())
        remembered.assign(ids, priority, remembered.majority())
        new = np.flatnonzero(ids == 0)
        ids[new] = np.arange(self._next_id, self._next_id + len(new))
        return self.adopt(findings, ids)

    def adopt(self, findings: Findings, ids: NDArray[np.int32] | tuple[int, ...]) -> Findings:
        """The findings under ids that are known, one for each rank; later steps follow them."""
        followed = findings.renumbered(ids)
        size = findings.measures.voxels.astype(np.int32)[findings.ranks]
        self._own(findings.voxels, followed.ids[findings.ranks], size)
        self._next_id = max(self._next_id, int(followed.ids.max(initial=0)) + 1)
        self._previous = followed
        return followed

    def remember(self, voxels: Mapping[int, NDArray[np.int32]]) -> None:
        """Voxels (flat indices) that belong to ids from an earlier session."""
        for finding_id, where in voxels.items():
            self._own(where, np.full(len(where), finding_id), np.full(len(where), len(where)))
            self._next_id = max(self._next_id, finding_id + 1)

    def owned_by(self, finding_id: int) -> NDArray[np.int32]:
        """Flat indices of the voxels whose last small finding had this id."""
        return np.flatnonzero(self._owner == finding_id).astype(np.int32)

    def _own(self, voxels: IntArray, ids: NDArray[np.integer], size: NDArray[np.integer]) -> None:
        owner_size = self._owner_size[voxels]
        owned = (owner_size == 0) | (size <= SAME_SIZE * owner_size)
        where, owner_size, size = voxels[owned], owner_size[owned], size[owned]
        self._owner[where] = ids[owned]
        self._owner_size[where] = np.where(owner_size == 0, size, np.minimum(size, owner_size))


class _Overlaps:
    """How many voxels each finding shares with each id of before."""

    def __init__(self, findings: Findings, before: IntArray) -> None:
        """before: int32 (m,), the id that each voxel of the findings had, 0 for none."""
        self.n = len(findings)
        owned = np.flatnonzero(before)
        base = np.int64(before.max(initial=0)) + 1
        keys = findings.ranks[owned] * base + before[owned]
        # Neighbouring voxels mostly share a key: sorting one key a run is much less work.
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        lengths = np.diff(starts, append=len(keys))
        pairs, run_pair = np.unique(keys[starts], return_inverse=True)
        self.overlap = np.bincount(run_pair, weights=lengths, minlength=len(pairs))
        self.rank, self.id = pairs // base, pairs % base

    def majority(self) -> NDArray[np.int64]:
        """The id that each finding shares most voxels with (n,), 0 for none."""
        result = np.zeros(self.n, dtype=np.int64)
        order = np.argsort(self.overlap, kind="stable")
        result[self.rank[order]] = self.id[order]  # the last one written is the largest
        return result

    def assign(self, ids: IntArray, priority: Callable[[int], int], home: NDArray[np.int64]) -> None:
        """Fill the zeros of `ids` (n,) with free ids, each once. home: the id each finding came from (n,)."""
        taken = {int(finding_id) for finding_id in ids if finding_id}
        ranking = np.array([priority(int(finding_id)) for finding_id in self.id], dtype=np.int64)
        came_from = home[self.rank] == self.id
        for index in np.lexsort((self.id, -self.overlap, ~came_from, -ranking)):
            rank, finding_id = int(self.rank[index]), int(self.id[index])
            if ids[rank] == 0 and finding_id not in taken:
                ids[rank] = finding_id
                taken.add(finding_id)
