"""Random smooth fields, blurs and geometric warps on torch tensors that every synthetic scan is made with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Shape = tuple[int, int, int]


def smooth_noise(rng: np.random.Generator, shape: Shape, knots: Shape, sd: float) -> Tensor:
    """Gaussian noise of standard deviation `sd` on a coarse lattice of `knots`, trilinearly enlarged to
    `shape`.
    """
    coarse = torch.from_numpy(rng.normal(0.0, sd, (1, 1, *knots)).astype(np.float32))
    return functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def blur_axis(x: Tensor, sigma: float, axis: int) -> Tensor:
    """Gaussian blur of (X,Y,Z) along one axis, sigma in voxels."""
    if sigma < 0.2:
        return x
    radius = max(1, round(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    size = x.shape[axis]
    ends = [x.narrow(axis, 0, 1)] * radius, [x.narrow(axis, size - 1, 1)] * radius
    padded = torch.cat(
        [*ends[0], x, *ends[1]], axis
    )  # a sum of shifts is ten times faster than conv1d on one channel
    out = padded.narrow(axis, 0, size) * float(kernel[0])
    for shift, weight in enumerate(kernel[1:], 1):
        out.add_(padded.narrow(axis, shift, size), alpha=float(weight))
    return out


def blur(x: Tensor, sigma: float) -> Tensor:
    """Isotropic Gaussian blur of (X,Y,Z), sigma in voxels."""
    for axis in range(3):
        x = blur_axis(x, sigma, axis)
    return x


def thick_slices(x: Tensor, factor: float, axis: int, phase: float = 0.5) -> Tensor:
    """What slices `factor` voxels thick along `axis` look like after linear resampling back to the grid."""
    size = list(x.shape)
    wide = blur_axis(x, factor / 2.8, axis)
    count = max(4, round(size[axis] / factor))
    coarse = list(size)
    coarse[axis] = count
    small = functional.interpolate(wide[None, None], size=coarse, mode="trilinear", align_corners=phase < 0.5)
    return functional.interpolate(small, size=size, mode="trilinear", align_corners=phase < 0.5)[0, 0]


def bias_field(rng: np.random.Generator, shape: Shape, sd: float) -> Tensor:
    """A smooth multiplicative field, exp of noise on a 3-4 knot lattice."""
    knots = int(rng.integers(3, 5))
    return torch.exp(smooth_noise(rng, shape, (knots, knots, knots), sd))


def random_rotation(rng: np.random.Generator, degrees: float | NDArray[np.floating]) -> np.ndarray:
    """3x3 rotation by up to ±degrees about each axis; one limit for all, or (3,)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.uniform(-np.asarray(degrees), degrees, 3))):
        a, b = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def sample_affine(
    channels: Tensor,
    index_map: np.ndarray,
    shape: Shape,
    displacement: Tensor | None = None,
    mode: str = "bilinear",
) -> Tensor:
    """Values of (C,X,Y,Z) at index_map @ output index, zero outside; `displacement` (3,X,Y,Z) in source
    voxels.
    """
    size = np.array(channels.shape[1:], float)
    matrix = np.diag([*(2.0 / size), 1.0]) @ index_map
    offset = torch.tensor(matrix[:3, 3] + 1.0 / size - 1.0, dtype=torch.float32)
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    columns = torch.tensor(matrix[:3, :3], dtype=torch.float32)
    points = offset + sum(
        axis.view([-1 if d == k else 1 for d in range(3)] + [1]) * columns[:, k]
        for k, axis in enumerate(axes)
    )
    if displacement is not None:
        points = points + displacement.movedim(0, -1) * torch.tensor(2.0 / size, dtype=torch.float32)
    grid = points.flip(-1)[None]
    return functional.grid_sample(channels[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[
        0
    ]
