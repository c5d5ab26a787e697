"""Segmenters of synthetic anomalies: a U-Net that learned where healthy slices were tampered with.

One network for CutPaste (Li et al., CVPR 2021), FPI (Tan et al., MELBA 2022), PII (Tan et al., MICCAI 2021),
NSA (Schlüter et al., ECCV 2022) and AnatPaste (Sato et al., iScience 2023): they differ in how anomalies are
made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.models.slice_networks import FEATURES, UNet2d
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, inside_mean


class AnomalySegmenter(SliceFamily):
    """Predicts the anomaly map itself; there is no healthy version.

    windowed: the network sees three windows of the slice, for CT.
    """

    def __init__(self, size: int = SIZE, features: Sequence[int] = FEATURES, windowed: bool = False) -> None:
        super().__init__()
        self.size = size
        self.network = UNet2d(features=features, windowed=windowed)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy per pixel of the brain; labels may be shares."""
        logit = self.network(batch["image"])
        entropy = functional.binary_cross_entropy_with_logits(logit, batch["weight"], reduction="none")
        loss = inside_mean(entropy, batch["brain"])
        return loss, {"bce": loss.item()}

    def examine(self, batch: Batch) -> SliceMaps:
        """The predicted probability of an anomaly."""
        return SliceMaps(anomaly=torch.sigmoid(self.network(batch["image"])))
