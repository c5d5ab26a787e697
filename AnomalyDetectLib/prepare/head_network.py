"""The head network's input and outputs: intracranial mask, tissue and template coordinates of a head at 2 mm."""

from __future__ import annotations

import torch
from torch import Tensor

from AnomalyDetectLib.networks import SpaceToDepthUNet

HEAD_SPACING = 2.0
COORDINATE_SCALE_MM = 100.0
TISSUES = ("fluid", "grey", "white")
FEATURES = (16, 32, 64, 96)


def scale_head(image: Tensor) -> Tensor:
    """Map the 1st percentile to 0 and the 99.5th to 1 over all voxels (X,Y,Z); clip to -0.2 ... 1.5."""
    values = image.ravel()[:: max(1, image.numel() // 30_000)].float()
    low, high = torch.quantile(values, torch.tensor([0.01, 0.995]))
    return ((image.float() - low) / (high - low).clamp(min=1e-6)).clamp(-0.2, 1.5)


def head_network() -> SpaceToDepthUNet:
    """Channels out: mask logit, logits of fluid, grey and white matter, template coordinates x, y, z / 100 mm."""
    return SpaceToDepthUNet(1, 1 + len(TISSUES) + 3, FEATURES)
