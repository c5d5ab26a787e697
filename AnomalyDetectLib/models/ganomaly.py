"""GANomaly: encoder, decoder, encoder; what is unusual has another code after it was rebuilt.

Akcay et al., "GANomaly" (ACCV 2018). Slimmed: the code is a small grid instead of a vector, so that its
difference is a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.models.adversary import Discriminator, as_it_is
from AnomalyDetectLib.models.patches import spread_out
from AnomalyDetectLib.models.slice_networks import FEATURES, Decoder, Encoder
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps, as_probability, inside_mean

REBUILD_WEIGHT = 50.0  # against 1 of the features and of the code, as published


class Ganomaly(SliceFamily):
    """codes: channels of the code at each of its places."""

    patch_distance = True

    def __init__(self, size: int = SIZE, features: Sequence[int] = FEATURES, codes: int = 16) -> None:
        super().__init__()
        self.size = size
        self.encode = nn.Sequential(Encoder(1, features), nn.Conv2d(features[-1], codes, 1))
        self.decode = nn.Sequential(nn.Conv2d(codes, features[-1], 1), Decoder(1, features))
        self.encode_again = nn.Sequential(Encoder(1, features), nn.Conv2d(features[-1], codes, 1))
        self.discriminator = Discriminator(features)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Absolute difference, difference of features and of codes; beside it the discriminator's own."""
        clean = batch["clean"]
        code = self.encode(clean)
        healthy = self.decode(code) * batch["brain"]
        left = inside_mean((clean - healthy).abs(), batch["brain"])
        if not self.training:
            return left, {"l1": left.item()}
        real, _ = as_it_is(self.discriminator, clean)
        fake, _ = as_it_is(self.discriminator, healthy)
        features = (real.detach() - fake).square().mean()
        codes = (code - self.encode_again(healthy)).square().mean()
        entropy = functional.binary_cross_entropy_with_logits
        logits = [self.discriminator(image)[1] for image in (clean, healthy.detach())]
        judged = entropy(logits[0], torch.ones_like(logits[0])) + entropy(
            logits[1], torch.zeros_like(logits[1])
        )
        parts = {"l1": left.item(), "codes": codes.item(), "judged": judged.item()}
        return REBUILD_WEIGHT * left + features + codes + judged, parts

    def examine(self, batch: Batch) -> SliceMaps:
        """The healthy version, and the distance of the codes as anomaly."""
        code = self.encode(batch["image"])
        healthy = self.decode(code) * batch["brain"]
        distance = (code - self.encode_again(healthy)).norm(dim=1)
        return SliceMaps(healthy, anomaly=as_probability(spread_out(distance, self.size)))
