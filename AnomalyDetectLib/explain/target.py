"""The finding's mean z as a function of the scan, through which gradients lead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from AnomalyDetectLib.errors import Cancelled
from AnomalyDetectLib.explain.parts import Parts
from AnomalyDetectLib.explain.views import SequenceView
from AnomalyDetectLib.models.differentiable import Differentiable, DifferentiableRebuild
from AnomalyDetectLib.scoring.evidence import ANOMALY, MIRROR, RESIDUAL, TISSUE, TISSUE_FINE, TISSUE_WIDE


@dataclass(frozen=True)
class Target:
    """What is explained: the finding's mean z in the direction of its sign, from an image (1,1,X,Y,Z) in
    working units to (1,).

    One pass of the network takes the place of the model's several, and all that comes from the whole brain
    (the scan's own colours, its spread, the choices of the fusion) is held as it was found, so that only the
    evidence itself moves. both_sides: bool (X,Y,Z), where there is brain and on the other side, too.
    """

    model: Differentiable
    weights: dict[str, Tensor]
    offset: float
    sign: int
    brain_sd: float
    both_sides: Tensor
    cancelled: Callable[[], bool]

    def __call__(self, image: Tensor) -> Tensor:
        """Mean z (1,); raises `Cancelled`."""
        if self.cancelled():
            raise Cancelled("the explanation was stopped")
        raw = self._evidence(image[0, 0], self.model.rebuild(image))
        parts = [(weight * raw[name]).sum() for name, weight in self.weights.items()]
        return self.sign * (torch.stack(parts).sum()[None] + self.offset)

    def _evidence(self, image: Tensor, rebuild: DifferentiableRebuild) -> dict[str, Tensor]:
        """The maps of `scoring.evidence.evidence` before smoothing, which the weights hold."""
        raw = {}
        if rebuild.healthy is not None:
            raw[RESIDUAL] = image - rebuild.healthy
        if rebuild.log_odds is not None:
            raw[ANOMALY] = rebuild.log_odds
        if rebuild.expected is not None and rebuild.expected_sd is not None:
            difference = image - rebuild.expected
            raw[TISSUE_FINE] = raw[TISSUE] = difference / rebuild.expected_sd
            raw[TISSUE_WIDE] = difference / self.brain_sd
            raw[MIRROR] = (image - image.flip(0)) * self.both_sides / self.brain_sd
        return raw


def target_of(
    view: SequenceView,
    parts: Parts,
    model: Differentiable,
    sign: int,
    cancelled: Callable[[], bool] = lambda: False,
    device: str = "cpu",
) -> Target:
    """The finding as a target, on a device. sign: of the finding. cancelled: asked before each pass."""
    prepared = view.scan.prepared
    weights = {name: torch.from_numpy(weight).to(device) for name, weight in parts.weights.items()}
    brain_sd = float(prepared.tensor[0, 0].numpy()[prepared.brain].std())
    both_sides = torch.from_numpy(prepared.brain & prepared.brain[::-1]).to(device)
    return Target(model, weights, parts.offset, sign, brain_sd, both_sides, cancelled)
