"""Healthy heads in other contrasts than T1: what a model for T2, FLAIR and PD is calibrated on while no
healthy scans of these contrasts are at hand.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch

from AnomalyDetectLib.prepare.head_network import HEAD_SPACING
from AnomalyDetectLib.training import heads, labels
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.contrasts import recontrast
from AnomalyDetectLib.training.template import Subject
from AnomalyDetectLib.volume import Volume

THICK_SLICES = (1.0, 3.2)  # voxels of 2 mm
BIAS, NOISE = (0.02, 0.12), (0.01, 0.04)
SCALP = (0.4, 1.0)  # how bright the tissue outside the brain stays, of T1


@dataclass(frozen=True)
class RepaintedHead:
    """A subject's head in one contrast, with its own colours, slice thickness, bias and noise, the same every
    time.
    """

    subject: Subject
    contrast: str

    @property
    def name(self) -> str:
        """What the head is called in caches and messages."""
        return f"{self.subject.name}_as_{self.contrast}"

    def read(self) -> Volume:
        """The whole head on the scan's own grid, its brain repainted, white matter near 1."""
        rng = np.random.default_rng(zlib.crc32(f"{self.subject.name} {self.contrast}".encode()))
        array, regions, grid = self.subject.read()
        tissue = torch.from_numpy(labels.MUSE_TISSUE[regions])
        brain = torch.from_numpy(heads.intracranial_mask(regions, HEAD_SPACING))
        image = torch.from_numpy(array / np.median(array[tissue.numpy() == labels.WHITE])).float()
        painted = recontrast(rng, image * brain, tissue, self.contrast)
        image = torch.where(brain & (tissue > 0), painted, image * rng.uniform(*SCALP))
        image = fields.thick_slices(image, rng.uniform(*THICK_SLICES), 2, rng.random())
        size = (image.shape[0], image.shape[1], image.shape[2])
        image = image * fields.bias_field(rng, size, rng.uniform(*BIAS))
        grain = torch.from_numpy(rng.normal(0, rng.uniform(*NOISE), (2, *size)).astype(np.float32))
        image = torch.sqrt((image + grain[0]) ** 2 + grain[1] ** 2)
        return Volume(image.numpy(), grid.affine, modality=self.contrast, name=self.name)
