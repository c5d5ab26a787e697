"""Intensity, the most trivial rival: what is brighter or darker than the middle of the brain."""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared


class Intensity:
    """No weights: the healthy version is the median of the brain everywhere."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The median, and the squared robust SD of the brain as variance; the device makes no difference."""
        image = prepared.tensor[0, 0].numpy()
        values = image[prepared.brain]
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        healthy = np.where(prepared.brain, np.float32(middle), 0).astype(np.float32)
        return Rebuild(healthy=healthy, variance=np.full_like(image, spread**2))
