"""A healthy T1 brain in another contrast keeps its anatomy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from AnomalyDetectLib.training import contrasts, heads, labels

T1 = {labels.CSF: 0.3, labels.CORTEX: 0.73, labels.WHITE: 1.0}


@pytest.fixture(scope="module")
def brain() -> tuple[Tensor, Tensor]:
    """A T1-like ball of white matter in cortex in fluid, with some noise; its classes."""
    distance = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    tissue = np.select(
        [distance < 10, distance < 14, distance < 18], [labels.WHITE, labels.CORTEX, labels.CSF]
    )
    image = np.select([tissue == one for one in T1], list(T1.values()))
    image = image + np.random.default_rng(0).normal(0, 0.02, image.shape) * (tissue > 0)
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(tissue.astype(np.uint8))


def test_white_matter_stays_one_and_air_stays_zero(brain: tuple[Tensor, Tensor]) -> None:
    image, tissue = brain
    for seed in range(20):
        other = contrasts.recontrast(np.random.default_rng(seed), image, tissue)
        deep = torch.from_numpy(np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) < 7)
        assert float(other[deep].mean()) == pytest.approx(1.0, abs=0.1)
        assert not other[tissue == 0].any()
        assert float(other.min()) >= 0
        assert float(other.max()) <= contrasts.BRIGHTEST


def test_fluid_is_darker_in_some_and_brighter_in_other_contrasts(brain: tuple[Tensor, Tensor]) -> None:
    image, tissue = brain
    fluid = [
        float(contrasts.recontrast(np.random.default_rng(seed), image, tissue)[tissue == labels.CSF].mean())
        for seed in range(40)
    ]
    assert sum(mean < 0.7 for mean in fluid) > 8
    assert sum(mean > 1.3 for mean in fluid) > 5


def test_the_curve_takes_each_tissue_to_its_new_mean(brain: tuple[Tensor, Tensor]) -> None:
    image, tissue = brain
    target = torch.zeros(9)
    target[labels.CSF], target[labels.CORTEX], target[labels.WHITE] = 1.8, 1.3, 1.0
    mapped = contrasts.through_curve(image, heads.class_means(image, tissue.long()), target)
    for one in T1:
        assert float(mapped[tissue == one].mean()) == pytest.approx(float(target[one]), abs=0.05)
