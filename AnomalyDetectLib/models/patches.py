"""Patch features of a frozen encoder, as PaDiM and PatchCore compare them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.models.slice_networks import Encoder

COVER = 0.5  # of a patch's pixels: with less brain it is background


def patch_features(encoder: Encoder, image: Tensor) -> Tensor:
    """Features of all levels but the coarsest, brought to the size of the coarsest among them: (B,h,w,C)."""
    levels = encoder.pyramid(image)[:-1]
    size = (levels[-1].shape[2], levels[-1].shape[3])
    # Neighbours are averaged, as PatchCore does, so that a patch sees beyond its edges.
    near = [functional.avg_pool2d(level, 3, 1, 1) for level in levels]
    return torch.cat([functional.adaptive_avg_pool2d(one, size) for one in near], 1).movedim(1, -1)


def covered(brain: Tensor, patches: Tensor) -> Tensor:
    """Which of (B,h,w) patches show brain."""
    size = (patches.shape[1], patches.shape[2])
    return functional.adaptive_avg_pool2d(brain, size)[:, 0] >= COVER


def spread_out(values: Tensor, size: int) -> Tensor:
    """A value for each patch (B,h,w) as a map (B,1,size,size)."""
    return functional.interpolate(values[:, None], size=(size, size), mode="bilinear")
