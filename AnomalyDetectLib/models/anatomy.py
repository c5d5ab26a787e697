"""Anatomy and restoration in one network for scans of any contrast: it takes lesions out of the scan, says
where it found some, and names the healthy tissue underneath, which is then painted in the scan's own colours.

Restoration after Naval Marimont et al., "DISYRE" (ISBI 2024); healthy anatomy from painted label maps after
Billot et al., "SynthSeg" (Medical Image Analysis 2023), here with lesions over them; predicted variance after
Kendall and Gal (NeurIPS 2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models import own_colours
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.differentiable import Differentiable, DifferentiableRebuild, enlarged
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.restoration import passes, tissue_prior
from AnomalyDetectLib.networks import SpaceToDepthUNet, depth_to_space
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray

TISSUES = (
    "csf", "ventricle", "cortex", "white", "deep grey", "cerebellar grey", "cerebellar white", "brain stem",
)  # fmt: skip
# 16 channels in the first level are too few for all that is told of 2x2x2 voxels.
FEATURES = (32, 48, 96, 160)
QUANTILES = (0.1, 0.5, 0.9)
WIDTH_OF_T1 = 3.0  # what lies between the outer quantiles of a T1 scan, in units of the network
LARGEST = 8.0  # input units
LOG_VARIANCE = (-6.0, 4.0)  # range of the predicted one, input units squared
SAMPLES = 20_000
SURE = 0.2  # of the prior, which is -1 to 1: six of ten healthy brains have the tissue there
MEMBERSHIP_WIDTH = 0.6  # input units: about half the contrast between grey and white matter in T1
PAINTED_SHARE = (
    0.5  # of the healthy version where a lesion is certain: the painted anatomy, the rest restored
)


class Restored(NamedTuple):
    """healthy (B,1,X,Y,Z) and its log_variance, logit of a corruption (B,1,X,Y,Z), tissue logits (B,8,X,Y,Z).

    healthy and variance are in input units (see `levels`).
    """

    healthy: Tensor
    logit: Tensor
    log_variance: Tensor
    tissue: Tensor


class AnatomyNetwork(SpaceToDepthUNet):
    """Channels in: scan; where healthy brains have fluid, grey and white matter; how close the voxel is to
    the scan's own intensity of each of them; how far it is from the other side of the brain.
    """

    inputs = 8

    def __init__(self) -> None:
        super().__init__(self.inputs, 3, FEATURES)
        self.tissue = nn.Conv3d(FEATURES[0], 8 * len(TISSUES), 1)

    def restore(self, image: Tensor, asymmetry: Tensor, *more: Tensor) -> Restored:
        """From a brain (B,1,X,Y,Z) in input units, 0 outside the brain, and its asymmetry (B,1,X,Y,Z); 0
        where the other side shall not be told. more: what a network with more `inputs` is told (B,1,X,Y,Z).
        """
        prior = tissue_prior(str(image.device)).expand(len(image), -1, -1, -1, -1)
        decoded = self.decode(torch.cat([image, prior, memberships(image, prior[0]), asymmetry, *more], 1))[
            -1
        ]
        correction, logit, log_variance = torch.split(depth_to_space(self.head(decoded)), 1, 1)
        return Restored(
            image + correction, logit, log_variance.clamp(*LOG_VARIANCE), depth_to_space(self.tissue(decoded))
        )


def memberships(image: Tensor, prior: Tensor) -> Tensor:
    """How close each voxel is to the scan's own fluid, grey and white matter (B,3,X,Y,Z), 0-1, 0 outside the
    brain.

    image: input units. prior: (3,X,Y,Z), -1 to 1. The scan's own intensity of a tissue is the median where
    nearly all healthy brains have it: so the network is told the contrast, and needn't learn every one.
    """
    inside = image != 0
    maps = torch.zeros(len(image), len(prior), *image.shape[2:], device=image.device)
    for number, scan in enumerate(image[:, 0]):
        for tissue, share in enumerate(prior):
            values = scan[(share > SURE) & inside[number, 0]]
            if len(values):
                # A median's whole gradient would fall on the one voxel that it is.
                middle = values.median().detach()
                maps[number, tissue] = torch.exp(-0.5 * ((scan - middle) / MEMBERSHIP_WIDTH) ** 2)
    return maps * inside


def levels(image: Tensor, brain: Tensor) -> tuple[float, float]:
    """Middle and unit of a scan's intensities (X,Y,Z): the median, and the width between the outer quantiles
    over `WIDTH_OF_T1`, so that all contrasts look alike to the network.
    """
    values = image[brain]
    values = values[:: max(1, len(values) // SAMPLES)].float()
    low, middle, high = torch.quantile(values, torch.tensor(QUANTILES, device=values.device)).tolist()
    return middle, max((high - low) / WIDTH_OF_T1, 1e-3)


def to_input(image: Tensor, brain: Tensor, middle: float, unit: float) -> Tensor:
    """A scan (X,Y,Z) in input units, 0 outside the brain."""
    # Group normalisation sees the whole volume: the step from air to brain would drown uncentred tissue.
    return torch.where(brain, ((image - middle) / unit).clamp(-LARGEST, LARGEST), 0)


def asymmetry_of(image: Tensor) -> Tensor:
    """A brain in input units minus its mirror image (B,1,X,Y,Z), 0 where one of them isn't brain."""
    mirrored = image.flip(2)
    return torch.where((image != 0) & (mirrored != 0), image - mirrored, 0)


