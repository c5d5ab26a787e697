"""Inversion of a style generator: the healthy slice nearest to the scan, found by back-propagation.

Karras et al., "StyleGAN2" (CVPR 2020), inverted as in Schlegl et al. (IPMI 2017). Slimmed: at most 128
channels, a mapping of three layers, no noise inputs, path regularisation or style mixing. Scores: squared
error, and Wasserstein distance of the grey values in patches.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.adversary import Discriminator, as_it_is, slope
from AnomalyDetectLib.models.patches import spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

START = 4  # pixels of the constant
INVERSION_STEPS, INVERSION_RATE = 40, 0.1
STARTS = 2  # the mean style and one beside it: their spread is an uncertainty
R1 = 1.0  # weight of the penalty on the discriminator's slope at real slices
PATCH = 8  # pixels of the Wasserstein score
AVERAGE = 0.995


class StyledBlock(nn.Module):
    """Modulated convolution 3² with demodulation, doubled in size first, and its share of the picture."""

    def __init__(self, inputs: int, outputs: int, latent: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / math.sqrt(9 * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = nn.Linear(latent, inputs)
        self.picture = nn.Conv2d(outputs, 1, 1)
        nn.init.ones_(self.style.bias)

    def forward(self, features: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B,outputs,2h,2w) and their part of the picture (B,1,2h,2w)."""
        scale = self.style(style)
        wide = functional.interpolate(features, scale_factor=2.0, mode="bilinear")
        made = functional.conv2d(wide * scale[:, :, None, None], self.weight, padding=1)
        # Scaling what goes in and out is scaling the weights, without a set of weights for every slice.
        energy = scale.square() @ self.weight.square().sum((2, 3)).T
        made = made * torch.rsqrt(energy + 1e-8)[:, :, None, None] + self.bias[:, None, None]
        made = functional.leaky_relu(made, 0.2)
        return made, self.picture(made)


class StyleGenerator(nn.Module):
    """Style (B,latent) to slice (B,1,size,size): a constant, and blocks whose pictures add up."""

    def __init__(self, size: int, latent: int, widest: int) -> None:
        super().__init__()
        count = int(math.log2(size // START))
        widths = [min(widest, max(16, 1024 // (START * 2**n))) for n in range(count + 1)]
        self.constant = nn.Parameter(torch.randn(1, widths[0], START, START))
        self.blocks = nn.ModuleList(StyledBlock(a, b, latent) for a, b in itertools.pairwise(widths))

    def forward(self, style: Tensor) -> Tensor:
        """The slice in working units."""
        features = self.constant.repeat(len(style), 1, 1, 1)
        picture = features.new_zeros(len(style), 1, START, START)
        for block in self.blocks:
            features, part = block(features, style)
            picture = functional.interpolate(picture, scale_factor=2.0, mode="bilinear") + part
        return picture


class StyleInversion(SliceFamily):
    """latent: length of a style. widest: channels at the coarsest level."""

    views = 1  # two starts of the inversion give the spread
    patch_distance = True
    average: Tensor

    def __init__(self, size: int = SIZE, latent: int = 64, widest: int = 128) -> None:
        super().__init__()
        self.size, self.latent = size, latent
        layers = [(nn.Linear(latent, latent), nn.LeakyReLU(0.2)) for _ in range(2)]
        self.mapping = nn.Sequential(*itertools.chain(*layers), nn.Linear(latent, latent))
        self.generator = StyleGenerator(size, latent, widest)
        self.discriminator = Discriminator(FEATURES)
        self.register_buffer("average", torch.zeros(latent))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Logistic losses of both players, R1 at real slices; held out: the error of the inversion."""
        clean = batch["clean"]
        if not self.training:
            left = inside_mean((clean - self._inverted(batch, clean, 0)).square(), batch["brain"])
            return left, {"l2": left.item()}
        style = self.mapping(torch.randn(len(clean), self.latent, device=clean.device))
        self.average.lerp_(style.detach().float().mean(0), 1 - AVERAGE)
        made = self.generator(style)
        _, fooled = as_it_is(self.discriminator, made)
        real = clean.detach().requires_grad_()
        judged = self.discriminator(real)[1]
        penalty = slope(judged, real).square().mean()
        caught = self.discriminator(made.detach())[1]
        fooling = functional.softplus(-fooled).mean()
        judging = functional.softplus(-judged).mean() + functional.softplus(caught).mean()
        parts = {"fooling": fooling.item(), "judging": judging.item(), "penalty": penalty.item()}
        return fooling + judging + 0.5 * R1 * penalty, parts

    def _inverted(self, batch: Batch, image: Tensor, number: int) -> Tensor:
        """The generated slice (B,1,H,W) nearest to `image` from the mean style, or one beside it."""
        with torch.inference_mode(False), torch.enable_grad():
            style = self.average.clone().repeat(len(image), 1)
            style = (style + 0.1 * number * torch.randn_like(style)).requires_grad_()
            optimizer = torch.optim.Adam([style], lr=INVERSION_RATE)
            for _ in range(INVERSION_STEPS):
                made = as_it_is(self.generator, style)
                error = inside_mean((made - image).square(), batch["brain"])
                (style.grad,) = torch.autograd.grad(error, style)
                optimizer.step()
        healthy: Tensor = self.generator(style.detach()) * batch["brain"]
        return healthy

    def examine(self, batch: Batch) -> SliceMaps:
        """Mean and variance over the starts; anomaly: Wasserstein distance of the patches' grey values."""
        found = torch.stack([self._inverted(batch, batch["image"], n) for n in range(STARTS)])
        distance = wasserstein(batch["image"], found.mean(0))
        return SliceMaps(
            found.mean(0), found.var(0), as_probability(spread_out(distance, self.size) * batch["brain"])
        )

    def patch_scores(self, image: Tensor, healthy: Tensor) -> dict[str, Tensor]:
        """Both published scores of every overlapping patch (B,h,w), for ranking patches by them."""
        error = functional.avg_pool2d((image - healthy).square(), PATCH, PATCH // 2)[:, 0]
        return {"MSE": error, "Wasserstein": wasserstein(image, healthy)}


def wasserstein(image: Tensor, healthy: Tensor) -> Tensor:
    """Distance of the grey values of overlapping patches (B,h,w): the mean gap of their sorted values."""
    side = (image.shape[2] - PATCH) // (PATCH // 2) + 1
    ranked = [
        functional.unfold(one, PATCH, stride=PATCH // 2).sort(1).values.view(len(one), -1, side, side)
        for one in (image, healthy)
    ]
    return (ranked[0] - ranked[1]).abs().mean(1)
