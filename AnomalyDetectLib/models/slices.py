"""Slices: what all 2-D families share: the way from a prepared scan to axial slices and back, and the model
around a family's network.

A family says what is healthy or unusual in a batch of slices; everything else stands here once.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.differentiable import Differentiable, DifferentiableRebuild
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.slice_networks import Encoder
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray

# image: (B,1,H,W) in working units, 0 outside the brain; in training it may be corrupted. brain: (B,1,H,W), 0
# or 1. condition: (B,3): age (decades from 50 years) and sex (woman -1, man 1), both 0 where unknown, and
# height in the brain (-1 to 1). In training also clean: the image before corruption, and weight: (B,1,H,W),
# where it was corrupted, 0-1.
Batch = dict[str, Tensor]

SIZE = 128  # pixels of 2 mm: the brain of the working grid with air around it, as in the literature
BRIGHTEST = 2.0  # working units
CHUNK = 16  # slices at once
SEED = 2024  # of families that draw noise: a scan is rebuilt the same twice

# Where each family stands. Imported by need, since some stand on MONAI, which the product itself does
# without.
FAMILIES = {
    "auto-encoder": ("auto_encoder", "AutoEncoder"),
    "uncertain-auto-encoder": ("uncertain_auto_encoder", "UncertainAutoEncoder"),
    "variational-auto-encoder": ("variational_auto_encoder", "VariationalAutoEncoder"),
    "memory-auto-encoder": ("memory_auto_encoder", "MemoryAutoEncoder"),
    "anomaly-segmenter": ("anomaly_segmenter", "AnomalySegmenter"),
    "cutpaste-embedding": ("cutpaste_embedding", "CutPasteEmbedding"),
    "patch-memory": ("patch_memory", "PatchMemory"),
    "mae-contrastive": ("mae_contrastive", "MaskedContrastive"),
    "diffusion": ("diffusion", "Diffusion"),
    "ganomaly": ("ganomaly", "Ganomaly"),
    "f-anogan": ("f_anogan", "FastAnoGan"),
    "style-inversion": ("style_inversion", "StyleInversion"),
}


@dataclass(frozen=True)
class SliceMaps:
    """What a family says of slices, each (B,1,H,W): the healthy version and its variance, and a direct map of
    what is unusual, 0-1 (see `as_probability`).
    """

    healthy: Tensor | None = None
    variance: Tensor | None = None
    anomaly: Tensor | None = None


class SliceFamily(nn.Module):
    """The network of one 2-D family, its loss, and what it says of slices.

    views: how often a scan is seen, mirrored and moved by a few pixels: the spread is an uncertainty. One for
    families that are slow or draw their own samples. patch_distance: beside a healthy version, the anomaly is
    a distance of patches or of their features, so that a hybrid can be made of both.
    """

    views: ClassVar[int] = 2
    patch_distance: ClassVar[bool] = False
    size: int

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise, and the parts that the curve shows. On healthy slices that were not trained
        on, in evaluation mode, it is what early stopping looks at.
        """

    @abstractmethod
    def examine(self, batch: Batch) -> SliceMaps:
        """What is healthy and what is unusual in slices."""

    def fit(self, healthy: list[Batch]) -> None:
        """Fit what isn't learned by gradient, such as a density, to healthy slices; most have none."""

    def deepest(self) -> nn.Module | None:
        """The deepest layer of the encoder that `examine` begins with (B,C,h,w), None where there is none."""
        encoders = [module for module in self.modules() if isinstance(module, Encoder)]
        return encoders[0].levels[-1] if encoders else None


@runtime_checkable
class Embedding(Protocol):
    """A family that has one vector for each slice."""

    def embedding(self, batch: Batch) -> Tensor:
        """(B,features)."""


@runtime_checkable
class PatchScores(Protocol):
    """A family that scores patches of slices by itself."""

    def patch_scores(self, image: Tensor, healthy: Tensor) -> dict[str, Tensor]:
        """Scores (B,h,w) by name of the patches of slices and their healthy versions (B,1,H,W)."""


