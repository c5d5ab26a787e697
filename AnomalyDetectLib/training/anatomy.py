"""Training task of the anatomy models: the healthy scan and its tissue from scans of any contrast with
synthetic lesions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.devices import in_bfloat16, to_device_of
from AnomalyDetectLib.evaluation.metrics import average_precision
from AnomalyDetectLib.models.anatomy import AnatomyNetwork, Restored, asymmetry_of, levels, to_input
from AnomalyDetectLib.training import corruption, labels
from AnomalyDetectLib.training.contrasts import BRIGHTEST, recontrast
from AnomalyDetectLib.training.heads import class_means
from AnomalyDetectLib.training.label_brains import load_label_brains, paint
from AnomalyDetectLib.training.patients import ILL, load_patient_scans
from AnomalyDetectLib.training.restoration import (
    POSITIVE_WEIGHT,
    SMOOTHING,
    VALIDATION_SAMPLES,
    HealthyScan,
    augment,
    load_healthy_scans,
    stack,
)

LEAST_VARIANCE = 2.5e-3  # input units squared
T1_UNIT = 0.2  # working units: what one input unit is in T1
CONTRAST_RANGE = (0.5, 3.0)
T1_SHARE, OTHER_T1_SHARE, LABEL_SHARE = 0.3, 0.2, 0.1  # the rest: real scans repainted in any contrast
DIFFICULTY = 0.65  # lesions at the noise teach little
PATIENT_SHARE = 0.35
SEQUENCE_SHARES = {"flair": 0.6, "t1": 0.2, "t1c": 0.2}
TOLD_SHARE = 0.7  # of the samples that the other side of the brain is told in: else nothing but it is learnt
OFF_PLANE = 0.3  # of the usual pose, where it is told: aligned scans have their plane in the middle
THICK_SHARE = 0.5  # of the scans in other contrasts: clinical T2 and FLAIR have thick slices


class AnatomyTask:
    """Input: a corrupted scan; targets: the clean scan, where it was corrupted, and the healthy tissue."""

    architecture: type[AnatomyNetwork] = AnatomyNetwork

    def __init__(
        self,
        data: Path,
        cache: Path,
        t1_share: float = T1_SHARE,
        patients: str | None = None,
        deformation: float = 1.0,
    ) -> None:
        """t1_share: of the volunteers' scans that keep their own contrast. deformation: see `augment`.

        patients: weights, relative to `cache`, that name the tissue of real scans of glioma patients; with
        them these are learnt from, too, outside their lesions.
        """
        self.t1_share, self.deformation = t1_share, deformation
        self.patients = {} if patients is None else load_patient_scans(data, cache, cache / patients)
        self.scans = load_healthy_scans(data, cache, "train")
        self.label_brains = load_label_brains(data, cache, held_out=False)
        held_out = load_healthy_scans(data, cache, "val")
        self.held_out = []
        for n in range(VALIDATION_SAMPLES):
            rng = np.random.default_rng([79, n])
            scan = held_out[n % len(held_out)]
            if n % 2:
                scan = replace(scan, image=recontrast(rng, scan.image.float(), scan.tissue))
            self.held_out.append(corrupted(rng, scan.image.float(), scan.tissue, scan.brain))
        self.network = self.architecture()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # a fifth faster

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        """`size` corrupted scans, all kinds of lesions from the first step on."""
        return stack([self._sample(rng) for _ in range(size)])

    def _sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        told = rng.random() < TOLD_SHARE
        off_plane = OFF_PLANE if told else 1.0
        if self.patients and rng.random() < PATIENT_SHARE:
            scans = self.patients[str(rng.choice(list(SEQUENCE_SHARES), p=list(SEQUENCE_SHARES.values())))]
            scan = scans[int(rng.integers(len(scans)))]
            image, tissue, inside = augment(rng, scan, deformation=self.deformation, off_plane=off_plane)
            return corrupted(rng, image, tissue, inside, noise=rng.uniform(0, 0.03), told=told)
        kind = rng.random()
        if kind < LABEL_SHARE:
            brain = self.label_brains[int(rng.integers(len(self.label_brains)))]
            scan = HealthyScan(brain.name, paint(rng, brain), brain.tissue, brain.brain)
        else:
            scan = self.scans[int(rng.integers(len(self.scans)))]
            if kind > LABEL_SHARE + self.t1_share:
                contrast = "T1" if kind < LABEL_SHARE + self.t1_share + OTHER_T1_SHARE else None
                scan = replace(scan, image=recontrast(rng, scan.image.float(), scan.tissue, contrast))
        thick = 0.3 if LABEL_SHARE <= kind < LABEL_SHARE + self.t1_share else THICK_SHARE
        image, tissue, inside = augment(rng, scan, thick, self.deformation, off_plane)
        return corrupted(rng, image, tissue, inside, noise=rng.uniform(0, 0.05), told=told)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weighted BCE on where the corruption is; Huber on the restored scan, inside corruptions and
        everywhere; cross-entropy of the healthy tissue; Gaussian likelihood of what is left, for the variance
        alone.
        """
        with in_bfloat16(batch["image"].device.type):
            out = Restored(
                *(maps.float() for maps in self.network.restore(batch["image"], batch["asymmetry"]))
            )
        inside, target = batch["brain"].float(), batch["weight"]
        voxels, corrupted = inside.sum(), target.sum() + SMOOTHING
        bce = functional.binary_cross_entropy_with_logits(
            out.logit,
            target,
            reduction="none",
            pos_weight=torch.tensor(POSITIVE_WEIGHT, device=target.device),
        )
        bce = (bce * inside).sum() / voxels
        huber = functional.huber_loss(out.healthy, batch["clean"], reduction="none", delta=0.5)
        restored = 0.8 * (huber * target).sum() / corrupted + 1.6 * (huber * inside).sum() / voxels
        cross = functional.cross_entropy(out.tissue, batch["tissue"], ignore_index=-1, reduction="none")[
            :, None
        ]
        tissue = (cross * inside).sum() / voxels
        hidden = (cross * target).sum() / corrupted
        left = (out.healthy.detach() - batch["clean"]) ** 2 + LEAST_VARIANCE
        likelihood = ((left * torch.exp(-out.log_variance) + out.log_variance) * inside).sum() / voxels
        parts = {
            "bce": bce.item(), "restored": restored.item(), "tissue": tissue.item(), "hidden": hidden.item(),
        }  # fmt: skip
        return bce + restored + 0.3 * (tissue + hidden) + 0.02 * likelihood, parts

    def validate(self) -> dict[str, float]:
        """Over held-out scans with fixed corruptions: mean loss; of T1 scans and of other contrasts the share
        of the corruption's energy that is left, and the voxel AP of its logit.
        """
        losses: list[float] = []
        energy = {"t1": [0.0, 0.0], "other": [0.0, 0.0]}
        precision: dict[str, list[float]] = {"t1": [], "other": []}
        for number, sample in enumerate(self.held_out):
            batch = to_device_of(self.network, stack([sample]))
            losses.append(self.loss(batch)[0].item())
            out = self.network.restore(batch["image"], batch["asymmetry"])
            changed, kind = batch["weight"] > 0.5, ("t1", "other")[number % 2]
            for at, image in enumerate((batch["image"], out.healthy)):
                energy[kind][at] += float(((image - batch["clean"])[changed] ** 2).sum())
            precision[kind].append(
                average_precision(*(maps.cpu().numpy() for maps in (out.logit, changed, batch["brain"])))
            )
        figures = {"loss": float(np.mean(losses))}
        for kind in energy:
            figures[f"left_{kind}"] = energy[kind][1] / max(energy[kind][0], 1e-9)
            figures[f"ap_{kind}"] = float(np.nanmean(precision[kind]))
        return figures


