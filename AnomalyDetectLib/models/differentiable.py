"""What a model lets gradients pass through, so that a score can be traced back to the voxels of the scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray


class DifferentiableRebuild(NamedTuple):
    """A rebuild as tensors (X,Y,Z) that gradients lead through, in working units (see `Rebuild`).

    log_odds: of the anomaly. What a model doesn't have is None.
    """

    healthy: Tensor | None = None
    log_odds: Tensor | None = None
    expected: Tensor | None = None
    expected_sd: Tensor | None = None


@dataclass(frozen=True)
class Differentiable:
    """A model looking at one scan. rebuild: from an image (1,1,X,Y,Z) in working units. layer: the deepest of
    the encoder, None where there is none. on_grid: one channel of that layer's size as (X,Y,Z).
    """

    rebuild: Callable[[Tensor], DifferentiableRebuild]
    layer: nn.Module | None
    on_grid: Callable[[Tensor], Tensor]


@runtime_checkable
class Explainable(Protocol):
    """A model with a network; those without have no such method."""

    def differentiable(self, prepared: Prepared, needed: BoolArray, device: str = "cpu") -> Differentiable:
        """The model looking at this scan. needed: (X,Y,Z), where its maps will be read. Raises `ModelError`
        where no gradient leads through the model.
        """


def enlarged(shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A function that enlarges (1,1,x,y,z) to (X,Y,Z) of `shape`, linear."""

    def on_grid(activation: Tensor) -> Tensor:
        return functional.interpolate(activation, size=shape, mode="trilinear", align_corners=False)[0, 0]

    return on_grid
