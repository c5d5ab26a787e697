"""Training task of the restoration models: take synthetic lesions of every severity out of healthy scans."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.devices import to_device_of
from AnomalyDetectLib.models.restoration import restoration_network, restore
from AnomalyDetectLib.prepare.intensity import normalise
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training import corruption, heads, labels, template
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.caches import store
from AnomalyDetectLib.training.contrasts import recontrast
from AnomalyDetectLib.volume import Affine

log = logging.getLogger(__name__)

VALIDATION_SAMPLES = 20
SMOOTHING = 50.0  # voxels: a batch without a lesion, or with a tiny one, gives a calm mean
POSITIVE_WEIGHT = 8.0  # lesions are rare: without it the network says "nothing" everywhere
LEAST_VARIANCE = 1e-4  # working units squared
TURN, MOVE = 5.0, 1.0  # up to how many degrees scans are turned, and the SD in voxels by which they are moved
WHITE_CLASSES = (labels.WHITE, labels.CEREBELLUM_WHITE, labels.BRAINSTEM)


@dataclass(frozen=True)
class HealthyScan:
    """A healthy brain on the working grid: `image` fp16 in working units, `tissue` classes, `brain`, all
    (X,Y,Z).
    """

    name: str
    image: Tensor
    tissue: Tensor
    brain: Tensor


def load_healthy_scans(data: Path, cache: Path, split: str) -> list[HealthyScan]:
    """IXI T1 scans of one split, aligned by their labels, N4-corrected and scaled; prepared once into
    `cache`.
    """
    affines = template.cached_affines(data, cache)
    folder = cache / "working"
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for subject in template.ixi_subjects(data, split):
        if subject.name not in affines:
            continue
        file = folder / f"{subject.name}.npz"
        if not file.exists():
            image, tissue, brain = prepare_subject(subject, affines[subject.name])
            store(file, image=image.astype(np.float16), tissue=tissue, brain=brain)
        with np.load(file) as arrays:
            scans.append(
                HealthyScan(
                    subject.name, *(torch.from_numpy(arrays[key]) for key in ("image", "tissue", "brain"))
                )
            )
    log.info("%d healthy scans (%s)", len(scans), split)
    return scans


def prepare_subject(
    subject: template.Subject, affine: Affine
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    """Image in working units, tissue classes and brain mask (X,Y,Z) from a subject's scan and regions."""
    array, regions, grid = subject.read()
    image = template.to_template(array, grid, affine)
    tissue = labels.MUSE_TISSUE[template.labels_to_template(regions, grid, affine)]
    brain = heads.intracranial_mask(tissue, template.TEMPLATE_SPACING)
    grey = np.isin(tissue, heads.GREY)
    scaled, _, _ = normalise(image, brain, np.isin(tissue, WHITE_CLASSES), grey, load_template().deep_white)
    return scaled, tissue, brain


