"""Cavities of a mask: parts of the outside, connected through faces, that do not reach infinity."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.volume import BoolArray

Words = NDArray[np.uint64]


def filled(mask: BoolArray) -> BoolArray:
    """The mask (i,j,k) and its cavities; its outermost layer of voxels must be empty."""
    if not _may_have_cavities(_words(mask)):
        return mask
    outside = cc3d.connected_components(~mask, connectivity=6)
    return np.asarray(outside != outside[0, 0, 0], dtype=np.bool_)


def _words(mask: BoolArray) -> Words:
    """One bit a voxel, rows along k padded with zeros to whole words, (i, j, words)."""
    bits = np.packbits(mask, axis=-1, bitorder="little")
    padded = np.zeros((*bits.shape[:2], bits.shape[2] // 8 * 8 + 8), dtype=np.uint8)
    padded[:, :, : bits.shape[2]] = bits
    return padded.view(np.uint64)


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
