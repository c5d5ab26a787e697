"""Differences between a slice and its healthy version: each is a loss, and the same map is the score.

Gradient difference after Mathieu et al. (ICLR 2016), 1-SSIM after Wang et al. (IEEE TIP 2004) and Bergmann et
al. (VISAPP 2019), features after Johnson et al. (ECCV 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.models.slice_networks import Encoder

WINDOW = 7  # pixels, of SSIM
STABLE = (0.01**2, 0.03**2)  # of a range of 1 working unit


def squared(image: Tensor, healthy: Tensor) -> Tensor:
    """(x - y)², (B,1,H,W)."""
    return (image - healthy) ** 2


def absolute(image: Tensor, healthy: Tensor) -> Tensor:
    """|x - y|, (B,1,H,W)."""
    return (image - healthy).abs()


def gradient(image: Tensor, healthy: Tensor) -> Tensor:
    """|x - y| and the difference of the gradients' absolute values along both axes, (B,1,H,W)."""
    total = absolute(image, healthy)
    for axis in (2, 3):
        steps = [(one.roll(-1, axis) - one).abs() for one in (image, healthy)]
        total = total + (steps[0] - steps[1]).abs()
    return total


def structural(image: Tensor, healthy: Tensor) -> Tensor:
    """1 - SSIM in windows of 7² pixels, 0-2, (B,1,H,W)."""

    def local(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    mean_x, mean_y = local(image), local(healthy)
    var_x, var_y = local(image**2) - mean_x**2, local(healthy**2) - mean_y**2
    covariance = local(image * healthy) - mean_x * mean_y
    above = (2 * mean_x * mean_y + STABLE[0]) * (2 * covariance + STABLE[1])
    below = (mean_x**2 + mean_y**2 + STABLE[0]) * (var_x.clamp(min=0) + var_y.clamp(min=0) + STABLE[1])
    return 1 - above / below


def perceptual(image: Tensor, healthy: Tensor, encoder: Encoder) -> Tensor:
    """Squared difference of normalised features, summed over the levels of an encoder, (B,1,H,W)."""
    total = torch.zeros_like(image)
    for one, two in zip(encoder.pyramid(image), encoder.pyramid(healthy), strict=True):
        distance = (functional.normalize(one, dim=1) - functional.normalize(two, dim=1)).square().sum(1, True)
        total = total + functional.interpolate(distance, size=image.shape[2:], mode="bilinear")
    return total


DIFFERENCES = {"l2": squared, "l1": absolute, "gradient": gradient, "ssim": structural}
