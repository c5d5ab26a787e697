"""The 2-D networks that the slice families share: encoder, decoder, auto-encoder and U-Net.

Their own and not MONAI's, because shipped models run where MONAI isn't installed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.windows import WINDOWS, windows

FEATURES = (16, 32, 64, 128)
THIN = 8  # channels before the code: the dense layers would be nine tenths of all weights otherwise


class ConvBlock2d(nn.Sequential):
    """Convolution 3², group normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU()
        )


class Encoder(nn.Module):
    """(B,inputs,H,W) to features at a half, a quarter … of the size, the coarsest last.

    windowed: it sees one image in three windows, as CT is looked at; see `windows`.
    """

    def __init__(self, inputs: int = 1, features: Sequence[int] = FEATURES, windowed: bool = False) -> None:
        super().__init__()
        self.windowed = windowed
        inputs = WINDOWS if windowed else inputs
        self.levels = nn.ModuleList(
            nn.Sequential(ConvBlock2d(a, b, 2), ConvBlock2d(b, b))
            for a, b in itertools.pairwise((inputs, *features))
        )

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The features of every level, fine to coarse."""
        found = [windows(image) if self.windowed else image]
        for level in self.levels:
            found.append(level(found[-1]))
        return found[1:]

    def forward(self, image: Tensor) -> Tensor:
        """The coarsest features (B,features[-1],H/2^levels,W/2^levels)."""
        return self.pyramid(image)[-1]


class Decoder(nn.Module):
    """The coarsest features back to (B,outputs,H,W)."""

    def __init__(self, outputs: int = 1, features: Sequence[int] = FEATURES) -> None:
        super().__init__()
        down = (*reversed(features), features[0])
        self.levels = nn.ModuleList(ConvBlock2d(a, b) for a, b in itertools.pairwise(down))
        self.head = nn.Conv2d(features[0], outputs, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        """(B,features[-1],h,w) to (B,outputs,h 2^levels,w 2^levels)."""
        for level in self.levels:
            code = level(functional.interpolate(code, scale_factor=2.0))
        out: Tensor = self.head(code)
        return out


def shrinking(size: int, features: Sequence[int], codes: int) -> nn.Module:
    """A layer from the coarsest features of images of `size` to a vector: a bottleneck that can't copy the
    image.
    """
    side = size // 2 ** len(features)
    thin = nn.Conv2d(features[-1], THIN, 1)
    return nn.Sequential(thin, nn.Flatten(), nn.Linear(THIN * side * side, codes))


def growing(size: int, features: Sequence[int], codes: int) -> nn.Module:
    """A layer from a vector back to the coarsest features."""
    side = size // 2 ** len(features)
    thin = nn.Unflatten(1, (THIN, side, side))
    wide = nn.Conv2d(THIN, features[-1], 1)
    return nn.Sequential(nn.Linear(codes, THIN * side * side), thin, nn.SiLU(), wide, nn.SiLU())


class DenseAutoEncoder(nn.Module):
    """Convolutional auto-encoder with a vector between encoder and decoder. windowed: see `Encoder`."""

    def __init__(
        self,
        size: int,
        features: Sequence[int] = FEATURES,
        latent: int = 128,
        outputs: int = 1,
        windowed: bool = False,
    ) -> None:
        super().__init__()
        self.down, self.shrink = Encoder(1, features, windowed), shrinking(size, features, latent)
        self.grow, self.up = growing(size, features, latent), Decoder(outputs, features)

    def encode(self, image: Tensor) -> Tensor:
        """(B,1,H,W) to (B,latent)."""
        code: Tensor = self.shrink(self.down(image))
        return code

    def decode(self, code: Tensor) -> Tensor:
        """(B,latent) to (B,outputs,H,W)."""
        image: Tensor = self.up(self.grow(code))
        return image


class UNet2d(nn.Module):
    """U-Net with skip connections; (B,inputs,H,W) to (B,outputs,H,W), sides multiples of 2^levels.

    windowed: see `Encoder`.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        features: Sequence[int] = FEATURES,
        windowed: bool = False,
    ) -> None:
        super().__init__()
        self.windowed = windowed
        self.stem = ConvBlock2d(WINDOWS if windowed else inputs, features[0])
        self.encoder = Encoder(features[0], features)
        pairs = list(zip(reversed(features), (*reversed(features[:-1]), features[0]), strict=True))
        self.ups = nn.ModuleList(
            nn.Sequential(ConvBlock2d(below + skip, skip), ConvBlock2d(skip, skip)) for below, skip in pairs
        )
        self.head = nn.Conv2d(features[0], outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The prediction at the image's size."""
        start = self.stem(windows(image) if self.windowed else image)
        levels = [start, *self.encoder.pyramid(start)]
        out = levels.pop()
        for up in self.ups:
            out = up(torch.cat([functional.interpolate(out, scale_factor=2.0), levels.pop()], 1))
        found: Tensor = self.head(out)
        return found
