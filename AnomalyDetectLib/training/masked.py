"""Training task of the masked rebuild: hidden parts of a brain from the rest of it, lesions or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.devices import in_bfloat16, to_device_of
from AnomalyDetectLib.models.anatomy import Restored
from AnomalyDetectLib.models.masked_rebuild import CUBE, MaskedNetwork, tiling
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.anatomy import LEAST_VARIANCE, AnatomyTask
from AnomalyDetectLib.training.restoration import SMOOTHING, stack

CUBES = (CUBE - 4, CUBE + 5)  # voxels
BLOB_SHARE = 0.3  # of the samples in which a few large blobs are hidden, as what stands out is in the end
BLOB_KNOTS, BLOB_LIMIT = 6, 1.0  # of smooth noise of standard deviation 1


class MaskedTask(AnatomyTask):
    """Input: a corrupted scan with hidden parts; target: the clean scan there."""

    architecture = MaskedNetwork
    network: MaskedNetwork

    def __init__(self, data: Path, cache: Path, deformation: float = 1.0) -> None:
        """deformation: see `augment`."""
        super().__init__(data, cache, deformation=deformation)
        for number, sample in enumerate(self.held_out):
            sample["hidden"] = hidden_part(np.random.default_rng([80, number]), sample["image"])

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        """`size` corrupted scans, and what is hidden of them."""
        found = super().batch(rng, size, progress)
        found["hidden"] = torch.stack([hidden_part(rng, image) for image in found["image"]])
        return found

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Huber on what is hidden; cross-entropy of its tissue; Gaussian likelihood of what is left, for the
        variance alone.
        """
        told = batch["asymmetry"].flatten(1).any(1)  # of samples whose sides lie in their places
        with in_bfloat16(batch["image"].device.type):
            seen = self.network.predict(batch["image"], batch["hidden"], told)
            out = Restored(*(maps.float() for maps in seen))
        asked = (batch["hidden"] & batch["brain"]).float()
        voxels = asked.sum() + SMOOTHING
        huber = functional.huber_loss(out.healthy, batch["clean"], reduction="none", delta=0.5)
        cross = functional.cross_entropy(out.tissue, batch["tissue"], ignore_index=-1, reduction="none")
        left = (out.healthy.detach() - batch["clean"]) ** 2 + LEAST_VARIANCE
        likelihood = left * torch.exp(-out.log_variance) + out.log_variance
        hidden, tissue, doubt = ((one * asked).sum() / voxels for one in (huber, cross[:, None], likelihood))
        return hidden + 0.1 * tissue + 0.02 * doubt, {"hidden": hidden.item(), "tissue": tissue.item()}

    def validate(self) -> dict[str, float]:
        """Over held-out scans with fixed hidden parts: mean loss, and the root mean square of what is left
        there, input units, of T1 scans and of other contrasts.
        """
        losses, left = [], {"t1": [], "other": []}  # type: ignore[var-annotated]
        for number, sample in enumerate(self.held_out):
            batch = to_device_of(self.network, stack([sample]))
            losses.append(self.loss(batch)[0].item())
            asked = batch["hidden"] & batch["brain"]
            error = self.network.predict(batch["image"], batch["hidden"]).healthy - batch["clean"]
            left[("t1", "other")[number % 2]].append(float((error[asked] ** 2).mean()))
        rms = {f"rms_{kind}": float(np.sqrt(np.mean(ones))) for kind, ones in left.items()}
        return {"loss": float(np.mean(losses))} | rms


def hidden_part(rng: np.random.Generator, image: Tensor) -> Tensor:
    """What is hidden of an image (1,X,Y,Z), bool: cubes of a tiling, or blobs."""
    size = (image.shape[1], image.shape[2], image.shape[3])
    if rng.random() < BLOB_SHARE:
        return fields.smooth_noise(rng, size, (BLOB_KNOTS,) * 3, 1.0)[None] > BLOB_LIMIT
    cube = int(rng.integers(*CUBES))
    masks = tiling(size, cube, int(rng.integers(2 * cube)))
    return masks[int(rng.integers(len(masks)))][None]
