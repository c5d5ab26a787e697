"""A scan's own colours: the local intensity of each healthy tissue, and the brain painted with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.volume import smooth

SHRINK = 4  # colours vary slowly: they are estimated on a coarser lattice
# Coarse voxels: over how far a tissue keeps its colour. Nearer colours follow a small lesion's surroundings
# better, and a large lesion itself, too: with 1.5 (and .05 elsewhere), 2 and 2.5 (.3) AP of multiple
# sclerosis on the working grid was .53, .51 and .47, of simulated lesions on FLAIR .73, .72 and .71, of
# gliomas on FLAIR .80 with each.
SIGMA = 2.0
ELSEWHERE = 0.1  # coarse voxels' worth of what the tissue is like in the whole brain
WHOLE_ROUNDS, LOCAL_ROUNDS = 3, 2
OUTLIER = 3.0  # standard deviations
FIRST_OUTLIER = 2.0  # from the tissues' colours in the whole brain, which a large lesion can't repaint
DOUBT = 0.5  # of the variance that would follow if a voxel were one of its tissues and not all of them
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

    image, anomaly (probability of a lesion), brain: (X,Y,Z). A probability is read as a share of the voxel:
    the colours are those that, mixed by these shares, come nearest to the scan (weighted least squares), and
    vary slowly. Voxels weigh by how surely they are no lesion, and by how little they stray from what is
    painted: first with the colours of the whole brain, then with local ones. The variance is the tissues'
    own, mixed, and in part the doubt about which tissue it is (law of total variance).
    """
    sure = brain.float() * (1 - anomaly) ** 2
    trusted = sure
    whole = _mean(image, tissue**2 * sure)
    for _ in range(WHOLE_ROUNDS):
        whole = _whole_colours(image, tissue, trusted, whole)
        strayed = (image - (tissue * whole).sum(0)) ** 2
        variance = _mean(strayed, tissue * trusted)
        trusted = sure * _trust(image, _mixed(tissue, whole, variance), FIRST_OUTLIER)
    sure = trusted
    for turn in range(LOCAL_ROUNDS):
        colours = _local_colours(image, tissue, trusted, whole)
        strayed = (image - (tissue * colours).sum(0)) ** 2
        painted = _mixed(tissue, colours, _local_variance(strayed, tissue * trusted))
        if turn + 1 < LOCAL_ROUNDS:
            trusted = sure * _trust(image, painted, OUTLIER)
    return painted._replace(expected=torch.where(brain, painted.expected, 0))


def _mixed(tissue: Tensor, colours: Tensor, variance: Tensor) -> Painted:
    """A mixture of tissues (C,X,Y,Z), whose colours and variance are (C,X,Y,Z) or (C,1,1,1)."""
    expected = (tissue * colours).sum(0)
    spread = (tissue * (variance + DOUBT * (colours - expected) ** 2)).sum(0)
    return Painted(expected, spread.sqrt().clamp(min=LEAST_SD), colours)


def _trust(image: Tensor, painted: Painted, outlier: float) -> Tensor:
    """Weight (X,Y,Z), 1 where the image is as painted, 0.5 at `outlier` standard deviations.

    It is smooth: a hard limit would enlarge what another number of threads changes in the last digits.
    """
    return 1 / (1 + ((image - painted.expected) / (outlier * painted.sd)) ** 4)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of values (X,Y,Z) over the whole brain by each weight (C,X,Y,Z), (C,1,1,1)."""
    total = (weight * values).sum((1, 2, 3), keepdim=True)
    return total / (weight.sum((1, 2, 3), keepdim=True) + 1e-3)


def _whole_colours(image: Tensor, tissue: Tensor, weight: Tensor, near: Tensor) -> Tensor:
    """Colours (C,1,1,1) of the whole brain that fit best; near: (C,1,1,1), kept where there is no tissue."""
    shares, weighted = tissue.flatten(1), (tissue * weight).flatten(1)
    missing = (image - (tissue * near).sum(0)).flatten()
    change = _solved(weighted @ shares.T, weighted @ missing, ELSEWHERE)
    return near + change.view_as(near)


def _local_colours(image: Tensor, tissue: Tensor, weight: Tensor, whole: Tensor) -> Tensor:
    """Colours (C,X,Y,Z) that fit best nearby, drawn towards those of the whole brain (C,1,1,1)."""
    weighted = tissue * weight
    kinds = len(tissue)
    first, second = torch.triu_indices(kinds, kinds).tolist()
    products = _nearby(torch.stack([weighted[a] * tissue[b] for a, b in zip(first, second, strict=True)]))
    missing = _nearby(weighted * (image - (tissue * whole).sum(0)))
    moments = torch.zeros(*missing.shape[1:], kinds, kinds)
    moments[..., first, second] = moments[..., second, first] = products.movedim(0, -1)
    change = _solved(moments, missing.movedim(0, -1), ELSEWHERE).movedim(-1, 0)
    return whole + _enlarged(change, image)


def _local_variance(strayed: Tensor, weight: Tensor) -> Tensor:
    """Local variance of each tissue (C,X,Y,Z) from the squared differences (X,Y,Z), drawn towards that of the
    whole brain where the tissue is rare. weight: (C,X,Y,Z).
    """
    near = _nearby(weight * strayed).clamp(min=0) + ELSEWHERE * _mean(strayed, weight)
    return _enlarged(near / (_nearby(weight).clamp(min=0) + ELSEWHERE), strayed)


def _solved(moments: Tensor, missing: Tensor, ridge: float) -> Tensor:
    """The change of colours (...,C) that makes up for what is missing, as small as `ridge` asks."""
    change: Tensor = torch.linalg.solve(moments + ridge * torch.eye(moments.shape[-1]), missing)
    return change


def _nearby(maps: Tensor) -> Tensor:
    """Weighted means of maps (C,X,Y,Z) nearby, on the coarser lattice."""
    coarse = functional.avg_pool3d(maps, SHRINK)
    return torch.from_numpy(np.stack([smooth(one, (SIGMA, SIGMA, SIGMA)) for one in coarse.numpy()]))


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (C,x,y,z) of the coarser lattice on that of `like` (X,Y,Z)."""
    return functional.interpolate(maps[None], size=like.shape, mode="trilinear", align_corners=False)[0]
