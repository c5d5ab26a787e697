"""Auto-encoders: what a network trained on healthy slices can't reproduce is unusual.

One network and one loss in many variants: the difference that is minimised (Baur et al., Medical Image
Analysis 2021), what holds the code down (sparse: Ng 2011; contractive: Rifai et al., ICML 2011; constrained:
Chen and Konukoglu, MIDL 2018), the corruption of the input (context encoding: Zimmerer et al. 2018; coarse
noise in a U-Net: Kascenas et al., MIDL 2022), which the training supplies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from AnomalyDetectLib.models.differences import DIFFERENCES, perceptual
from AnomalyDetectLib.models.slice_networks import FEATURES, DenseAutoEncoder, Encoder, UNet2d
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

Difference = Literal["l2", "l1", "gradient", "ssim", "perceptual"]
HoldDown = Literal["nothing", "sparse", "contractive", "constrained"]
SIGNED = ("l2", "l1")  # the road's residual, smoothed and standardised, is their score


class AutoEncoder(SliceFamily):
    """Options: see the module. hold_down_weight: of the code's penalty. skips: a U-Net without a code.

    windowed: the network sees three windows of the slice, for CT; what it rebuilds is the slice itself.
    """

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = FEATURES,
        latent: int = 128,
        difference: Difference = "l2",
        hold_down: HoldDown = "nothing",
        hold_down_weight: float = 0.0,
        skips: bool = False,
        windowed: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.difference_name, self.hold_down, self.weight = difference, hold_down, hold_down_weight
        self.network: UNet2d | DenseAutoEncoder
        if skips:
            self.network = UNet2d(features=features, windowed=windowed)
        else:
            self.network = DenseAutoEncoder(size, features, latent, windowed=windowed)
        if difference == "perceptual":
            self.encoder = Encoder(windowed=windowed).requires_grad_(False)

    def difference(self, image: Tensor, healthy: Tensor) -> Tensor:
        """The map (B,1,H,W) that is minimised, and the score."""
        if self.difference_name == "perceptual":
            # The features alone leave the overall brightness open.
            return perceptual(image, healthy, self.encoder) + DIFFERENCES["l2"](image, healthy)
        chosen: Callable[[Tensor, Tensor], Tensor] = DIFFERENCES[self.difference_name]
        return chosen(image, healthy)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Difference to the clean slice inside the brain, and the penalty on the code."""
        brain = batch["brain"]
        if isinstance(self.network, UNet2d):
            left = inside_mean(self.difference(batch["clean"], self.network(batch["image"]) * brain), brain)
            return left, {"difference": left.item()}
        image = batch["image"]
        if self.hold_down == "contractive":
            image = image.detach().requires_grad_()
        code = self.network.encode(image)
        healthy = self.network.decode(code) * brain
        left = inside_mean(self.difference(batch["clean"], healthy), brain)
        if self.hold_down == "nothing" or not self.training:
            return left, {"difference": left.item()}
        penalty = self._penalty(image, code, healthy)
        return left + self.weight * penalty, {"difference": left.item(), "penalty": penalty.item()}

    def _penalty(self, image: Tensor, code: Tensor, healthy: Tensor) -> Tensor:
        assert isinstance(self.network, DenseAutoEncoder)
        if self.hold_down == "sparse":
            return code.abs().mean()
        if self.hold_down == "constrained":
            return (code - self.network.encode(healthy)).square().mean()
        # Hutchinson: the mean of |J'v|² over random v is the squared Frobenius norm of the Jacobian J.
        (pulled,) = torch.autograd.grad(code, image, torch.randn_like(code), create_graph=True)
        return pulled.square().sum((1, 2, 3)).mean()

    def examine(self, batch: Batch) -> SliceMaps:
        """The healthy version; the difference as anomaly where it isn't a difference of intensities."""
        image, brain = batch["image"], batch["brain"]
        if isinstance(self.network, UNet2d):
            healthy = self.network(image) * brain
        else:
            healthy = self.network.decode(self.network.encode(image)) * brain
        if self.difference_name in SIGNED:
            return SliceMaps(healthy)
        return SliceMaps(healthy, anomaly=as_probability(self.difference(image, healthy).clamp(min=0)))
