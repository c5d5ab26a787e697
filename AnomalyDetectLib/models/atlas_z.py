"""Atlas-z, a rival without a network: the healthy version is the voxel-wise mean of healthy brains."""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared


class AtlasZ:
    """Mean and SD maps (X,Y,Z) of aligned healthy brains in working units."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        maps = card.tensors()
        self.mean, self.sd = maps["mean"].numpy(), maps["sd"].numpy()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The mean brain, and the squared SD as variance; the device makes no difference."""
        healthy = np.where(prepared.brain, self.mean, 0).astype(np.float32)
        return Rebuild(healthy=healthy, variance=self.sd**2)