def family_class(name: str) -> type[SliceFamily]:
    """The class of a family. Raises `ModelError` for an unknown one, and where its library is missing."""
    if name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelError(f"family {name!r} is unknown to this version; there are {known}")
    module, kind = FAMILIES[name]
    try:
        found: type[SliceFamily] = getattr(importlib.import_module(f"AnomalyDetectLib.models.{module}"), kind)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"family {name!r} needs {error.name}; install it with: pip install 'anomalydetect[train]'"
        ) from error
    return found


def make_family(name: str, **options: Any) -> SliceFamily:
    """The untrained network of a family; raises as `family_class` does."""
    return family_class(name)(**options)


def as_probability(distance: Tensor) -> Tensor:
    """A distance >= 0 as a number from 0 to 1 whose log-odds are the distance's logarithm: d / (1 + d)."""
    return distance / (1 + distance)


def to_slices(volume: Tensor, size: int) -> Tensor:
    """(X,Y,Z) to axial slices (Z,1,size,size), the same pixels with air around them."""
    x, y = volume.shape[:2]
    left, front = (size - x) // 2, (size - y) // 2
    return functional.pad(volume.movedim(2, 0)[:, None], (front, size - y - front, left, size - x - left))


def to_volume(slices: Tensor, x: int, y: int) -> Tensor:
    """The inverse of `to_slices`: (Z,1,size,size) to (X,Y,Z)."""
    left, front = (slices.shape[2] - x) // 2, (slices.shape[3] - y) // 2
    return slices[:, 0, left : left + x, front : front + y].movedim(0, 2)


def heights(brain: Tensor) -> Tensor:
    """Height of each slice of (X,Y,Z) within the brain, -1 to 1, (Z,)."""
    inside = torch.nonzero(brain.flatten(0, 1).any(0))[:, 0]
    low, high = (int(inside[0]), int(inside[-1])) if len(inside) else (0, brain.shape[2] - 1)
    return (2 * (torch.arange(brain.shape[2]) - low) / max(1, high - low) - 1).clamp(-1, 1)


def age_code(age: float | None) -> float:
    """Age in years as decades from 50; 0 where unknown."""
    return 0.0 if age is None else (age - 50) / 10


def slices_of(prepared: Prepared, size: int) -> Batch:
    """Every axial slice of a scan."""
    brain = torch.from_numpy(prepared.brain)
    depth = brain.shape[2]
    age = torch.full((depth,), age_code(prepared.observations.age))
    return {
        "image": to_slices(prepared.tensor[0, 0].clamp(0, BRIGHTEST) * brain, size),
        "brain": to_slices(brain.float(), size),
        "condition": torch.stack([age, torch.zeros(depth), heights(brain)], 1),
    }


class SliceModel:
    """A 2-D family with its weights, on the road like any other model."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.family = make_family(card.family, **card.options["family"])
        self.family.load_state_dict(card.tensors())
        self.family.eval()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The slices stacked: mean over the views; variance: the predicted one and the spread between the
        views. Of families without a healthy version it is the spread of the anomaly's log-odds.
        """
        return examine_scan(self.family.to(device), prepared, device)

    def differentiable(self, prepared: Prepared, needed: BoolArray, device: str = "cpu") -> Differentiable:
        """The slices in which something is needed, seen once as they are. Raises `ModelError` for families
        that draw samples or search: no gradient leads through what they do.
        """
        if self.family.views == 1:
            raise ModelError(f"{self.card.name}: draws samples or searches, so no gradient leads through it")
        return differentiable_slices(self.family.to(device), prepared, needed, device)


