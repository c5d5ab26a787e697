"""What adversarial families share: a discriminator, and two players in one loss.

Both players learn in the same step from one sum of losses. That is right as long as neither's loss reaches
the other's weights: a player that is only asked is asked through `as_it_is`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from AnomalyDetectLib.models.slice_networks import Encoder


class Discriminator(nn.Module):
    """Features of a slice, and one number for whether it is real."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(1, features)
        self.head = nn.Linear(features[-1], 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Coarsest features (B,C,h,w) and logit (B,)."""
        features = self.encoder(image)
        return features, self.head(features.mean((2, 3)))[:, 0]


def as_it_is(module: nn.Module, *inputs: Tensor) -> Any:
    """The module's answer; gradients go through to the inputs and not into its weights."""
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    return torch.func.functional_call(module, weights, inputs)


def slope(logit: Tensor, image: Tensor) -> Tensor:
    """Norm (B,) of the gradient of a logit with respect to the image, itself differentiable."""
    (found,) = torch.autograd.grad(logit.sum(), image, create_graph=True)
    norm: Tensor = torch.linalg.vector_norm(found.flatten(1), dim=1)
    return norm
