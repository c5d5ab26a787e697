"""The 3-D network that brain extraction and the restoration models share: a space-to-depth U-Net."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional


def space_to_depth(x: Tensor) -> Tensor:
    """(B,C,X,Y,Z) to (B,8C,X/2,Y/2,Z/2): every 2x2x2 block becomes channels. Sizes must be even."""
    b, c, d, h, w = x.shape
    blocks = x.view(b, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, d // 2, h // 2, w // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """The inverse of `space_to_depth`."""
    b, c, d, h, w = x.shape
    blocks = x.view(b, c // 8, 2, 2, 2, d, h, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, d * 2, h * 2, w * 2)


class ConvBlock(nn.Sequential):
    """Convolution 3³, group normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.LeakyReLU(0.1, inplace=True),
        )


class SpaceToDepthUNet(nn.Module):
    """U-Net whose first level works at half resolution on 2x2x2 blocks, and whose output returns to full
    resolution.

    inputs, outputs: channels at full resolution. features: channels of each level, multiples of 8. The
    input's sides must be multiples of `2 ** len(features)`. On two CPU cores the blocks make it about four
    times as fast as a U-Net that convolves at full resolution, with the same number of weights.
    """

    def __init__(self, inputs: int, outputs: int, features: tuple[int, ...]) -> None:
        super().__init__()
        self.multiple = 2 ** len(features)
        self.stem = nn.Sequential(ConvBlock(8 * inputs, features[0]), ConvBlock(features[0], features[0]))
        pairs = list(itertools.pairwise(features))
        self.down = nn.ModuleList(nn.Sequential(ConvBlock(a, b, 2), ConvBlock(b, b)) for a, b in pairs)
        self.project = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in reversed(pairs))
        self.up = nn.ModuleList(ConvBlock(2 * a, a) for a, _ in reversed(pairs))
        self.head = nn.Conv3d(features[0], 8 * outputs, 3, padding=1)

    def decode(self, x: Tensor) -> list[Tensor]:
        """Decoder features from coarse to fine; the last (B,features[0],X/2,Y/2,Z/2) is what the head
        predicts from.
        """
        levels = [self.stem(space_to_depth(x))]
        for down in self.down:
            levels.append(down(levels[-1]))
        y = levels.pop()
        decoded = []
        for project, up in zip(self.project, self.up, strict=True):
            skip = levels.pop()
            y = functional.interpolate(project(y), size=skip.shape[2:], mode="trilinear", align_corners=False)
            y = up(torch.cat([y, skip], 1))
            decoded.append(y)
        return decoded

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,X,Y,Z) to (B,outputs,X,Y,Z)."""
        return depth_to_space(self.head(self.decode(x)[-1]))