def examine_scan(family: SliceFamily, prepared: Prepared, device: str = "cpu") -> Rebuild:
    """A family's maps of all slices of a scan on the working grid; see `SliceModel.rebuild`."""
    slices = slices_of(prepared, family.size)
    filled = torch.nonzero(slices["brain"].flatten(1).any(1))[:, 0]
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    views: list[SliceMaps] = []
    with torch.random.fork_rng(cuda), torch.no_grad():
        torch.manual_seed(SEED)
        for number in range(family.views):
            views.append(_viewed(family, slices, filled, number, device))

    def volume(stack: Tensor) -> FloatArray:
        whole = torch.zeros(len(slices["image"]), *stack.shape[1:])
        whole[filled] = stack
        inside = to_volume(whole, *prepared.brain.shape[:2]).numpy()
        return np.where(prepared.brain, inside, 0).astype(np.float32)

    healthy = [view.healthy for view in views if view.healthy is not None]
    anomaly = [view.anomaly for view in views if view.anomaly is not None]
    predicted = [view.variance for view in views if view.variance is not None]
    compared = healthy or [torch.logit(one, 1e-4) for one in anomaly]
    variance = torch.stack(compared).var(0, correction=0)
    if predicted:
        variance = variance + torch.stack(predicted).mean(0)
    return Rebuild(
        healthy=volume(torch.stack(healthy).mean(0)) if healthy else None,
        variance=volume(variance),
        anomaly=volume(torch.stack(anomaly).mean(0)) if anomaly else None,
    )


def differentiable_slices(
    family: SliceFamily, prepared: Prepared, needed: BoolArray, device: str = "cpu"
) -> Differentiable:
    """A family's maps of the slices in which something is needed, 0 in all others, with gradients; see
    `SliceModel.differentiable`.
    """
    chosen = torch.nonzero(torch.from_numpy(needed & prepared.brain).flatten(0, 1).any(0))[:, 0]
    x, y, depth = prepared.brain.shape

    def volume(stack: Tensor) -> Tensor:
        whole = torch.zeros(depth, *stack.shape[1:], device=stack.device)
        return to_volume(whole.index_copy(0, chosen.to(stack.device), stack), x, y)

    def rebuild(image: Tensor) -> DifferentiableRebuild:
        slices = slices_of(replace(prepared, tensor=image.cpu()), family.size)
        found = family.examine({name: value[chosen].to(device) for name, value in slices.items()})
        return DifferentiableRebuild(
            healthy=None if found.healthy is None else volume(found.healthy),
            log_odds=None if found.anomaly is None else volume(torch.logit(found.anomaly, 1e-4)),
        )

    def on_grid(activation: Tensor) -> Tensor:
        size = (family.size, family.size)
        return volume(functional.interpolate(activation, size=size, mode="bilinear", align_corners=False))

    return Differentiable(rebuild, family.deepest(), on_grid)


def embed_scan(family: SliceFamily, prepared: Prepared) -> NDArray[np.float64]:
    """One vector for each axial slice (Z,features) of a family that has such."""
    assert isinstance(family, Embedding)
    slices = slices_of(prepared, family.size)
    with torch.no_grad():
        parts = [
            family.embedding({name: value[chunk] for name, value in slices.items()})
            for chunk in torch.split(torch.arange(len(slices["image"])), CHUNK)
        ]
    return np.asarray(torch.cat(parts).double().numpy())


def _viewed(family: SliceFamily, slices: Batch, filled: Tensor, number: int, device: str) -> SliceMaps:
    """The maps of the slices `filled`; odd views are mirrored, all but the first moved."""
    mirror, shift = number % 2 == 1, number

    def seen(image: Tensor) -> Tensor:
        moved = image.roll((shift, shift), (2, 3))
        return moved.flip(2) if mirror else moved

    def back(image: Tensor) -> Tensor:
        return (image.flip(2) if mirror else image).roll((-shift, -shift), (2, 3)).cpu()

    parts = []
    for chunk in torch.split(filled, CHUNK):
        batch = {name: value[chunk].to(device) for name, value in slices.items()}
        parts.append(family.examine(batch | {"image": seen(batch["image"]), "brain": seen(batch["brain"])}))

    def joined(name: str) -> Tensor | None:
        maps = [getattr(part, name) for part in parts]
        return None if maps[0] is None else torch.cat([back(one) for one in maps])

    return SliceMaps(joined("healthy"), joined("variance"), joined("anomaly"))


def inside_mean(values: Tensor, brain: Tensor) -> Tensor:
    """Mean of (B,1,H,W) over the brain."""
    return (values * brain).sum() / brain.sum().clamp(min=1)


def brain_slices(brain: BoolArray, least: int) -> list[int]:
    """Indices k of the axial slices of (X,Y,Z) with at least so many voxels of brain."""
    return [int(k) for k in np.flatnonzero(brain.sum((0, 1)) >= least)]
