"""Restoration: a network that takes lesions of several severities out of a scan; where it changed, something
is unusual.

After Naval Marimont et al., "DISYRE: Diffusion-inspired synthetic restoration for unsupervised anomaly
detection" (ISBI 2024), with a gated residual instead of a plain prediction, in three dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.networks import SpaceToDepthUNet
from AnomalyDetectLib.prepare.prepared import Prepared

FEATURES = (24, 48, 96, 128)
CENTRE, SPREAD = 0.9, 0.2  # of brain tissue in working units
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

    image: (B,1,X,Y,Z) in working units. severity: (B,1), 0-1. healthy = image + sigmoid(logit) * correction:
    where the network sees nothing unusual it leaves the scan as it is.
    """
    # Group normalisation sees the whole volume: the step from air to brain would drown uncentred tissue.
    tissue = torch.where(image != 0, (image - CENTRE) / SPREAD, 0)
    level = severity.view(-1, 1, 1, 1, 1).expand_as(image)
    out = network(torch.cat([tissue, level], 1))
    correction, logit = out[:, :1], out[:, 1:2]
    return image + torch.sigmoid(logit) * correction, logit


class Restoration:
    """The shipped restoration model: one pass for each severity."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = restoration_network()
        self.network.load_state_dict(card.tensors())
        self.network.eval()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """Mean of the restorations over the severities, their variance, and the mean probability of a
        corruption.
        """
        network = self.network.to(device)
        image = prepared.tensor.to(device).clamp(0, 2.0)
        with torch.inference_mode():
            passes = [restore(network, image, torch.tensor([[s]], device=device)) for s in SEVERITIES]
        healthy = torch.stack([restored for restored, _ in passes])
        logit = torch.stack([seen for _, seen in passes])
        outside = torch.from_numpy(~prepared.brain)
        mean = healthy.mean(0)[0, 0].cpu().masked_fill(outside, 0)
        return Rebuild(
            healthy=mean.numpy(),
            variance=healthy.var(0)[0, 0].cpu().masked_fill(outside, 0).numpy(),
            anomaly=torch.sigmoid(logit).mean(0)[0, 0].cpu().masked_fill(outside, 0).numpy(),
        )
