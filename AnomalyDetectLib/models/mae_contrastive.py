"""Masked auto-encoder with contrast: a convolutional stem, a transformer, and four lessons without labels.

Masked reconstruction after He et al. (CVPR 2022) with the masks put onto the image as in SimMIM (Xie et al.,
CVPR 2022), so that a convolutional stem may see it; InfoNCE between two views (van den Oord et al. 2018; Chen
et al., ICML 2020); rotation (Gidaris et al., ICLR 2018). Its stem is the encoder that other families borrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.density import GaussianDensity
from AnomalyDetectLib.models.patches import covered, spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES, Decoder, Encoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

MASKED = 0.6  # of the patches in training
PASSES = 4  # with complementary masks when a slice is examined, so that each patch is hidden once
TEMPERATURE = 0.2
CONTRAST_WEIGHT, ROTATION_WEIGHT = 0.05, 0.05


class MaskedContrastive(SliceFamily):
    """The transformer is as wide as the coarsest features. embedding: length of the contrasted vectors."""

    views = 1  # passes with other masks already spread
    patch_distance = True

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = FEATURES,
        blocks: int = 4,
        heads: int = 4,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        self.size, width = size, features[-1]
        self.side = size // 2 ** len(features)
        self.encoder, self.decoder = Encoder(1, features), Decoder(1, features)
        self.place = nn.Parameter(torch.randn(1, self.side**2, width) * 0.02)
        self.hidden = nn.Parameter(torch.tensor(0.5))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.embed = nn.Linear(width, embedding)
        self.turned = nn.Linear(width, 4)
        self.density = GaussianDensity(width)

    def _tokens(self, image: Tensor) -> Tensor:
        """(B,1,H,W) to transformed features (B,width,h,w)."""
        features = self.encoder(image)
        tokens = features.flatten(2).movedim(1, 2) + self.place
        transformed: Tensor = self.blocks(tokens)
        return transformed.movedim(1, 2).view(features.shape)

    def _hide(self, batch: Batch, mask: Tensor) -> Tensor:
        """The image with the patches of a mask (B,h,w) covered by one learned grey."""
        wide = functional.interpolate(mask[:, None].float(), size=(self.size, self.size))
        return (batch["image"] * (1 - wide) + self.hidden * wide) * batch["brain"]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Error inside hidden patches, InfoNCE of two hidden views, cross-entropy of a quarter turn."""
        count, device = len(batch["image"]), batch["image"].device
        masks = [torch.rand(count, self.side, self.side, device=device) < MASKED for _ in range(2)]
        features = [self._tokens(self._hide(batch, mask)) for mask in masks]
        wide = functional.interpolate(masks[0][:, None].float(), size=(self.size, self.size))
        error = inside_mean(
            (batch["clean"] - self.decoder(features[0])).square(), batch["brain"] * (wide + 0.1)
        )
        one, two = (functional.normalize(self.embed(f.mean((2, 3))), dim=1) for f in features)
        own = torch.arange(count, device=device)
        contrast = functional.cross_entropy(one @ two.T / TEMPERATURE, own)
        turns = torch.randint(0, 4, (count,), device=device)
        turned = torch.stack(
            [image.rot90(int(k), (1, 2)) for image, k in zip(batch["image"], turns, strict=True)]
        )
        rotation = functional.cross_entropy(self.turned(self._tokens(turned).mean((2, 3))), turns)
        parts = {"l2": error.item(), "contrast": contrast.item(), "rotation": rotation.item()}
        return error + CONTRAST_WEIGHT * contrast + ROTATION_WEIGHT * rotation, parts

    def fit(self, healthy: list[Batch]) -> None:
        """The Gaussian of transformed features that show brain."""
        found = []
        for batch in healthy:
            features = self._tokens(batch["image"]).movedim(1, -1)
            found.append(features[covered(batch["brain"], features)])
        every = torch.cat(found)
        self.density.fit(every, torch.zeros(len(every), dtype=torch.long))

    def examine(self, batch: Batch) -> SliceMaps:
        """Each patch rebuilt while hidden; variance over masks; anomaly: Mahalanobis distance of features."""
        total, square, seen = (torch.zeros_like(batch["image"]) for _ in range(3))
        for _ in range(2):
            order = torch.rand(len(total), self.side**2, device=total.device).argsort(1) % PASSES
            for number in range(PASSES):
                mask = (order == number).view(-1, self.side, self.side)
                wide = functional.interpolate(mask[:, None].float(), size=(self.size, self.size))
                rebuilt = self.decoder(self._tokens(self._hide(batch, mask))) * batch["brain"]
                total, square, seen = total + wide * rebuilt, square + wide * rebuilt**2, seen + wide
        mean = total / seen
        features = self._tokens(batch["image"]).movedim(1, -1)
        flat = features.flatten(0, 2)
        distance = self.density.distance(flat, torch.zeros(len(flat), dtype=torch.long, device=flat.device))
        anomaly = as_probability(spread_out(distance.view(features.shape[:3]), self.size))
        return SliceMaps(mean, (square / seen - mean**2).clamp(min=0), anomaly)

    def embedding(self, batch: Batch) -> Tensor:
        """One vector for each slice (B,width), for feature-space scores."""
        return self._tokens(batch["image"]).mean((2, 3))
