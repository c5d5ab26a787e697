"""Restoration: a network that takes lesions of several severities out of a scan; where it changed, something is unusual.

After Naval Marimont et al., "DISYRE: Diffusion-inspired synthetic restoration for unsupervised anomaly detection"
(ISBI 2024), with a gated residual instead of a plain prediction, in three dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from AnomalyDetectLib.networks import SpaceToDepthUNet

FEATURES = (32, 64, 128, 160)
SEVERITIES = (0.2, 0.45, 0.7, 0.95)


def restoration_network() -> SpaceToDepthUNet:
    """Channels in: scan in working units, severity. Channels out: correction, logit of the corruption."""
    network = SpaceToDepthUNet(2, 2, FEATURES)
    torch.nn.init.zeros_(network.head.weight)
    if network.head.bias is not None:
        torch.nn.init.zeros_(network.head.bias)
    return network


def restore(network: SpaceToDepthUNet, image: Tensor, severity: Tensor) -> tuple[Tensor, Tensor]:
    """Healthy version and corruption logit, both (B,1,X,Y,Z).

    image: (B,1,X,Y,Z) in working units. severity: (B,1), 0-1. healthy = image + sigmoid(logit) * correction: where the
    network sees nothing unusual it leaves the scan as it is.
    """
    level = severity.view(-1, 1, 1, 1, 1).expand_as(image)
    out = network(torch.cat([image, level], 1))
    correction, logit = out[:, :1], out[:, 1:2]
    return image + torch.sigmoid(logit) * correction, logit
