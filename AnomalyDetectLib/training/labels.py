"""Tissue classes and sides of the two label schemes that training uses: MUSE regions (IXI) and FreeSurfer
heads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BACKGROUND, CSF, VENTRICLE, CORTEX, WHITE, DEEP_GREY, CEREBELLUM_GREY, CEREBELLUM_WHITE, BRAINSTEM = range(9)
TISSUE_NAMES = (
    "background", "csf", "ventricle", "cortex", "white", "deep_grey",
    "cerebellum_grey", "cerebellum_white", "brainstem",
)  # fmt: skip

_MUSE_CLASSES = {
    CSF: (1, 46),
    VENTRICLE: (4, 11, 49, 50, 51, 52),
    WHITE: (61, 62, 69, *range(81, 96)),
    DEEP_GREY: (23, 30, 31, 32, 36, 37, 47, 48, 55, 56, 57, 58, 59, 60, 75, 76),
    CEREBELLUM_GREY: (38, 39, 71, 72, 73),
    CEREBELLUM_WHITE: (40, 41),
    BRAINSTEM: (35,),
    CORTEX: tuple(range(100, 208)),
}
# White-matter lesions 25 and 57 count as white matter: the maps stand for healthy brains.
_FREESURFER_CLASSES = {
    CSF: (24,),
    VENTRICLE: (4, 5, 14, 15, 43, 44, 72, 136, 137, 163, 164),
    WHITE: (2, 41, 25, 57, 28, 60, 85),
    DEEP_GREY: (10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58),
    CEREBELLUM_GREY: (8, 47),
    CEREBELLUM_WHITE: (7, 46),
    BRAINSTEM: (16,),
    CORTEX: (3, 42),
}

# The same structure in both schemes: (MUSE, FreeSurfer).
SHARED_STRUCTURES = (
    (4, 14), (11, 15), (23, 58), (30, 26), (31, 54), (32, 18), (36, 50), (37, 11), (38, 47), (39, 8),
    (40, 46), (41, 7), (47, 53), (48, 17), (51, 43), (52, 4), (55, 52), (56, 13), (57, 51), (58, 12),
    (59, 49), (60, 10),
)  # fmt: skip


def _lookup(classes: dict[int, tuple[int, ...]], size: int) -> NDArray[np.uint8]:
    table = np.zeros(size, np.uint8)
    for tissue, labels in classes.items():
        table[list(labels)] = tissue
    return table


MUSE_TISSUE = _lookup(_MUSE_CLASSES, 256)
"""MUSE region number to tissue class."""
FREESURFER_TISSUE = _lookup(_FREESURFER_CLASSES, 1024)
"""FreeSurfer or head-tissue number to tissue class; everything outside the skull is background."""


def mirror_muse(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Swap the numbers of left and right regions; numbers of unpaired regions stay."""
    table = np.arange(256, dtype=labels.dtype)
    pairs = [(23, 30), (36, 37), (38, 39), (40, 41), (75, 76)]
    pairs += [(right, right + 1) for right in (31, 47, 49, 51, 55, 57, 59, 61, *range(81, 95, 2))]
    pairs += [
        (right, right + 1) for right in (*range(100, 110, 2), *range(112, 126, 2), 128, *range(132, 158, 2))
    ]
    pairs += [(right, right + 1) for right in (*range(160, 188, 2), *range(190, 208, 2))]
    for right, left in pairs:
        table[right], table[left] = left, right
    return np.asarray(table[labels])