def augment(
    rng: np.random.Generator,
    scan: HealthyScan,
    thick: float = 0.3,
    deformation: float = 1.0,
    off_plane: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, tissue and brain (X,Y,Z) with another pose, shape, contrast curve, resolution, bias, noise and
    mask rim.

    thick: share of the scans that get thick slices. deformation: how much further than usual scans are bent
    and scaled, and how much more often they are bent: at 2 all of those that get another pose. off_plane:
    how much further than usual the plane between the sides is turned and moved.
    """
    image, tissue, brain = scan.image.float(), scan.tissue, scan.brain
    size = (image.shape[0], image.shape[1], image.shape[2])
    if rng.random() < 0.85:
        centre = (np.array(size) - 1) / 2
        turn, move = np.array([1, off_plane, off_plane]) * TURN, np.array([off_plane, 1, 1]) * MOVE
        linear = fields.random_rotation(rng, turn) @ np.diag(np.exp(rng.normal(0, 0.03 * deformation, 3)))
        index_map = np.eye(4)
        index_map[:3, :3] = linear
        index_map[:3, 3] = centre - linear @ centre + rng.normal(0, move)
        bend = None
        if rng.random() < 0.5 * deformation:
            bend = torch.stack(
                [
                    fields.smooth_noise(rng, size, (6, 7, 6), deformation * rng.uniform(0.2, 1.3))
                    for _ in range(3)
                ]
            )
        image = fields.sample_affine(image[None], index_map, size, bend)[0]
        flags = torch.stack([tissue.float(), brain.float()])
        flags = fields.sample_affine(flags, index_map, size, bend, mode="nearest")
        tissue, brain = flags[0].to(torch.uint8), flags[1] > 0.5
    if rng.random() < 0.5:
        image, tissue, brain = image.flip(0), tissue.flip(0), brain.flip(0)
    if rng.random() < 0.6:
        image = image.clamp(min=1e-3) ** rng.uniform(0.6, 1.6)  # white matter stays 1
    if rng.random() < 0.6:  # another scanner's contrast, which differs from place to place
        contrast = torch.exp(fields.smooth_noise(rng, size, (4, 4, 4), rng.uniform(0.03, 0.2)))
        image = (1 - (1 - image) * contrast).clamp(min=0)
    if rng.random() < thick:
        image = fields.thick_slices(image, rng.uniform(1.3, 3.2), int(rng.choice([2, 2, 1, 0])), rng.random())
    elif rng.random() < 0.4:
        image = fields.blur(image, rng.uniform(0.3, 1.0))
    if rng.random() < 0.75:
        image = image * fields.bias_field(rng, size, rng.uniform(0.01, 0.14))
    image = image * rng.normal(1.0, 0.025)
    if rng.random() < 0.5:  # another extraction's rim
        rim = -functional.max_pool3d(-brain.float()[None, None], 3, 1, 1)[0, 0]
        brain = torch.where(
            fields.smooth_noise(rng, size, (5, 5, 5), 1.0) > rng.uniform(-1, 1), rim > 0.5, brain
        )
    return image, tissue, brain


class RestorationTask:
    """Input: a corrupted scan; targets: the clean scan and where it was corrupted."""

    def __init__(
        self,
        data: Path,
        cache: Path,
        full_difficulty_at: float = 0.35,
        other_contrasts: float = 0.0,
        other_t1: float = 0.0,
    ) -> None:
        """full_difficulty_at: share of the steps after which all kinds of lesions occur; 0: from the start.
        other_contrasts, other_t1: share of the scans that are repainted in any contrast, in another T1 one.
        """
        self.full_difficulty_at = full_difficulty_at
        self.other_contrasts = other_contrasts
        self.other_t1 = other_t1
        self.scans = load_healthy_scans(data, cache, "train")
        held_out = load_healthy_scans(data, cache, "val")
        self.held_out = [
            self._sample(np.random.default_rng([78, n]), held_out[n % len(held_out)], plain=True)
            for n in range(VALIDATION_SAMPLES)
        ]
        self.network = restoration_network()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # a fifth faster

    def _sample(
        self, rng: np.random.Generator, scan: HealthyScan, difficulty: float = 1.0, plain: bool = False
    ) -> dict[str, Tensor]:
        repainted = rng.random()
        if not plain and repainted < self.other_contrasts + self.other_t1:
            contrast = "T1" if repainted < self.other_t1 else None
            scan = replace(scan, image=recontrast(rng, scan.image.float(), scan.tissue, contrast))
        image, tissue, brain = (scan.image.float(), scan.tissue, scan.brain) if plain else augment(rng, scan)
        severity = float(rng.uniform(0.1, 1.0))
        clean = (image * brain).clamp(0, 2.0)
        bad = corruption.corrupt(rng, clean, brain, tissue, severity, difficulty)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
        noise = (
            noise * brain * (0.0 if plain else rng.uniform(0, 0.05))
        )  # the same noise on both: not an anomaly
        return {
            "image": (bad.image + noise)[None],
            "clean": (clean + noise)[None],
            "weight": bad.weight[None],
            "brain": brain[None],
        }

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        """`size` corrupted scans, large plain lesions first."""
        difficulty = float(np.clip(progress / max(self.full_difficulty_at, 1e-6), 0.0, 1.0))
        chosen = rng.integers(len(self.scans), size=size)
        return stack([self._sample(rng, self.scans[int(n)], difficulty) for n in chosen])

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weighted BCE on where the corruption is; Huber on the restored scan, inside corruptions and
        everywhere; Gaussian likelihood of what is left, for the variance alone.
        """
        healthy, logit, log_variance = restore(self.network, batch["image"])
        inside, target = batch["brain"].float(), batch["weight"]
        voxels = inside.sum()
        bce = functional.binary_cross_entropy_with_logits(
            logit, target, reduction="none", pos_weight=torch.tensor(POSITIVE_WEIGHT, device=logit.device)
        )
        bce = (bce * inside).sum() / voxels
        huber = functional.huber_loss(healthy, batch["clean"], reduction="none", delta=0.1) / 0.1
        everywhere = (huber * inside).sum() / voxels
        corrupted = (huber * target).sum() / (target.sum() + SMOOTHING)
        left = (healthy.detach() - batch["clean"]) ** 2 + LEAST_VARIANCE
        likelihood = ((left * torch.exp(-log_variance) + log_variance) * inside).sum() / voxels
        parts = {"bce": bce.item(), "inside": corrupted.item(), "all": everywhere.item()}
        return bce + 2 * corrupted + 4 * everywhere + 0.02 * likelihood, parts

    def validate(self) -> dict[str, float]:
        """Mean loss on held-out scans with fixed corruptions, and how much of the corruption is taken out."""
        losses, before, after = [], 0.0, 0.0
        for sample in self.held_out:
            batch = to_device_of(self.network, stack([sample]))
            losses.append(self.loss(batch)[0].item())
            healthy = restore(self.network, batch["image"])[0]
            changed = batch["weight"] > 0.5
            before += float(((batch["image"] - batch["clean"])[changed] ** 2).sum())
            after += float(((healthy - batch["clean"])[changed] ** 2).sum())
        return {"loss": float(np.mean(losses)), "energy_left": after / max(before, 1e-9)}


def stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Samples as one batch."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
