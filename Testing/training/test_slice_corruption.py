"""Corrupted slices: changed inside the brain alone, and labelled where they were changed."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.training.slice_corruption import CORRUPTIONS, poisson_blend

SIDE = 64
X, Y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
BRAIN = np.hypot(X, Y) < 0.8
IMAGE = ((0.9 + 0.2 * np.sin(12 * X) * np.cos(9 * Y)) * BRAIN).astype(np.float32)
OTHER = ((0.8 + 0.2 * np.cos(7 * X + 5 * Y)) * BRAIN).astype(np.float32)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "nothing"])
def test_a_corruption_changes_the_brain_where_its_label_says(name: str) -> None:
    changed_inside, changed_outside = [], []
    for seed in range(10):
        image, weight = CORRUPTIONS[name](np.random.default_rng(seed), IMAGE, BRAIN, OTHER)
        assert image.dtype == weight.dtype == np.float32
        assert 0 <= weight.min() <= weight.max() <= 1
        assert (weight[~BRAIN] == 0).all()
        assert np.array_equal(image[~BRAIN], IMAGE[~BRAIN])
        change = np.abs(image - IMAGE)
        changed_inside += change[weight > 0.3].tolist()
        changed_outside += change[BRAIN & (weight == 0)].tolist()
    assert np.mean(changed_inside) > 5 * np.mean(changed_outside)
    assert np.mean(changed_inside) > 0.02


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_generator_corrupts_alike(name: str) -> None:
    one, two = (CORRUPTIONS[name](np.random.default_rng(3), IMAGE, BRAIN, OTHER) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_poisson_blending_keeps_what_lies_around_and_takes_the_texture() -> None:
    shape = np.zeros((SIDE, SIDE), bool)
    shape[20:40, 24:44] = True
    blended = poisson_blend(OTHER, IMAGE, shape)
    far = np.ones_like(shape)
    far[14:46, 18:50] = False
    assert np.array_equal(blended[far], IMAGE[far])
    inside = (slice(24, 36), slice(28, 40))
    gradients = [np.gradient(one)[0][inside].ravel() for one in (blended, OTHER, IMAGE)]
    assert np.corrcoef(gradients[0], gradients[1])[0, 1] > 0.9
