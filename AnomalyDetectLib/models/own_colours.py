"""A scan's own colours: the local intensity of each healthy tissue, and the brain painted with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.volume import FloatArray, smooth

SHRINK = 2  # colours vary slowly: they are estimated on a coarser lattice
SIGMA = 3.0  # coarse voxels: over how far a tissue keeps its colour
ELSEWHERE = 0.1  # weight of the tissue's colour in the whole brain, where there is little of it nearby
ROUNDS = 2
OUTLIER = 3.0  # standard deviations
FIRST_OUTLIER = 2.0  # from the tissue's colour in the whole brain, which a large lesion can't repaint
LEAST_SD = 0.1  # input units: the noise of a good scan


class Painted(NamedTuple):
    """expected: the healthy anatomy in the scan's own colours; sd: how far healthy voxels stray from it
    (X,Y,Z). colours: the local intensity of each tissue (C,X,Y,Z).
    """

    expected: Tensor
    sd: Tensor
    colours: Tensor


def paint(image: Tensor, tissue: Tensor, anomaly: Tensor, brain: Tensor) -> Painted:
    """Paint the tissue probabilities (C,X,Y,Z) of a healthy brain with the scan's own local intensities.

    image, anomaly (probability of a lesion), brain: (X,Y,Z). Mean and variance of each tissue are slowly
    varying, weighted by how purely a voxel is that tissue and how surely it is no lesion, and estimated again
    without what strays: first from the tissue's colour in the whole brain, then from its local one. The
    variance of a mixture of tissues (law of total variance) counts the doubt about which tissue it is.
    """
    sure = brain.float() * (1 - anomaly) ** 2
    trusted = sure
    for _ in range(ROUNDS):
        mean, variance = (one[:, None, None, None] for one in _colours(_moments(image, tissue**2 * trusted)))
        trusted = sure * _trust(image, _mixed(tissue, mean, variance), FIRST_OUTLIER)
    sure = trusted
    for turn in range(ROUNDS):
        painted = _mixed(tissue, *_local_colours(image, tissue**2 * trusted))
        if turn + 1 < ROUNDS:
            trusted = sure * _trust(image, painted, OUTLIER)
    return painted._replace(expected=torch.where(brain, painted.expected, 0))


def _mixed(tissue: Tensor, mean: Tensor, variance: Tensor) -> Painted:
    """A mixture of tissues (C,X,Y,Z), whose mean and variance are (C,X,Y,Z) or (C,1,1,1)."""
    expected = (tissue * mean).sum(0)
    sd = (tissue * (variance + (mean - expected) ** 2)).sum(0).sqrt().clamp(min=LEAST_SD)
    return Painted(expected, sd, mean)


def _trust(image: Tensor, painted: Painted, outlier: float) -> Tensor:
    """Weight (X,Y,Z), 1 where the image is as painted, 0.5 at `outlier` standard deviations.

    It is smooth: a hard limit would enlarge what another number of threads changes in the last digits.
    """
    return 1 / (1 + ((image - painted.expected) / (outlier * painted.sd)) ** 4)


def _moments(image: Tensor, weight: Tensor) -> Tensor:
    """Weight, weighted intensity and weighted square of it (3,C,X,Y,Z)."""
    return torch.stack([weight, weight * image, weight * image**2])


def _colours(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each tissue (C) over the whole brain."""
    total = moments.sum((2, 3, 4))
    mean = total[1] / (total[0] + 1e-3)
    return mean, (total[2] / (total[0] + 1e-3) - mean**2).clamp(min=LEAST_SD**2)


def _local_colours(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Local mean and variance of each tissue (C,X,Y,Z), drawn towards those of the whole brain where it is
    rare.
    """
    moments = _moments(image, weight)
    all_mean, all_variance = _colours(moments)
    coarse = functional.avg_pool3d(moments, SHRINK)
    near = torch.from_numpy(np.stack([_blurred(one) for one in coarse.flatten(0, 1).numpy()]))
    near = near.clamp(min=0).view(coarse.shape) + ELSEWHERE * torch.stack(
        [torch.ones_like(all_mean), all_mean, all_variance + all_mean**2]
    ).view(3, -1, 1, 1, 1)
    mean = near[1] / near[0]
    variance = (near[2] / near[0] - mean**2).clamp(min=LEAST_SD**2)
    size = image.shape
    fine = functional.interpolate(
        torch.stack([mean, variance]), size=size, mode="trilinear", align_corners=False
    )
    return fine[0], fine[1]


def _blurred(array: FloatArray) -> FloatArray:
    return smooth(array, (SIGMA, SIGMA, SIGMA))
