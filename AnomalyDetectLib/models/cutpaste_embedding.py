"""Two-stage CutPaste: a classifier of tampered slices, then a Gaussian of its healthy features.

Li et al., "CutPaste: self-supervised learning for anomaly detection and localization" (CVPR 2021). There the
second stage embeds patches; here the last features but one are their embeddings, one Gaussian for all places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.density import GaussianDensity
from AnomalyDetectLib.models.patches import covered, patch_features, spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES, Encoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability


class CutPasteEmbedding(SliceFamily):
    """The encoder's own classification of clean and tampered slices; `density` is fitted afterwards."""

    def __init__(self, size: int = SIZE, features: Sequence[int] = FEATURES) -> None:
        super().__init__()
        self.size = size
        self.encoder = Encoder(1, features)
        self.classify = nn.Linear(features[-1], 1)
        self.density = GaussianDensity(sum(features[:-1]))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy: which slices were tampered with."""
        images = torch.cat([batch["clean"], batch["image"]])
        tampered = (batch["weight"].flatten(1).amax(1) > 0).float()
        target = torch.cat([torch.zeros_like(tampered), tampered])
        logit = self.classify(self.encoder(images).mean((2, 3)))[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logit, target)
        return loss, {"bce": loss.item()}

    def fit(self, healthy: list[Batch]) -> None:
        """The Gaussian of patches that show brain."""
        found = []
        for batch in healthy:
            patches = patch_features(self.encoder, batch["image"])
            found.append(patches[covered(batch["brain"], patches)])
        features = torch.cat(found)
        self.density.fit(features, torch.zeros(len(features), dtype=torch.long))

    def deepest(self) -> nn.Module:
        """The last level but one: the patches' features end there."""
        return self.encoder.levels[-2]

    def examine(self, batch: Batch) -> SliceMaps:
        """Mahalanobis distance of every patch."""
        patches = patch_features(self.encoder, batch["image"])
        flat = patches.flatten(0, 2)
        distance = self.density.distance(flat, torch.zeros(len(flat), dtype=torch.long, device=flat.device))
        return SliceMaps(anomaly=as_probability(spread_out(distance.view(patches.shape[:3]), self.size)))

    def embedding(self, batch: Batch) -> Tensor:
        """One vector for each slice (B,features[-1])."""
        features: Tensor = self.encoder(batch["image"])
        return features.mean((2, 3))
