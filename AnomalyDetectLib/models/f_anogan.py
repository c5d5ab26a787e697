"""f-AnoGAN: a generator of healthy slices, and an encoder that finds the slice's place in it.

Schlegl et al., "f-AnoGAN" (Medical Image Analysis 2019), Wasserstein GAN with gradient penalty (Gulrajani et
al., NeurIPS 2017), encoder izi_f. Slimmed: the encoder learns beside the generator instead of after it, and
the critic takes one step for each of the generator's instead of five.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models.adversary import Discriminator, as_it_is, slope
from AnomalyDetectLib.models.patches import spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES, Decoder, Encoder, growing, shrinking
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

PENALTY, FEATURE_WEIGHT = 10.0, 1.0  # as published
ENCODER_WEIGHT = 10.0  # of the encoder's error: it learns from one optimiser with the others


class FastAnoGan(SliceFamily):
    """latent: length of the generator's vector."""

    patch_distance = True

    def __init__(self, size: int = SIZE, features: Sequence[int] = FEATURES, latent: int = 128) -> None:
        super().__init__()
        self.size, self.latent = size, latent
        self.generator = nn.Sequential(growing(size, features, latent), Decoder(1, features))
        self.locate = nn.Sequential(Encoder(1, features), shrinking(size, features, latent), nn.Tanh())
        self.critic = Discriminator(features)

    def _found(self, batch: Batch, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The generator's slice at the found place, squared error, squared distance of features (B,h,w)."""
        healthy: Tensor = as_it_is(self.generator, self.locate(image)) * batch["brain"]
        real, _ = as_it_is(self.critic, image)
        fake, _ = as_it_is(self.critic, healthy)
        return healthy, (image - healthy).square(), (real.detach() - fake).square().mean(1)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Wasserstein losses of both players with gradient penalty, and the encoder's residuals."""
        clean, brain = batch["clean"], batch["brain"]
        _, error, features = self._found(batch, clean)
        placed = inside_mean(error, brain) + FEATURE_WEIGHT * features.mean()
        if not self.training:
            return inside_mean(error, brain), {"l2": inside_mean(error, brain).item()}
        code = 2 * torch.rand(len(clean), self.latent, device=clean.device) - 1
        made = self.generator(code) * brain
        _, fooled = as_it_is(self.critic, made)
        share = torch.rand(len(clean), 1, 1, 1, device=clean.device)
        between = (share * clean + (1 - share) * made.detach()).requires_grad_()
        penalty = (slope(self.critic(between)[1], between) - 1).square().mean()
        gap = self.critic(made.detach())[1].mean() - self.critic(clean)[1].mean()
        parts = {"l2": inside_mean(error, brain).item(), "gap": gap.item(), "penalty": penalty.item()}
        return gap + PENALTY * penalty - fooled.mean() + ENCODER_WEIGHT * placed, parts

    def examine(self, batch: Batch) -> SliceMaps:
        """The generator's slice; anomaly: squared error and squared distance of the critic's features."""
        healthy, error, features = self._found(batch, batch["image"])
        score = error + FEATURE_WEIGHT * spread_out(features, self.size)
        return SliceMaps(healthy, anomaly=as_probability(score * batch["brain"]))
