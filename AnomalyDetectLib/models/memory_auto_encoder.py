"""Memory auto-encoder: the decoder sees only mixtures of codes that it has stored, all of them normal.

Gong et al., "Memorizing normality to detect anomaly" (ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.slice_networks import FEATURES, Decoder, Encoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, inside_mean

ENTROPY_WEIGHT = 2e-4  # as published
SMALLEST = 1e-12


class MemoryAutoEncoder(SliceFamily):
    """items: number of stored codes, each as wide as the coarsest features."""

    def __init__(self, size: int = SIZE, features: Sequence[int] = FEATURES, items: int = 256) -> None:
        super().__init__()
        self.size = size
        self.down, self.up = Encoder(1, features), Decoder(1, features)
        self.memory = nn.Parameter(torch.randn(items, features[-1]) / features[-1] ** 0.5)

    def _rebuilt(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The healthy slice, and the entropy of the addresses (nats)."""
        code = self.down(batch["image"])
        similar = torch.einsum(
            "bchw,nc->bnhw", functional.normalize(code, dim=1), functional.normalize(self.memory, dim=1)
        )
        address = torch.softmax(similar * code.shape[1] ** 0.5, 1)
        # Hard shrinkage: small shares of many items could copy anything.
        least = 1 / len(self.memory)
        address = functional.relu(address - least) * address / ((address - least).abs() + SMALLEST)
        address = address / address.sum(1, keepdim=True).clamp(min=SMALLEST)
        entropy = -(address * torch.log(address + SMALLEST)).sum(1).mean()
        recalled = torch.einsum("bnhw,nc->bchw", address, self.memory)
        return self.up(recalled) * batch["brain"], entropy

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Squared difference inside the brain, and the entropy of the addresses."""
        healthy, entropy = self._rebuilt(batch)
        error = inside_mean((batch["clean"] - healthy) ** 2, batch["brain"])
        return error + ENTROPY_WEIGHT * entropy, {"l2": error.item(), "entropy": entropy.item()}

    def examine(self, batch: Batch) -> SliceMaps:
        """The healthy slice."""
        return SliceMaps(self._rebuilt(batch)[0])