def corrupted(
    rng: np.random.Generator,
    image: Tensor,
    tissue: Tensor,
    brain: Tensor,
    noise: float = 0.0,
    told: bool = True,
) -> dict[str, Tensor]:
    """One training sample in input units from a healthy image in working units (X,Y,Z).

    Nothing is learnt where `tissue` is `ILL`. told: whether the network sees the other side of the brain.
    """
    healthy = tissue != ILL
    tissue = torch.where(healthy, tissue, labels.BACKGROUND)
    clean = (image * brain).clamp(0, BRIGHTEST)
    contrast = float(np.clip(levels(clean, brain)[1] / T1_UNIT, *CONTRAST_RANGE))
    fluid = float(class_means(clean, tissue.long())[labels.VENTRICLE])
    palette = corruption.Palette(contrast, (0.6 * fluid, 1.4 * fluid), BRIGHTEST)
    severity = float(rng.uniform(0.3, 1.0))
    bad = corruption.corrupt(rng, clean, brain, tissue, severity, DIFFICULTY, palette)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    grain = torch.randn(clean.shape, generator=generator) * noise * contrast  # on both: noise is no anomaly
    middle, unit = levels(bad.image, brain)
    target = tissue.long() - 1
    seen = to_input(bad.image + grain, brain, middle, unit)[None]
    return {
        "image": seen,
        "asymmetry": asymmetry_of(seen[None])[0] if told else torch.zeros_like(seen),
        "clean": to_input(clean + grain, brain, middle, unit)[None],
        "weight": (bad.weight * healthy)[None],
        "brain": (brain & healthy)[None],
        "tissue": torch.where(brain, target, -1),
    }
