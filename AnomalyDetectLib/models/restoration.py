"""Restoration: a network that takes lesions of any severity out of a scan; where it changed something, and
where it expects a lesion, something is unusual.

After Naval Marimont et al., "DISYRE: Diffusion-inspired synthetic restoration for unsupervised anomaly
detection" (ISBI 2024), in three dimensions and with a predicted variance (Kendall and Gal, "What
uncertainties do we need in Bayesian deep learning for computer vision?", NeurIPS 2017).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.differentiable import Differentiable, DifferentiableRebuild, enlarged
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.networks import SpaceToDepthUNet
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.volume import BoolArray

FEATURES = (16, 48, 96, 160)
CENTRE, SPREAD = 0.9, 0.2  # of brain tissue in working units
SHIFTS = (0, 1)  # voxels: the network works on blocks of two
LOG_VARIANCE = (-12.0, 2.0)  # range of the predicted one
BRIGHTEST = 2.0  # working units


def restoration_network() -> SpaceToDepthUNet:
    """Channels in: scan and where healthy brains have fluid, grey and white matter. Channels out: correction,
    logit of a corruption, log variance of the correction.
    """
    return SpaceToDepthUNet(4, 3, FEATURES)


@functools.cache
def tissue_prior(device: str) -> Tensor:
    """Share of healthy brains with fluid, grey and white matter at each place of the template, (1,3,X,Y,Z)
    from -1 to 1: knowledge of anatomy that no scanner colours.
    """
    return 2 * torch.from_numpy(load_template().tissue)[None].to(device) - 1


def restore(network: SpaceToDepthUNet, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Healthy version, corruption logit and log variance of the healthy version, each (B,1,X,Y,Z).

    image: (B,1,X,Y,Z) in working units, 0 outside the brain. The correction isn't multiplied by the
    corruption's probability: such a gate closes in the first updates and then starves the correction.
    """
    # Group normalisation sees the whole volume: the step from air to brain would drown uncentred tissue.
    tissue = torch.where(image != 0, (image - CENTRE) / SPREAD, 0)
    prior = tissue_prior(str(image.device)).expand(len(image), -1, -1, -1, -1)
    correction, logit, log_variance = network(torch.cat([tissue, prior], 1)).split(1, 1)
    return image + correction, logit, log_variance.clamp(*LOG_VARIANCE)


class Restoration:
    """The shipped restoration model: passes over the scan and its mirror image, each as it is and moved."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = restoration_network()
        self.network.load_state_dict(card.tensors())
        self.network.eval()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """Mean of the passes; variance: the predicted one and the spread between the passes; anomaly: mean
        probability of a corruption.
        """
        network = self.network.to(device)
        image = prepared.tensor.to(device).clamp(0, BRIGHTEST)
        with torch.inference_mode():
            maps = passes(lambda scan: torch.cat(restore(network, scan), 1), image).cpu()
        outside = torch.from_numpy(~prepared.brain)
        variance = maps[:, 2].exp().mean(0) + maps[:, 0].var(0, correction=0)
        return Rebuild(
            healthy=maps[:, 0].mean(0).masked_fill(outside, 0).numpy(),
            variance=variance.masked_fill(outside, 0).numpy(),
            anomaly=torch.sigmoid(maps[:, 1]).mean(0).masked_fill(outside, 0).numpy(),
        )

    def differentiable(self, prepared: Prepared, needed: BoolArray, device: str = "cpu") -> Differentiable:
        """One pass over the scan as it is."""
        network = self.network.to(device)

        def rebuild(image: Tensor) -> DifferentiableRebuild:
            healthy, logit, _ = restore(network, image.clamp(0, BRIGHTEST))
            return DifferentiableRebuild(healthy=healthy[0, 0], log_odds=logit[0, 0])

        return Differentiable(rebuild, network.down[-1], enlarged(prepared.brain.shape))


def passes(see: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """What `see` makes of the image and of its mirror image, each as it is and moved, all moved back.

    image, see: from (1,K,X,Y,Z) to maps (1,C,X,Y,Z). Returns (passes,C,X,Y,Z).
    """
    return torch.cat([_pass(see, image, shift, mirror) for shift in SHIFTS for mirror in (False, True)])


def _pass(see: Callable[[Tensor], Tensor], image: Tensor, shift: int, mirror: bool) -> Tensor:
    moved = image.roll((shift,) * 3, (2, 3, 4))
    maps = see(moved.flip(2) if mirror else moved)
    return (maps.flip(2) if mirror else maps).roll((-shift,) * 3, (2, 3, 4))
