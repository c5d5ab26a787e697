"""AE-U: an auto-encoder that also says how sure it is; errors count by what they are worth there.

Mao et al., "Abnormality detection in chest X-ray images using uncertainty prediction autoencoders" (MICCAI
2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from AnomalyDetectLib.models.slice_networks import FEATURES, DenseAutoEncoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

SHARPNESS = 10.0  # weight of the error against log σ², as published
LOG_VARIANCE = (-8.0, 3.0)


class UncertainAutoEncoder(SliceFamily):
    """Emits the healthy slice and log σ² of each pixel. windowed: see `AutoEncoder`."""

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = FEATURES,
        latent: int = 128,
        windowed: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.network = DenseAutoEncoder(size, features, latent, outputs=2, windowed=windowed)

    def _healthy(self, batch: Batch) -> tuple[Tensor, Tensor]:
        healthy, log_variance = self.network.decode(self.network.encode(batch["image"])).chunk(2, 1)
        return healthy * batch["brain"], log_variance.clamp(*LOG_VARIANCE)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """10 (x - y)² / σ² + log σ² inside the brain."""
        healthy, log_variance = self._healthy(batch)
        error = (batch["clean"] - healthy) ** 2
        loss = inside_mean(SHARPNESS * error * torch.exp(-log_variance) + log_variance, batch["brain"])
        return loss, {"l2": inside_mean(error, batch["brain"]).item()}

    def examine(self, batch: Batch) -> SliceMaps:
        """The healthy slice, its variance σ²/10, and (x - y)² / σ² as anomaly."""
        healthy, log_variance = self._healthy(batch)
        variance = torch.exp(log_variance)
        error = (batch["image"] - healthy) ** 2 / variance
        return SliceMaps(healthy, variance / SHARPNESS, as_probability(error))
