"""Intensity, the most trivial rival: what is brighter or darker than the middle of the brain."""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray

ROBUST_SD = 1.4826  # of a median absolute deviation


class Intensity:
    """No weights: the healthy version is the median of the brain everywhere."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The median, and the squared robust SD of the brain as variance; the device makes no difference."""
        image = prepared.tensor[0, 0].numpy()
        healthy = np.where(prepared.brain, np.median(image[prepared.brain]), 0).astype(np.float32)
        return Rebuild(healthy=healthy, variance=robust_variance(image - healthy, prepared.brain))


def robust_variance(residual: FloatArray, brain: BoolArray) -> FloatArray:
    """The squared robust SD of the brain's residual, the same everywhere (X,Y,Z)."""
    return np.full_like(residual, (ROBUST_SD * float(np.median(np.abs(residual[brain])))) ** 2)
