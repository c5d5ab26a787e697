"""What is learnt from scans with pathology: only what lies outside the lesion."""

from __future__ import annotations

import numpy as np
import torch

from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training import labels
from AnomalyDetectLib.training.anatomy import corrupted
from AnomalyDetectLib.training.patients import ILL


def test_a_patients_own_lesion_is_seen_by_the_network_and_not_learnt_from() -> None:
    template = load_template()
    brain = torch.from_numpy(template.brain)
    tissue = torch.where(brain, labels.WHITE, labels.BACKGROUND).to(torch.uint8)
    ill = torch.zeros_like(brain)
    ill[30:50, 40:60, 30:50] = True
    ill &= brain
    tissue[ill] = ILL
    image = brain.float() + 0.05 * torch.randn(brain.shape, generator=torch.Generator().manual_seed(1))

    for seed in range(6):  # some of the synthetic lesions touch it
        sample = corrupted(np.random.default_rng(seed), image + 0.8 * ill, tissue, brain)

        assert not sample["brain"][0][ill].any(), "no loss is counted there"
        assert not sample["weight"][0][ill].any()
        assert (sample["tissue"][ill] == -1).all()
        assert sample["image"][0][ill].abs().mean() > 0, "the scan is shown as it is"
        assert bool(sample["brain"][0][brain & ~ill].all())
