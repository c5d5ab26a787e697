"""PaDiM and PatchCore: healthy patch features of a frozen encoder, as Gaussians for each place or as a
memory.

Defard et al., "PaDiM" (ICPR 2021); Roth et al., "Towards total recall in industrial anomaly detection" (CVPR
2022). There the encoder knows ImageNet; here it is the project's own self-supervised one. Slices of one
height are compared with each other, since a place in the picture means nothing without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models.density import GaussianDensity
from AnomalyDetectLib.models.patches import covered, patch_features, spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES, Encoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability

BINS = 8  # of height
CANDIDATES = 20_000  # patches that the memory is chosen from


class PatchMemory(SliceFamily):
    """kept: features chosen at random of those of the encoder (PaDiM). items: patches in the memory
    (PatchCore).
    """

    chosen: Tensor
    memory: Tensor

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = FEATURES,
        compare: Literal["gaussian", "nearest"] = "gaussian",
        kept: int = 20,
        items: int = 2000,
    ) -> None:
        super().__init__()
        self.size, self.compare = size, compare
        self.encoder = Encoder(1, features).requires_grad_(False)
        self.width = sum(features[:-1])
        self.side = size // 2 ** (len(features) - 1)
        if compare == "gaussian":
            kept = min(kept, self.width)
            order = torch.randperm(self.width, generator=torch.Generator().manual_seed(0))
            self.register_buffer("chosen", order[:kept].sort().values.float())
            self.density = GaussianDensity(kept, BINS * self.side**2)
        else:
            self.register_buffer("memory", torch.zeros(items, self.width))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Nothing is learned by gradient."""
        raise NotImplementedError("patch memories are fitted, not trained: set steps = 0")

    def _patches(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B,h,w,C), whether they show brain (B,h,w), and their places (B,h,w)."""
        patches = patch_features(self.encoder, batch["image"])
        height = ((batch["condition"][:, 2] + 1) / 2 * BINS).long().clamp(0, BINS - 1)
        places = torch.arange(self.side**2, device=height.device).view(1, self.side, self.side)
        return patches, covered(batch["brain"], patches), height[:, None, None] * self.side**2 + places

    def fit(self, healthy: list[Batch]) -> None:
        """The Gaussian of every place, or the memory, a greedy coreset."""
        features, places = [], []
        for batch in healthy:
            patches, inside, place = self._patches(batch)
            features.append(patches[inside])
            places.append(place[inside])
        every = torch.cat(features)
        if self.compare == "gaussian":
            self.density.fit(every[:, self.chosen.long()], torch.cat(places))
        else:
            self.memory[:] = coreset(every[:: max(1, len(every) // CANDIDATES)], len(self.memory))

    def deepest(self) -> nn.Module:
        """The last level but one: the patches' features end there."""
        return self.encoder.levels[-2]

    def examine(self, batch: Batch) -> SliceMaps:
        """Distance of every patch: Mahalanobis's to its place, or to the nearest in the memory."""
        patches, _, places = self._patches(batch)
        flat = patches.flatten(0, 2)
        if self.compare == "gaussian":
            distance = self.density.distance(flat[:, self.chosen.long()], places.flatten())
        else:
            distance = torch.cdist(flat, self.memory).amin(1)
        return SliceMaps(anomaly=as_probability(spread_out(distance.view(patches.shape[:3]), self.size)))


def coreset(features: Tensor, count: int) -> Tensor:
    """`count` of the features (N,C), each the farthest from those before (k-center greedy; Sener and
    Savarese, ICLR 2018); repeated where there are fewer.
    """
    nearest = (features - features.mean(0)).norm(dim=1)
    chosen = [int(nearest.argmin())]
    nearest = torch.full_like(nearest, float("inf"))
    while len(chosen) < count:
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).norm(dim=1))
        chosen.append(int(nearest.argmax()))
    return features[chosen]
