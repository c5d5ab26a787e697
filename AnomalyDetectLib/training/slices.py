"""Training task of all 2-D families: healthy slices, corrupted as asked for, through the family's loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from AnomalyDetectLib.devices import in_bfloat16, to_device_of
from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.models.slices import BRIGHTEST, Batch, SliceFamily, make_family
from AnomalyDetectLib.training.slice_corruption import CORRUPTIONS, Corruption
from AnomalyDetectLib.training.slice_data import SliceScan, load_slice_scans

VALIDATION_BATCHES, VALIDATION_SLICES = 8, 16
VALIDATION_SEED = 80
FITTED_SLICES = 1500  # what densities are fitted to
ENCODER = "encoder."


class SliceTask:
    """Trains one family on the slices of one contrast."""

    def __init__(
        self, network: SliceFamily, corrupt: Corruption, scans: list[SliceScan], held_out: list[SliceScan]
    ) -> None:
        """corrupt: what is done to the slices. scans, held_out: to train on and to validate on."""
        self.network, self.corrupt, self.scans = network, corrupt, scans
        self.places = [(n, k) for n, scan in enumerate(scans) for k in scan.usable]
        validation = [(n, k) for n, scan in enumerate(held_out) for k in scan.usable]
        self.held_out = []
        for number in range(VALIDATION_BATCHES):
            rng = np.random.default_rng([VALIDATION_SEED, number])
            chosen = [validation[int(n)] for n in rng.integers(len(validation), size=VALIDATION_SLICES)]
            self.held_out.append(_joined([self._sample(rng, held_out, place) for place in chosen]))

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> Batch:
        """`size` slices of random scans, varied and corrupted."""
        chosen = [self.places[int(n)] for n in rng.integers(len(self.places), size=size)]
        return _joined([self._sample(rng, self.scans, place, varied=True) for place in chosen])

    def _sample(
        self, rng: np.random.Generator, scans: list[SliceScan], place: tuple[int, int], varied: bool = False
    ) -> Batch:
        number, k = place
        one = scans[number].batch([k], self.network.size)
        if varied:
            one = vary(rng, one)
        stranger = scans[(number + 1 + int(rng.integers(max(1, len(scans) - 1)))) % len(scans)]
        nearest = min(stranger.usable, key=lambda other: abs(other - k))
        other = stranger.batch([nearest], self.network.size)["image"][0, 0].numpy()
        clean, brain = one["image"][0, 0].numpy(), one["brain"][0, 0].numpy() > 0.5
        image, weight = self.corrupt(rng, clean, brain, other)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image))[None, None],
            "clean": one["image"],
            "weight": torch.from_numpy(np.ascontiguousarray(weight))[None, None],
            "brain": one["brain"],
            "condition": one["condition"],
        }

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The family's own."""
        with in_bfloat16(batch["image"].device.type):
            return self.network.loss(batch)

    def validate(self) -> dict[str, float]:
        """Mean loss over fixed slices of held-out healthy scans."""
        torch.manual_seed(VALIDATION_SEED)
        losses = []
        # Some families follow gradients even here; inference mode would forbid it.
        with torch.inference_mode(False), torch.no_grad():
            for batch in self.held_out:
                losses.append(self.network.loss(to_device_of(self.network, batch))[0].item())
        return {"loss": float(np.mean(losses))}

    def fit(self) -> None:
        """Fit densities, where the family has any, to a spread of healthy slices as they are."""
        step = max(1, len(self.places) // FITTED_SLICES)
        batches = []
        chosen: dict[int, list[int]] = {}
        for number, k in self.places[::step]:
            chosen.setdefault(number, []).append(k)
        for number, slices in chosen.items():
            batch = self.scans[number].batch(slices, self.network.size)
            if number % 2:  # a mirrored view must be as normal as the slice itself
                batch |= {name: batch[name].flip(2) for name in ("image", "brain")}
            batches.append(to_device_of(self.network, batch))
        with torch.no_grad():
            self.network.fit(batches)


def slice_task(
    data: Path,
    cache: Path,
    family: str,
    contrast: str = "T1",
    corruption: str = "nothing",
    encoder: str | None = None,
    **options: Any,
) -> SliceTask:
    """The task that a configuration asks for.

    corruption: of `slice_corruption`. encoder: weights of an earlier run, relative to `cache`, whose encoder
    is taken over. options: of the family. Raises `AnomalyDetectError` for an unknown name or missing weights.
    """
    if corruption not in CORRUPTIONS:
        raise AnomalyDetectError(f"corruption {corruption!r} is unknown; there are {', '.join(CORRUPTIONS)}")
    network = make_family(family, **options)
    if encoder is not None:
        take_encoder(network, cache / encoder)
    scans, held_out = (load_slice_scans(data, cache, contrast, split) for split in ("train", "val"))
    return SliceTask(network, CORRUPTIONS[corruption], scans, held_out)


def vary(rng: np.random.Generator, slices: Batch) -> Batch:
    """The slice in another contrast and brightness, half of the time mirrored, at times of unknown age and
    sex.
    """
    image, brain, condition = slices["image"], slices["brain"], slices["condition"]
    if rng.random() < 0.5:
        image, brain = image.flip(2), brain.flip(2)
    image = image.clamp(min=0) ** float(np.exp(rng.normal(0, 0.1))) * float(rng.normal(1, 0.03))
    if rng.random() < 0.3:
        condition = condition * torch.tensor([0.0, 0.0, 1.0])
    return {"image": image.clamp(0, BRIGHTEST), "brain": brain, "condition": condition}


def take_encoder(network: torch.nn.Module, weights: Path) -> None:
    """Copy the encoder of an earlier run. Raises `AnomalyDetectError` when it is missing or another
    network's.
    """
    if not weights.is_file():
        raise AnomalyDetectError(f"{weights}: no such weights to take an encoder from; train that run first")
    stored = {k[len(ENCODER) :]: v.float() for k, v in load_file(weights).items() if k.startswith(ENCODER)}
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, torch.nn.Module):
        raise AnomalyDetectError(f"{type(network).__name__} has no encoder of its own; leave `encoder` out")
    try:
        encoder.load_state_dict(stored)
    except RuntimeError as error:
        raise AnomalyDetectError(f"{weights}: its encoder is another network's; choose others") from error


def _joined(samples: list[Batch]) -> Batch:
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
