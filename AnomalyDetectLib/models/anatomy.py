"""Anatomy and restoration in one network for scans of any contrast: it takes lesions out of the scan, says where
it found some, and names the healthy tissue underneath, which is then painted in the scan's own colours.

Restoration after Naval Marimont et al., "DISYRE" (ISBI 2024); healthy anatomy from painted label maps after Billot
et al., "SynthSeg" (Medical Image Analysis 2023), here with lesions over them; predicted variance after Kendall and
Gal (NeurIPS 2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models.restoration import FEATURES, tissue_prior
from AnomalyDetectLib.networks import SpaceToDepthUNet, depth_to_space

TISSUES = (
    "csf", "ventricle", "cortex", "white", "deep grey", "cerebellar grey", "cerebellar white", "brain stem",
)  # fmt: skip
QUANTILES = (0.1, 0.5, 0.9)
WIDTH_OF_T1 = 3.0  # what lies between the outer quantiles of a T1 scan, in units of the network
LARGEST = 8.0  # input units
LOG_VARIANCE = (-6.0, 4.0)  # range of the predicted one, input units squared
SAMPLES = 20_000


class Restored(NamedTuple):
    """healthy (B,1,X,Y,Z) and its log_variance, logit of a corruption (B,1,X,Y,Z), tissue logits (B,8,X,Y,Z).

    healthy and variance are in input units (see `levels`).
    """

    healthy: Tensor
    logit: Tensor
    log_variance: Tensor
    tissue: Tensor


class AnatomyNetwork(SpaceToDepthUNet):
    """Channels in: scan and where healthy brains have fluid, grey and white matter."""

    def __init__(self) -> None:
        super().__init__(4, 3, FEATURES)
        self.tissue = nn.Conv3d(FEATURES[0], 8 * len(TISSUES), 1)

    def restore(self, image: Tensor) -> Restored:
        """From a brain (B,1,X,Y,Z) in input units, 0 outside the brain."""
        prior = tissue_prior(str(image.device)).expand(len(image), -1, -1, -1, -1)
        decoded = self.decode(torch.cat([image, prior], 1))[-1]
        correction, logit, log_variance = depth_to_space(self.head(decoded)).split(1, 1)
        return Restored(
            image + correction, logit, log_variance.clamp(*LOG_VARIANCE), depth_to_space(self.tissue(decoded))
        )


def levels(image: Tensor, brain: Tensor) -> tuple[float, float]:
    """Middle and unit of a scan's intensities (X,Y,Z): the median, and the width between the outer quantiles over
    `WIDTH_OF_T1`, so that all contrasts look alike to the network.
    """
    values = image[brain]
    values = values[:: max(1, len(values) // SAMPLES)].float()
    low, middle, high = torch.quantile(values, torch.tensor(QUANTILES, device=values.device)).tolist()
    return middle, max((high - low) / WIDTH_OF_T1, 1e-3)


def to_input(image: Tensor, brain: Tensor, middle: float, unit: float) -> Tensor:
    """A scan (X,Y,Z) in input units, 0 outside the brain."""
    # Group normalisation sees the whole volume: the step from air to brain would drown uncentred tissue.
    return torch.where(brain, ((image - middle) / unit).clamp(-LARGEST, LARGEST), 0)
