"""Healthy heads of any contrast that no scanner made, painted from the 1-mm label maps: beside the repainted
volunteers what a model for T2, FLAIR and PD is calibrated on, and what its promise is tested on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from AnomalyDetectLib.training import heads
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.heads import LabelHead
from AnomalyDetectLib.volume import Volume

FREE = "free"
CONTRASTS = ("T1", "T2", "FLAIR", "PD", FREE)
SEED = {True: 91, False: 92}  # of held-out maps, of those for training
SLICE_VOXELS = (2.0, 3.0)  # of 2 mm
BIAS = 0.08


@dataclass(frozen=True)
class PaintedHead:
    """A label map's head in one contrast, the same every time. number: of the map. turn: of the painting;
    odd ones have thick slices.
    """

    head: LabelHead
    contrast: str
    number: int
    turn: int
    held_out: bool

    @property
    def name(self) -> str:
        """What the head is called in caches and messages."""
        which = "held_out" if self.held_out else "training"
        return f"{which}_label_map_{self.number + 1}_as_{self.contrast}_{self.turn + 1}"

    def read(self) -> Volume:
        """The whole head at 2 mm."""
        seed = [SEED[self.held_out], CONTRASTS.index(self.contrast), self.number, self.turn]
        rng = np.random.default_rng(seed)
        image = heads.paint_labels(rng, self.head, self.contrast)
        if self.turn % 2:
            image = fields.thick_slices(image, rng.uniform(*SLICE_VOXELS), 2)
        size = (image.shape[0], image.shape[1], image.shape[2])
        image = image * fields.bias_field(rng, size, BIAS)
        modality = None if self.contrast == FREE else self.contrast
        return Volume(image.numpy(), self.head.template_from_index, modality=modality, name=self.name)


def calibration_heads(data: Path, contrast: str) -> list[PaintedHead]:
    """One painting of each map for training, every other one with thick slices."""
    return [
        PaintedHead(head, contrast, number, turn=number % 2, held_out=False)
        for number, head in enumerate(_maps(data, held_out=False))
    ]


def held_out_heads(data: Path, contrast: str) -> list[PaintedHead]:
    """Two paintings of each map held out: thin and thick slices."""
    return [
        PaintedHead(head, contrast, number, turn, held_out=True)
        for number, head in enumerate(_maps(data, held_out=True))
        for turn in (0, 1)
    ]


@cache
def _maps(data: Path, held_out: bool) -> list[LabelHead]:
    return heads.load_label_heads(data, None, held_out)