class Anatomy:
    """The shipped model: passes over the scan and its mirror image, each as it is and moved by a voxel."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = AnatomyNetwork()
        self.network.load_state_dict(card.tensors())
        self.network.eval()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """healthy: the restored scan where it looks healthy, the painted anatomy where a lesion is. variance:
        the predicted one and the spread between the passes. anomaly: mean probability of a lesion. expected,
        expected_sd: the painted anatomy.
        """
        network = self.network.to(device)
        brain = torch.from_numpy(prepared.brain)
        image = prepared.tensor[0, 0]
        middle, unit = levels(image, brain)
        scan = to_input(image, brain, middle, unit)
        with torch.inference_mode():
            maps = passes(lambda moved: _maps(network, moved), _told(scan).to(device)).cpu()
            anomaly = torch.sigmoid(maps[:, 1]).mean(0)
            expected, sd, _ = own_colours.paint(scan, maps[:, 3:].mean(0), anomaly, brain)
            healthy = maps[:, 0].mean(0).lerp(expected, PAINTED_SHARE * anomaly)
            variance = maps[:, 2].exp().mean(0) + maps[:, 0].var(0, correction=0)

        def inside(values: Tensor) -> FloatArray:
            return values.masked_fill(~brain, 0).numpy()

        return Rebuild(
            healthy=inside(healthy * unit + middle),
            variance=inside(variance * unit**2),
            anomaly=inside(anomaly),
            expected=inside(expected * unit + middle),
            expected_sd=(sd * unit).numpy(),
        )

    def differentiable(self, prepared: Prepared, needed: BoolArray, device: str = "cpu") -> Differentiable:
        """One pass over the scan as it is. The scan's own colours and their SD are held as they were found:
        they come from the whole brain, and hardly move with a part of it.
        """
        network = self.network.to(device)
        brain = torch.from_numpy(prepared.brain)
        middle, unit = levels(prepared.tensor[0, 0], brain)
        scan = to_input(prepared.tensor[0, 0], brain, middle, unit)
        with torch.no_grad():
            seen = _maps(network, _told(scan).to(device))[0].cpu()
        painted = own_colours.paint(scan, seen[3:], torch.sigmoid(seen[1]), brain)
        colours, sd, inside = painted.colours.to(device), painted.sd.to(device), brain.to(device)

        def rebuild(image: Tensor) -> DifferentiableRebuild:
            maps = _maps(network, _told(to_input(image[0, 0], inside, middle, unit)))[0]
            expected = (maps[3:] * colours).sum(0)
            healthy = maps[0].lerp(expected, PAINTED_SHARE * torch.sigmoid(maps[1]))
            return DifferentiableRebuild(
                healthy=healthy * unit + middle,
                log_odds=maps[1],
                expected=expected * unit + middle,
                expected_sd=sd * unit,
            )

        return Differentiable(rebuild, network.down[-1], enlarged(prepared.brain.shape))


def _told(scan: Tensor) -> Tensor:
    """What the network is told of a scan (X,Y,Z) in input units: itself and its asymmetry (1,2,X,Y,Z)."""
    image = scan[None, None]
    return torch.cat([image, asymmetry_of(image)], 1)


def _maps(network: AnatomyNetwork, told: Tensor) -> Tensor:
    """Healthy version, logit, log variance and tissue probabilities (B,3 + tissues,X,Y,Z)."""
    out = network.restore(*torch.split(told, 1, 1))
    return torch.cat([*out[:3], torch.softmax(out.tissue, 1)], 1)
