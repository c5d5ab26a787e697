"""Cavities of a mask: parts of the outside, connected through faces, that do not reach infinity."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from AnomalyDetectLib.volume import BoolArray, FloatArray

Words = NDArray[np.uint64]

# A round of the flood reaches one voxel further; after so many, labelling the outside is as fast.
MOST_ROUNDS = 12


@dataclass(frozen=True, eq=False)
class CavityLevels:
    """Voxels that are in a cavity of {score >= threshold} for some threshold above their own score.

    voxels: flat indices (m,). scores: of each, z (m,). levels: the highest such threshold, z (m,).
    cut_up_to: the highest threshold at which a cavity reaches out of the part of the map that is looked at.

    Filling cavities grows with the mask, so a voxel is filled at every threshold from its own score up to one
    level: the lowest barrier on its way out. One flood of the score map finds the level of every voxel, and
    no threshold needs a flood of its own afterwards.
    """

    voxels: NDArray[np.int64]
    scores: FloatArray
    levels: FloatArray
    cut_up_to: float

    @classmethod
    def of(cls, score: FloatArray, inside: BoolArray) -> CavityLevels:
        """Of a score >= 0 (i,j,k) whose outermost layer of voxels is 0; only voxels `inside` are listed.

        The level is the greyscale reconstruction by erosion from the border (Vincent, IEEE Trans. Image Proc.
        1993).
        """
        image = sitk.GrayscaleFillhole(sitk.GetImageFromArray(score), False)
        levels = sitk.GetArrayViewFromImage(image)
        raised = levels > score
        voxels = np.flatnonzero(raised & inside)
        cut_up_to = float(np.max(levels, initial=0, where=raised & ~inside))
        return cls(voxels, score.reshape(-1)[voxels], levels.reshape(-1)[voxels], cut_up_to)

    def any_at(self, threshold: float) -> bool:
        """Whether {score >= threshold} has a cavity."""
        return len(self.at(threshold)) > 0

    def at(self, threshold: float) -> NDArray[np.int64]:
        """Flat indices (n,) of the cavities of {score >= threshold}."""
        z = np.float32(threshold)
        return np.asarray(self.voxels[(self.scores < z) & (z <= self.levels)])

    def fill(self, mask: BoolArray, threshold: float) -> None:
        """Add to {score >= threshold} its cavities."""
        mask.reshape(-1)[self.at(threshold)] = True


def filled(mask: BoolArray) -> BoolArray:
    """The mask (i,j,k) and its cavities; its outermost layer of voxels must be empty."""
    words = _words(mask)
    if not _may_have_cavities(words):
        return mask
    full = _flooded(words)
    if full is not None:
        return _bools(full, mask.shape[2])
    outside = cc3d.connected_components(~mask, connectivity=6)
    return np.asarray(outside != outside[0, 0, 0], dtype=np.bool_)


def _words(mask: BoolArray) -> Words:
    """One bit a voxel, rows along k padded with zeros to whole words, (i, j, words)."""
    bits = np.packbits(mask, axis=-1, bitorder="little")
    padded = np.zeros((*bits.shape[:2], bits.shape[2] // 8 * 8 + 8), dtype=np.uint8)
    padded[:, :, : bits.shape[2]] = bits
    return padded.view(np.uint64)


def _bools(words: Words, length: int) -> BoolArray:
    """One bool a voxel, rows of `length`."""
    bits = np.unpackbits(words.view(np.uint8), axis=-1, count=length, bitorder="little")
    return bits.view(np.bool_)


def _may_have_cavities(words: Words) -> bool:
    """False proves that there is no cavity; labelling the outside costs five times as much as the proof.

    The first voxel of a cavity in C order is empty, its predecessors along i, j and k are set, and so is at
    least one of its successors along i, along j and along k.
    """
    flat = words.reshape(-1)
    previous = flat << np.uint64(1)
    previous[1:] |= flat[:-1] >> np.uint64(63)
    first = ~words[1:, 1:] & words[:-1, 1:] & words[1:, :-1] & previous.reshape(words.shape)[1:, 1:]
    first &= np.bitwise_or.accumulate(words[:0:-1, 1:], axis=0)[::-1]
    first &= np.bitwise_or.accumulate(words[1:, :0:-1], axis=1)[:, ::-1]
    rows = np.flatnonzero(first.any(axis=2))
    return bool(np.any(first.reshape(-1, words.shape[2])[rows] & _followed(words[1:, 1:], rows)))


def _followed(words: Words, rows: NDArray[np.intp]) -> Words:
    """For some rows (flat numbers of i, j): the bits at or before the row's last set bit."""
    result = words.reshape(-1, words.shape[2])[rows]
    for step in (1, 2, 4, 8, 16, 32):
        result |= result >> np.uint64(step)
    later = np.bitwise_or.accumulate(result[:, ::-1], axis=1)[:, ::-1]
    result[:, :-1] |= np.where(later[:, 1:] != 0, ~np.uint64(0), np.uint64(0))
    return result


def _flooded(words: Words) -> Words | None:
    """The set bits and the cavities; None when the outside is so winding that labelling it is faster.

    The outside is flooded in blocks of 2 x 2 x 2 empty voxels first, which crosses the brain in one go, then
    voxel by voxel into what blocks can't enter.
    """
    empty = ~words
    outside = _flooded_blocks(words)
    outside[[0, -1]] = outside[:, [0, -1]] = ~np.uint64(0)
    outside &= empty
    row, slab = words.shape[2], words.shape[1] * words.shape[2]
    flat, free = outside.reshape(-1), empty.reshape(-1)
    for _ in range(MOST_ROUNDS):
        before = flat.copy()
        _spread_along_k(flat, free)
        for step in (row, slab):
            flat[step:] |= flat[:-step] & free[step:]
            flat[:-step] |= flat[step:] & free[:-step]
        if np.array_equal(flat, before):
            return ~outside
    return None


def _spread_along_k(flat: Words, free: Words) -> None:
    """Let the flood step one voxel up and down along k."""
    one, last = np.uint64(1), np.uint64(63)
    grown = (flat << one) | (flat >> one)
    grown[1:] |= flat[:-1] >> last
    grown[:-1] |= flat[1:] << last
    grown &= free
    flat |= grown


def _flooded_blocks(words: Words) -> Words:
    """Bits of the blocks of 2 x 2 x 2 empty voxels that are connected with the box's surface."""
    even = np.pad(words, [(0, words.shape[0] % 2), (0, words.shape[1] % 2), (0, 0)])
    pairs = even[0::2] | even[1::2]
    pairs = pairs[:, 0::2] | pairs[:, 1::2]
    pairs |= pairs >> np.uint64(1)
    bits = np.unpackbits(np.ascontiguousarray(pairs).view(np.uint8), axis=-1, bitorder="little")
    labels = cc3d.connected_components(bits[:, :, ::2] == 0, connectivity=6)
    ends = [np.take(labels, end, axis=axis).ravel() for axis in range(3) for end in (0, -1)]
    at_surface = np.setdiff1d(np.concatenate(ends), [0])
    # One part touches the surface, but for maps that fill the scan; comparing is faster than looking up.
    outside = labels == at_surface[0] if len(at_surface) == 1 else np.isin(labels, at_surface)
    wide = np.packbits(np.repeat(outside, 2, axis=2), axis=-1, bitorder="little")
    wide = np.ascontiguousarray(np.repeat(wide, 2, axis=1))
    tall = np.repeat(wide.view(np.uint64), 2, axis=0)
    return np.ascontiguousarray(tall[: words.shape[0], : words.shape[1]])
