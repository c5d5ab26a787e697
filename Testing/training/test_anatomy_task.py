"""What the anatomy network learns from: corrupted scans, half of them with their other side."""

from __future__ import annotations

import numpy as np
import torch

from AnomalyDetectLib.models.anatomy import asymmetry_of
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training.anatomy import corrupted
from AnomalyDetectLib.training.labels import CSF, WHITE
from AnomalyDetectLib.training.restoration import HealthyScan, augment


def even_scan() -> HealthyScan:
    """The template's brain, all white matter in a rim of fluid, its sides alike."""
    brain = torch.from_numpy(load_template().brain)
    brain = brain & brain.flip(0)
    inner = torch.nn.functional.max_pool3d((~brain).float()[None, None], 5, 1, 2)[0, 0] == 0
    tissue = torch.where(inner, WHITE, torch.where(brain, CSF, 0)).to(torch.uint8)
    image = torch.where(inner, 1.0, torch.where(brain, 0.3, 0.0))
    return HealthyScan("even", image.half(), tissue, brain)


def test_the_plane_between_the_sides_stays_in_the_middle_where_it_must() -> None:
    scan = even_scan()
    for seed in range(6):
        _, kept, _ = augment(np.random.default_rng(seed), scan, deformation=0, off_plane=0)
        assert float((kept != kept.flip(0)).float().mean()) < 2e-3, "rounding alone"
    moved = [augment(np.random.default_rng(seed), scan, deformation=0)[1] for seed in range(6)]
    assert max(float((one != one.flip(0)).float().mean()) for one in moved) > 0.02


def test_a_sample_tells_the_other_side_or_nothing_of_it() -> None:
    scan = even_scan()
    parts = scan.image.float(), scan.tissue, scan.brain
    told, untold = (corrupted(np.random.default_rng(2), *parts, told=told) for told in (True, False))
    assert torch.equal(told["image"], untold["image"])
    assert torch.equal(told["asymmetry"], asymmetry_of(told["image"][None])[0])
    assert float(told["asymmetry"].abs().max()) > 0.2
    assert float(untold["asymmetry"].abs().max()) == 0
