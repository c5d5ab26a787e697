"""Simplex noise in octaves, the noise of AnoDDPM: it hides structures of all sizes, where white noise hides
none.

Perlin, "Noise hardware" (2001); Gustavson, "Simplex noise demystified" (2005); Wyatt et al., "AnoDDPM" (CVPR
workshops 2022). Own code because the libraries evaluate it point by point: seconds a slice where this takes
milliseconds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OCTAVES, PERSISTENCE, COARSEST = 6, 0.8, 64.0  # as published; pixels of the first octave
SKEW, UNSKEW = 0.5 * (math.sqrt(3) - 1), (3 - math.sqrt(3)) / 6
TABLE = 256


def simplex_noise(like: Tensor) -> Tensor:
    """Noise of mean 0 and SD 1 of the shape (B,1,H,W) of `like`, from torch's own generator."""
    count, _, height, width = like.shape
    device = like.device
    table = torch.randperm(TABLE, device=device)
    rows = torch.arange(height, device=device).view(1, -1, 1).float()
    columns = torch.arange(width, device=device).view(1, 1, -1).float()
    total = torch.zeros(count, height, width, device=device)
    for octave in range(OCTAVES):
        start = TABLE * torch.rand(2, count, 1, 1, device=device)
        step = 2**octave / COARSEST
        total += PERSISTENCE**octave * _single(rows * step + start[0], columns * step + start[1], table)
    total -= total.mean((1, 2), keepdim=True)
    return (total / total.std((1, 2), keepdim=True))[:, None]


def _single(x: Tensor, y: Tensor, table: Tensor) -> Tensor:
    """One octave at the points (x, y): the sum over the corners of each point's triangle."""
    x, y = x + torch.zeros_like(y), y + torch.zeros_like(x)
    skewed = (x + y) * SKEW
    i, j = torch.floor(x + skewed), torch.floor(y + skewed)
    back = (i + j) * UNSKEW
    dx, dy = x - i + back, y - j + back
    first = (dx > dy).float()
    total = torch.zeros_like(x)
    for corner_i, corner_j, shift in (
        (torch.zeros_like(first), torch.zeros_like(first), 0.0),
        (first, 1 - first, UNSKEW),
        (torch.ones_like(first), torch.ones_like(first), 2 * UNSKEW),
    ):
        ex, ey = dx - corner_i + shift, dy - corner_j + shift
        fall = (0.5 - ex**2 - ey**2).clamp(min=0) ** 4
        column = (j + corner_j).long() % TABLE
        angle = table[((i + corner_i).long() + table[column]) % TABLE] * (2 * math.pi / TABLE)
        total = total + fall * (torch.cos(angle) * ex + torch.sin(angle) * ey)
    return total
