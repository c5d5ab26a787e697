"""The head network: intracranial mask, tissue and template coordinates of a head of any contrast at 2 mm."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.networks import SpaceToDepthUNet, depth_to_space

HEAD_SPACING = 2.0
COORDINATE_SCALE_MM = 100.0
TISSUES = ("fluid", "grey", "white")
FEATURES = (16, 32, 64, 96)
COORDINATE_LEVEL = -2  # 8-mm voxels: fine enough for an affine map, and it leaves the last level to the mask


class HeadPrediction(NamedTuple):
    """mask: logit (B,1,X,Y,Z). tissue: logits (B,3,X,Y,Z). coordinates: template mm / 100,
    (B,3,X/4,Y/4,Z/4).
    """

    mask: Tensor
    tissue: Tensor
    coordinates: Tensor


class HeadNetwork(SpaceToDepthUNet):
    """A space-to-depth U-Net with a second, coarser head for the coordinates."""

    def __init__(self) -> None:
        super().__init__(1, 1 + len(TISSUES), FEATURES)
        self.coordinates = nn.Conv3d(FEATURES[1], 3, 1)

    def predict(self, image: Tensor) -> HeadPrediction:
        """From a scaled head (B,1,X,Y,Z), its sides multiples of `multiple`."""
        decoded = self.decode(image)
        out = depth_to_space(self.head(decoded[-1]))
        return HeadPrediction(out[:, :1], out[:, 1:], self.coordinates(decoded[COORDINATE_LEVEL]))


def enlarge(coordinates: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Coarse coordinates (B,3,...) at every voxel of `size`."""
    return functional.interpolate(coordinates, size=size, mode="trilinear", align_corners=False)


def scale_head(image: Tensor) -> Tensor:
    """Map the 1st percentile to 0 and the 99.5th to 1 over all voxels (X,Y,Z); clip to -0.2 ... 1.5."""
    values = image.ravel()[:: max(1, image.numel() // 30_000)].float()
    low, high = torch.quantile(values, torch.tensor([0.01, 0.995]))
    scaled: Tensor = ((image.float() - low) / (high - low).clamp(min=1e-6)).clamp(-0.2, 1.5)
    return scaled
