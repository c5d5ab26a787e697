"""Brains painted from label maps, and real heads repainted, are healthy scans of a contrast that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from AnomalyDetectLib.training import labels, template
from AnomalyDetectLib.training.label_brains import WHOLE, LabelBrain, paint
from AnomalyDetectLib.training.repainted_heads import RepaintedHead


@pytest.fixture
def brain() -> LabelBrain:
    """Three layers, each a tissue, with a mixed plane between them."""
    size = (16, 20, 16)
    shares = torch.zeros(len(labels.TISSUE_NAMES), *size, dtype=torch.uint8)
    shares[labels.CSF, :, :6] = WHOLE
    shares[labels.CORTEX, :, 6:12] = WHOLE
    shares[labels.WHITE, :, 12:] = WHOLE
    shares[labels.CSF, :, 6], shares[labels.CORTEX, :, 6] = WHOLE // 2, WHOLE // 2
    return LabelBrain(
        "layers", shares, torch.zeros(size, dtype=torch.uint8), torch.ones(size, dtype=torch.bool)
    )


def test_a_painted_brain_has_white_matter_near_one_and_partial_volume(brain: LabelBrain) -> None:
    for seed in range(5):
        image = paint(np.random.default_rng(seed), brain)
        fluid, grey, white = (float(image[:, layer].median()) for layer in (2, 9, 16))
        assert white == pytest.approx(1, abs=0.15)
        mixed = float(image[:, 6].median())
        low, high = min(fluid, grey) - 0.15, max(fluid, grey) + 0.15
        assert low <= mixed <= high


def test_the_same_seed_paints_the_same_brain(brain: LabelBrain) -> None:
    one, two = (paint(np.random.default_rng(7), brain) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize(("contrast", "brighter"), [("T2", True), ("FLAIR", False)])
def test_a_repainted_head_has_the_fluid_of_its_contrast(data: Path, contrast: str, brighter: bool) -> None:
    subject = template.ixi_subjects(data, "val")[0]
    volume = RepaintedHead(subject, contrast).read()
    again = RepaintedHead(subject, contrast).read()
    assert np.array_equal(volume.array, again.array)
    tissue = labels.MUSE_TISSUE[subject.read()[1]]
    fluid = np.median(volume.array[tissue == labels.VENTRICLE])
    white = np.median(volume.array[tissue == labels.WHITE])
    assert (fluid > white) == brighter
    assert volume.modality == contrast
