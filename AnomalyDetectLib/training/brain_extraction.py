"""Training task of the head network: brain mask, tissue and template coordinates from heads of any
contrast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.devices import to_device_of
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.training import heads, template

VALIDATION_SAMPLES = 16


class BrainExtractionTask:
    """IXI heads in random contrasts and painted label maps; loss: BCE + Dice + tissue cross-entropy + Huber
    on coordinates.
    """

    def __init__(self, data: Path, cache: Path, full_difficulty_at: float = 0.4) -> None:
        """full_difficulty_at: share of the steps after which all contrasts and qualities occur; the easy
        beginning teaches edges before contrasts multiply.
        """
        self.full_difficulty_at = full_difficulty_at
        affines = template.cached_affines(data, cache)
        self.real = heads.load_real_heads(data, affines, "train")
        self.painted = heads.load_label_heads(data, affines, held_out=False)
        real = heads.load_real_heads(data, affines, "val")
        painted = heads.load_label_heads(data, affines, held_out=True)
        self.held_out = [
            heads.random_head(np.random.default_rng([77, n]), real, painted)
            for n in range(VALIDATION_SAMPLES)
        ]
        self.network = HeadNetwork()

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        """`size` random heads, easy ones first."""
        difficulty = float(np.clip(progress / max(self.full_difficulty_at, 1e-6), 0.1, 1.0))
        return _stack([heads.random_head(rng, self.real, self.painted, difficulty) for _ in range(size)])

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Sum of the four parts; tissue and coordinates count inside the mask only."""
        out = self.network.predict(batch["image"])
        mask = batch["mask"].float()
        cross = functional.binary_cross_entropy_with_logits(out.mask, mask)
        soft = torch.sigmoid(out.mask)
        dice = 1 - (2 * (soft * mask).sum() + 1) / (soft.sum() + mask.sum() + 1)
        weight = mask / mask.sum().clamp(min=1)
        classes = (
            functional.cross_entropy(out.tissue, batch["tissue"], reduction="none")[:, None] * weight
        ).sum()
        share = functional.avg_pool3d(mask, 4)
        target = functional.avg_pool3d(batch["coordinates"], 4)
        error = functional.huber_loss(out.coordinates, target, reduction="none", delta=0.05)
        place = (error * share).sum() / share.sum().clamp(min=1)
        millimetres = 100 * ((out.coordinates - target).norm(dim=1, keepdim=True) * share).sum() / share.sum()
        parts = {"bce": cross.item(), "dice": dice.item(), "tissue": classes.item(), "mm": millimetres.item()}
        return cross + dice + 0.5 * classes + 20 * place, parts

    def validate(self) -> dict[str, float]:
        """Mean loss and hard Dice over a fixed set of held-out heads."""
        losses, scores, distances = [], [], []
        for sample in self.held_out:
            batch = to_device_of(self.network, _stack([sample]))
            loss, parts = self.loss(batch)
            found = self.network.predict(batch["image"]).mask > 0
            scores.append(float(2 * (found & batch["mask"]).sum() / (found.sum() + batch["mask"].sum())))
            losses.append(loss.item())
            distances.append(parts["mm"])
        return {
            "loss": float(np.mean(losses)),
            "dice": float(np.mean(scores)),
            "worst": min(scores),
            "mm": float(np.mean(distances)),
        }


def _stack(samples: list[heads.HeadSample]) -> dict[str, Tensor]:
    return {
        name: torch.stack([getattr(sample, name) for sample in samples])
        for name in ("image", "mask", "tissue", "coordinates")
    }
