"""Connected components at every threshold, from one pass over the score map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from AnomalyDetectLib.volume import FloatArray

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ComponentTree:
    """The 26-connected components of {values >= threshold} for every threshold from `floor` on.

    Every voxel belongs to the basin of the peak that the steepest ascent from it ends at, and two basins meet
    at their highest pass, so the components at a threshold are those of the basins joined by the passes that
    reach it; of all passes a maximum spanning forest is enough (compare the component tree of Najman &
    Couprie, IEEE Trans. Image Proc. 2006).

    floor: z. voxels: flat indices (m,) of {values >= floor}, ascending. values: (m,). basins: of each voxel
    (m,). peaks: value of each basin's peak (b,). passes: the two basins (2, p) and heights: (p,), of the
    forest.
    """

    floor: float
    voxels: Indices
    values: FloatArray
    basins: Indices
    peaks: FloatArray
    passes: Indices
    heights: FloatArray

    @classmethod
    def of(cls, values: FloatArray, floor: float) -> ComponentTree:
        """Of values (i,j,k) whose outermost layer of voxels is below the floor."""
        flat = values.reshape(-1)
        voxels = np.flatnonzero(flat >= np.float32(floor))
        basin_at = np.full(flat.shape, -1, dtype=np.int32)
        basin_at[voxels] = np.arange(len(voxels), dtype=np.int32)
        basins, tops = _basins(flat, voxels, basin_at, _neighbours(values.shape))
        basin_at[voxels] = basins
        ends, heights = _passes(flat, voxels, basin_at, _neighbours(values.shape))
        chosen = _forest(ends, heights, len(tops))
        peaks = flat[voxels[tops]]
        return cls(floor, voxels, flat[voxels], basins, peaks, ends[:, chosen], heights[chosen])

    def at(self, threshold: float) -> tuple[Indices, Indices, int]:
        """Flat indices (m,), ascending, and labels from 0 (m,) of {values >= threshold}; how many labels.

        threshold: z, at least `floor`.
        """
        z = np.float32(threshold)
        inside = np.flatnonzero(self.values >= z)
        labels, n = self.labels(threshold)
        return self.voxels[inside], labels[self.basins[inside]], n

    def tops(self, threshold: float) -> FloatArray:
        """The largest value in each component of {values >= threshold}, by its label (n,)."""
        labels, n = self.labels(threshold)
        tops = np.full(n, -np.inf, dtype=np.float32)
        np.maximum.at(tops, labels[labels >= 0], self.peaks[labels >= 0])
        return tops

    def labels(self, threshold: float) -> tuple[Indices, int]:
        """The component from 0 that each basin belongs to (b,), -1 for those below; how many components."""
        z = np.float32(threshold)
        reaching = self.heights >= z
        ends, n = self.passes[:, reaching], len(self.peaks)
        graph = coo_array((np.ones(ends.shape[1], dtype=np.int8), (ends[0], ends[1])), shape=(n, n))
        _, component = connected_components(graph, directed=False)
        above = self.peaks >= z
        used = np.zeros(n + 1, dtype=np.intp)
        used[component[above]] = 1
        number = np.cumsum(used) - 1
        return np.where(above, number[component], -1), int(used.sum())


def _neighbours(shape: tuple[int, ...]) -> list[int]:
    """Flat steps to a voxel's 26 neighbours and itself, ascending."""
    return sorted(i * shape[1] * shape[2] + j * shape[2] + k for i, j, k in product((-1, 0, 1), repeat=3))


def _basins(
    flat: FloatArray, voxels: Indices, place: NDArray[np.int32], steps: list[int]
) -> tuple[Indices, Indices]:
    """The basin of each voxel (m,), and the position in `voxels` of each basin's peak (b,).

    place: of each voxel of the box in `voxels`.
    """
    best = np.full(len(voxels), -np.inf, dtype=np.float32)
    upward = np.zeros(len(voxels), dtype=np.intp)
    for step in steps:
        towards = voxels + step
        value = flat[towards]
        # Of equal neighbours the last in C order: the way up never turns in a circle.
        better = value >= best
        np.copyto(best, value, where=better)
        np.copyto(upward, towards, where=better)
    upward = place[upward].astype(np.intp)
    while True:
        further = upward[upward]
        if np.array_equal(further, upward):
            break
        upward = further
    tops, basins = np.unique(upward, return_inverse=True)
    return basins.astype(np.intp), tops


def _passes(
    flat: FloatArray, voxels: Indices, basin_at: NDArray[np.int32], steps: list[int]
) -> tuple[Indices, FloatArray]:
    """Every pair of neighbouring voxels in two basins: the basins (2, p) and the height of the pass (p,)."""
    here = basin_at[voxels]
    ends: list[Indices] = []
    heights: list[FloatArray] = []
    for step in (step for step in steps if step > 0):
        there = basin_at[voxels + step]
        crossing = np.flatnonzero((there != here) & (there >= 0))
        at = voxels[crossing]
        ends.append(np.stack([here[crossing], there[crossing]]).astype(np.intp))
        heights.append(np.minimum(flat[at], flat[at + step]))
    return np.concatenate(ends, axis=1), np.concatenate(heights)


def _forest(ends: Indices, heights: FloatArray, n: int) -> Indices:
    """Which passes make a maximum spanning forest of `n` basins."""
    if len(heights) == 0:
        return np.zeros(0, dtype=np.intp)
    # Ranks, highest first, keep the order of the heights; several passes may join the same two basins.
    highest_first = np.argsort(-heights, kind="stable")
    rank = np.empty(len(heights), dtype=np.float64)
    rank[highest_first] = np.arange(1, len(heights) + 1)
    by_basin = np.argsort(ends[0], kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(ends[0], minlength=n))])
    tree = minimum_spanning_tree(csr_array((rank[by_basin], ends[1][by_basin], starts), shape=(n, n)))
    return np.asarray(highest_first[tree.data.astype(np.intp) - 1])
