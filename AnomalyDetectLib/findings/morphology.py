"""Morphology with a ball in mm, on masks of one bit a voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.volume import BoolArray

Words = NDArray[np.uint64]
_Step = Callable[["NDArray[np.uint64]", "Ball"], "NDArray[np.uint64]"]
Spacing = tuple[float, float, float]

# A voxel at exactly the radius belongs to the ball although affines carry rounding errors.
RADIUS_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Ball:
    """The voxels within a radius of a centre voxel, as runs along k.

    reach: how many voxels the ball extends along i, j, k. half_runs: for each i >= 0, for each j >= 0, how
    far the run of voxels extends along k on either side of the centre.
    """

    reach: tuple[int, int, int]
    half_runs: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=64)
def ball(radius_mm: float, spacing: Spacing) -> Ball:
    """The ball {x : |x| <= radius} on a grid with `spacing` mm along i, j, k."""
    squared = (radius_mm * (1 + RADIUS_TOLERANCE)) ** 2
    si, sj, sk = spacing
    runs: list[tuple[int, ...]] = []
    for i in range(int(radius_mm * (1 + RADIUS_TOLERANCE) / si) + 1):
        row: list[int] = []
        for j in range(int(radius_mm * (1 + RADIUS_TOLERANCE) / sj) + 1):
            rest = squared - (i * si) ** 2 - (j * sj) ** 2
            if rest < 0:
                break
            row.append(int(np.sqrt(rest) / sk))
        runs.append(tuple(row))
    return Ball((len(runs) - 1, len(runs[0]) - 1, runs[0][0]), tuple(runs))


def dilate(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Voxels of the box (i,j,k) within `radius_mm` of the mask."""
    return _apply(mask, radius_mm, spacing, (_dilated,))


def erode(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Voxels (i,j,k) whose whole ball of `radius_mm` lies in the mask; outside the box nothing does."""
    return _apply(mask, radius_mm, spacing, (_eroded,))


def opened(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """The union of the balls of `radius_mm` that fit in the mask (i,j,k): erosion, then dilation."""
    return _apply(mask, radius_mm, spacing, (_eroded, _dilated))


def closed(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Dilation, then erosion, on the unbounded grid, cut to the box (i,j,k)."""
    return _apply(mask, radius_mm, spacing, (_dilated, _eroded))


def _apply(mask: BoolArray, radius_mm: float, spacing: Spacing, steps: tuple[_Step, ...]) -> BoolArray:
    shape = ball(radius_mm, spacing)
    if shape.reach == (0, 0, 0):
        return mask
    result = np.zeros(mask.shape, dtype=np.bool_)
    bits = np.packbits(mask, axis=-1, bitorder="little")
    window = _occupied(bits)
    if window is None:
        return result
    # Work on the occupied window alone, widened so that no ball reaches past the edge or into the next row.
    reach_i, reach_j, reach_k = shape.reach
    reach_bytes = -(-reach_k // 8)
    cut = bits[window]
    columns = slice(reach_bytes, reach_bytes + cut.shape[2])
    inside = (slice(reach_i, -reach_i or None), slice(reach_j, -reach_j or None), columns)
    width = -(-(cut.shape[2] + 2 * reach_bytes) // 8) * 8
    padded = np.zeros((cut.shape[0] + 2 * reach_i, cut.shape[1] + 2 * reach_j, width), dtype=np.uint8)
    padded[inside] = cut
    words = padded.view(np.uint64)
    for step in steps:
        words = step(words, shape)
    grown = words.view(np.uint8)
    if steps == (_dilated,):
        _unpack(grown, (reach_i, reach_j, reach_bytes), window, result)
    else:  # beyond the window nothing can be set, and erosion there would miss what lies past the padding
        _unpack(grown[inside], (0, 0, 0), window, result)
    return result


def _occupied(bits: NDArray[np.uint8]) -> tuple[slice, slice, slice] | None:
    """The smallest box of `bits` (i, j, byte of k) that holds every set bit."""
    # Long runs of memory are reduced many times faster than short ones.
    across = np.bitwise_or.reduce(bits, axis=0)
    slabs = np.bitwise_or.reduce(bits.reshape(bits.shape[0], -1), axis=1)
    along = (slabs, across.any(axis=1), across.any(axis=0))
    if not slabs.any():
        return None
    first_last = [np.flatnonzero(line)[[0, -1]] for line in along]
    i, j, k = (slice(int(first), int(last) + 1) for first, last in first_last)
    return i, j, k


def _unpack(
    padded: NDArray[np.uint8],
    reach: tuple[int, int, int],
    window: tuple[slice, slice, slice],
    result: BoolArray,
) -> None:
    """Write the padded window's bits to their place in `result`, without what lies outside of it."""
    i, j = (slice(max(w.start - r, 0), w.stop + r) for w, r in zip(window[:2], reach[:2], strict=True))
    rows = result[i, j]
    source = padded[i.start - window[0].start + reach[0] :, j.start - window[1].start + reach[1] :][
        : rows.shape[0], : rows.shape[1]
    ]
    first_byte = window[2].start - reach[2]
    source = source[:, :, max(-first_byte, 0) :]
    start = max(first_byte, 0) * 8
    length = min(source.shape[2] * 8, rows.shape[2] - start)
    rows[:, :, start : start + length] = np.unpackbits(source, axis=-1, count=length, bitorder="little")


def _dilated(words: Words, shape: Ball) -> Words:
    """Every set bit grown to the ball: first runs along k, then the disc of i and j (Minkowski addition)."""
    runs = _runs(words.reshape(-1), shape)
    row, slab = words.shape[2], words.shape[1] * words.shape[2]
    result = np.zeros(words.size, dtype=np.uint64)
    for i, half_runs in enumerate(shape.half_runs):
        disc = runs[half_runs[0]].copy()
        for j, half_run in enumerate(half_runs[1:], start=1):
            _join(disc, runs[half_run], j * row)
        if i == 0:
            result |= disc
        else:
            _join(result, disc, i * slab)
    return result.reshape(words.shape)


def _eroded(words: Words, shape: Ball) -> Words:
    """The complement of the grown complement; past the edge nothing is set."""
    return ~_dilated(~words, shape)


def _join(target: Words, source: Words, step: int) -> None:
    """Add the flat `source` to the flat `target`, moved by `step` words both ways."""
    target[step:] |= source[:-step]
    target[:-step] |= source[step:]


def _runs(flat: Words, shape: Ball) -> dict[int, Words]:
    """The flat rows of bits, grown along k by every half run that the ball needs."""
    wanted = sorted({half_run for row in shape.half_runs for half_run in row})
    grown, reach = flat, 0
    result: dict[int, Words] = {}
    for half_run in wanted:
        while reach < half_run:
            step = min(half_run - reach, 2 * reach + 1, 63)
            grown, reach = _grown_along_k(grown, step), reach + step
        result[half_run] = grown
    return result


def _grown_along_k(flat: Words, step: int) -> Words:
    """The bits, and the bits moved by `step` (1 to 63) voxels both ways along k."""
    up, down = np.uint64(step), np.uint64(64 - step)
    result: Words = flat | (flat << up) | (flat >> up)
    result[1:] |= flat[:-1] >> down
    result[:-1] |= flat[1:] << down
    return result
