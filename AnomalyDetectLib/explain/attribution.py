"""Which voxels a finding's score comes from: integrated gradients, occlusion and Grad-CAM, all by captum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from AnomalyDetectLib.explain.target import Target
from AnomalyDetectLib.volume import BoolArray, FloatArray

STEPS = 8  # of the path integral, at Gauss's points
MARGIN = 5  # voxels of 2 mm around the finding that blocks of the occlusion cover
SMALLEST_BLOCK, MOST_BLOCKS = 3, 48  # a side in voxels; each block costs one pass of the network


@dataclass(frozen=True)
class Occlusion:
    """How far a finding's mean z falls when parts of the scan become healthy.

    blocks: int (X,Y,Z), 1, 2, … in the neighbourhood, 0 elsewhere. falls: z, by block (n,). finding: when the
    finding alone is healthy, elsewhere: when all but the neighbourhood is.
    """

    blocks: NDArray[np.int64]
    falls: NDArray[np.float64]
    finding: float
    elsewhere: float

    @property
    def map(self) -> FloatArray:
        """The fall of each block (X,Y,Z), z; 0 outside the neighbourhood."""
        return np.append(0.0, self.falls)[self.blocks].astype(np.float32)


def integrated_gradients(target: Target, image: Tensor, healthy: Tensor) -> tuple[FloatArray, float]:
    """What each voxel (X,Y,Z) adds to the target on the straight way from the healthy version to the scan, z;
    and by how much the sum misses the difference of both targets.

    image, healthy: (1,1,X,Y,Z) working units. After Sundararajan et al., "Axiomatic attribution for deep
    networks" (ICML 2017): (x - x') times the integral of the gradient from x' to x.
    """
    from captum.attr import IntegratedGradients

    found, gap = IntegratedGradients(target).attribute(
        image, baselines=healthy, n_steps=STEPS, internal_batch_size=1, return_convergence_delta=True
    )
    return found[0, 0].detach().float().cpu().numpy(), float(gap)


def occlusion(
    target: Target, image: Tensor, healthy: Tensor, inside: BoolArray, brain: BoolArray
) -> Occlusion:
    """How far the target falls when blocks of the finding's neighbourhood are replaced by the healthy
    version.

    image, healthy: (1,1,X,Y,Z) working units. inside: the finding (X,Y,Z). After Zeiler and Fergus,
    "Visualizing and understanding convolutional networks" (ECCV 2014), with healthy tissue for their grey.
    """
    from captum.attr import FeatureAblation

    blocks = blocks_around(inside, brain)
    mask = torch.from_numpy(blocks)[None, None].to(image.device)
    found = FeatureAblation(target).attribute(image, baselines=healthy, feature_mask=mask)[0, 0].cpu().numpy()
    _, first = np.unique(blocks, return_index=True)
    elsewhere, *falls = found.reshape(-1)[first].astype(np.float64)
    with torch.no_grad():
        without = torch.where(torch.from_numpy(inside).to(image.device), healthy, image)
        finding = float(target(image) - target(without))
    return Occlusion(blocks, np.asarray(falls), finding, float(elsewhere))


def grad_cam(target: Target, image: Tensor) -> FloatArray:
    """Where the encoder's deepest layer saw what speaks for the finding (X,Y,Z), 0-1 of its maximum.

    image: (1,1,X,Y,Z) working units. After Selvaraju et al., "Grad-CAM" (ICCV 2017): channels weighted by
    their mean gradient, summed, and what is negative left out.
    """
    from captum.attr import LayerGradCam

    layer = target.model.layer
    assert layer is not None, "asked of models with an encoder alone"
    seen = LayerGradCam(target, layer).attribute(image.clone().requires_grad_(), relu_attributions=True)
    found = target.model.on_grid(seen.detach()).float().cpu().numpy()
    return np.asarray(found / max(float(found.max()), 1e-12), dtype=np.float32)


def blocks_around(inside: BoolArray, brain: BoolArray) -> NDArray[np.int64]:
    """Numbered cubes (X,Y,Z) that cover the finding and its neighbourhood, 0 elsewhere: as small as
    `MOST_BLOCKS` of them allow. Those without brain have no number.
    """
    hit = np.argwhere(inside)
    low, high = np.maximum(hit.min(0) - MARGIN, 0), np.minimum(hit.max(0) + MARGIN + 1, inside.shape)
    side = SMALLEST_BLOCK
    while np.prod(-(-(high - low) // side)) > MOST_BLOCKS:
        side += 1
    counts = -(-(high - low) // side)
    # Cubes stick out of the neighbourhood by as much on either side.
    start = low - (counts * side - (high - low)) // 2
    cube = (np.indices(inside.shape) - start[:, None, None, None]) // side
    near = np.all((cube >= 0) & (cube < counts[:, None, None, None]), axis=0) & brain
    code = np.ravel_multi_index(tuple(np.where(near, axis, 0) for axis in cube), tuple(counts))
    numbered = np.zeros(inside.shape, np.int64)
    numbered[near] = np.unique(code[near], return_inverse=True)[1].reshape(-1) + 1
    return numbered
