"""Denoising diffusion: a scan is partly noised, and what comes back is healthy.

Ho et al. (NeurIPS 2020), DDIM steps (Song et al., ICLR 2021); partial noising with simplex noise: Wyatt et
al., "AnoDDPM" (CVPR workshops 2022); in patches and one step: Behrendt et al., "Patched diffusion models"
(MIDL 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.models.simplex_noise import simplex_noise
from AnomalyDetectLib.models.slices import SIZE, Batch, SliceFamily, SliceMaps

TIMES = 1000  # steps of the schedule
STRIDE = 100  # of the DDIM steps: few, since it is to run on a CPU
HIGHEST = 400  # noising beyond this isn't trained: only partly noised slices are ever denoised
LEVEL = 300  # what a slice is noised to when it is examined
SEEDS = 2
DIFFUSION_FEATURES = (32, 48, 64)
FOLD = 2  # the network sees 2 x 2 pixels as channels of one: a quarter of the time


@cache
def schedule() -> DDIMScheduler:
    """The linear schedule, and the DDIM steps through it."""
    found = DDIMScheduler(num_train_timesteps=TIMES, clip_sample=False)
    found.set_timesteps(TIMES // STRIDE)
    return found


class Diffusion(SliceFamily):
    """noise: what is added. patched: noise in one quarter at a time, from which the clean slice is predicted
    in one step.
    """

    views = 1  # the seeds give the spread

    def __init__(
        self,
        size: int = SIZE,
        features: Sequence[int] = DIFFUSION_FEATURES,
        noise: Literal["gaussian", "simplex"] = "gaussian",
        patched: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.noise, self.patched = size, noise, patched
        self.network = DiffusionModelUNet(
            spatial_dims=2, in_channels=FOLD**2, out_channels=FOLD**2, channels=tuple(features),
            num_res_blocks=1, attention_levels=(False,) * len(features), norm_num_groups=8,
            num_head_channels=8,
        )  # fmt: skip

    def _noised(self, image: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The slice in network units at a time (B,), and the noise that was added."""
        noise = torch.randn_like(image) if self.noise == "gaussian" else simplex_noise(image)
        return schedule().add_noise(2 * image - 1, noise, time), noise

    def _predicted(self, noised: Tensor, time: Tensor) -> Tensor:
        """What the network says of noised slices (B,1,H,W)."""
        folded = self.network(functional.pixel_unshuffle(noised, FOLD), time)
        return functional.pixel_shuffle(folded, FOLD)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the noise; patched: of the clean slice inside the noised quarter."""
        clean = batch["clean"]
        time = torch.randint(0, HIGHEST, (len(clean),), device=clean.device)
        noised, noise = self._noised(clean, time)
        if self.patched:
            mask = _quarter(int(torch.randint(0, 4, ()).item()), clean)
            predicted = self._predicted(torch.where(mask, noised, 2 * clean - 1), time)
            loss = (predicted - (2 * clean - 1)).square()[mask].mean()
        else:
            loss = (self._predicted(noised, time) - noise).square().mean()
        return loss, {"error": loss.item()}

    def examine(self, batch: Batch) -> SliceMaps:
        """Mean and variance over seeds of the denoised slice."""
        runs = [self._denoised(batch["image"]) * batch["brain"] for _ in range(SEEDS)]
        stack = torch.stack(runs)
        return SliceMaps(stack.mean(0), stack.var(0))

    def _denoised(self, image: Tensor) -> Tensor:
        time = torch.full((len(image),), LEVEL, device=image.device)
        current, _ = self._noised(image, time)
        if self.patched:
            healthy = torch.zeros_like(image)
            for number in range(4):
                mask = _quarter(number, image)
                predicted = self._predicted(torch.where(mask, current, 2 * image - 1), time)
                healthy = torch.where(mask, predicted, healthy)
            return (healthy + 1) / 2
        for step in range(LEVEL, -1, -STRIDE):
            predicted = self._predicted(current, torch.full_like(time, step))
            current, _ = schedule().step(predicted, step, current)
        return (current + 1) / 2


def _quarter(number: int, image: Tensor) -> Tensor:
    """Mask (B,1,H,W) of one of the four quarters."""
    half_rows, half_columns = image.shape[2] // 2, image.shape[3] // 2
    mask = torch.zeros_like(image, dtype=torch.bool)
    row, column = (number // 2) * half_rows, (number % 2) * half_columns
    mask[:, :, row : row + half_rows, column : column + half_columns] = True
    return mask
