"""A healthy scan for tests, made of the template."""

from __future__ import annotations

import torch

from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training.labels import CSF, WHITE
from AnomalyDetectLib.training.restoration import HealthyScan


def even_scan() -> HealthyScan:
    """The template's brain, all white matter in a rim of fluid, its sides alike."""
    brain = torch.from_numpy(load_template().brain)
    brain = brain & brain.flip(0)
    inner = torch.nn.functional.max_pool3d((~brain).float()[None, None], 5, 1, 2)[0, 0] == 0
    tissue = torch.where(inner, WHITE, torch.where(brain, CSF, 0)).to(torch.uint8)
    image = torch.where(inner, 1.0, torch.where(brain, 0.3, 0.0))
    return HealthyScan("even", image.half(), tissue, brain)
