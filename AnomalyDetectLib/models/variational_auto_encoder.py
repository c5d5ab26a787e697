"""Variational auto-encoders: plain, told age and sex, with context encoding, and with restoration by
gradient.

Kingma and Welling (ICLR 2014); conditioned: Sohn et al. (NeurIPS 2015); context: Zimmerer et al.,
"Context-encoding variational autoencoder" (MIDL 2019); restoration: Chen et al., Medical Image Analysis 2020
(eq. 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models.slice_networks import FEATURES, Decoder, Encoder, growing, shrinking
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

NOISE = 0.1  # working units: SD of the likelihood
SAMPLES = 2  # of the posterior, for the variance
CONDITIONS = 3
RESTORATION_RATE, TOTAL_VARIATION = 0.04, 0.3  # working units a step; weight of the change's total variation


class VariationalAutoEncoder(SliceFamily):
    """told: the code comes with age, sex and height. context: masked slices must be completed, too.

    restoration_steps: gradient steps on the scan itself towards a likely one; 0: one pass.
    """

    views = 1  # it draws from its own posterior

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = FEATURES,
        latent: int = 128,
        told: bool = False,
        context: bool = False,
        restoration_steps: int = 0,
    ) -> None:
        super().__init__()
        self.size, self.told, self.context, self.restoration_steps = size, told, context, restoration_steps
        conditions = CONDITIONS if told else 0
        self.down, self.shrink = Encoder(1, features), shrinking(size, features, 2 * latent)
        self.grow, self.up = growing(size, features, latent + conditions), Decoder(1, features)
        self.tell = nn.Linear(conditions, 2 * latent) if told else None

    def _posterior(self, image: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        code = self.shrink(self.down(image))
        if self.tell is not None:
            code = code + self.tell(condition)
        mean, log_variance = code.chunk(2, 1)
        return mean, log_variance.clamp(-10, 4)

    def _decode(self, code: Tensor, condition: Tensor, brain: Tensor) -> Tensor:
        code = torch.cat([code, condition], 1) if self.told else code
        healthy: Tensor = self.up(self.grow(code)) * brain
        return healthy

    def _bound(self, image: Tensor, batch: Batch, sample: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Negative evidence lower bound a pixel of brain, its error and its KL divergence."""
        mean, log_variance = self._posterior(image, batch["condition"])
        code = mean + sample * torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        error = inside_mean(
            (image - self._decode(code, batch["condition"], batch["brain"])) ** 2, batch["brain"]
        )
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        divergence = divergence / batch["brain"].sum().clamp(min=1)
        return error / (2 * NOISE**2) + divergence, error, divergence

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Negative evidence lower bound of the clean slice, and with context the completed one's error."""
        loss, error, divergence = self._bound(batch["clean"], batch, sample=self.training)
        if self.context:
            mean, _ = self._posterior(batch["image"], batch["condition"])
            completed = self._decode(mean, batch["condition"], batch["brain"])
            left = inside_mean((batch["clean"] - completed) ** 2, batch["brain"])
            loss = 0.5 * loss + 0.5 * left / (2 * NOISE**2)
        return loss, {"l2": error.item(), "divergence": divergence.item()}

    def examine(self, batch: Batch) -> SliceMaps:
        """The healthy slice from the posterior's mean; variance over draws; with context the published score,
        error times gradient of the bound.
        """
        image, condition, brain = batch["image"], batch["condition"], batch["brain"]
        mean, log_variance = self._posterior(image, condition)
        draws = torch.stack(
            [
                self._decode(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean), condition, brain)
                for _ in range(SAMPLES)
            ]
        )
        healthy = self._decode(mean, condition, brain)
        anomaly = None
        if self.restoration_steps:
            healthy = self._restored(batch)
        if self.context:
            anomaly = as_probability((image - healthy).abs() * self._gradient(image, batch).abs())
        return SliceMaps(healthy, draws.var(0), anomaly)

    def _gradient(self, image: Tensor, batch: Batch, changed_from: Tensor | None = None) -> Tensor:
        """Gradient of the bound, summed over pixels, with respect to the slice (B,1,H,W)."""
        with torch.enable_grad():
            image = image.detach().requires_grad_()
            bound = self._bound(image, batch, sample=False)[0] * batch["brain"].sum()
            if changed_from is not None:
                change = image - changed_from
                variation = change.diff(dim=2).abs().sum() + change.diff(dim=3).abs().sum()
                bound = bound + TOTAL_VARIATION / NOISE * variation
            (found,) = torch.autograd.grad(bound, image)
        return found

    def _restored(self, batch: Batch) -> Tensor:
        """The slice moved uphill in likelihood, its change kept smooth."""
        image = batch["image"]
        for _ in range(self.restoration_steps):
            step = self._gradient(image, batch, changed_from=batch["image"])
            scale = step.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
            image = (image - RESTORATION_RATE * step / scale) * batch["brain"]
        return image
