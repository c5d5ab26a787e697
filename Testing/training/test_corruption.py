"""Synthetic lesions change what they say they change, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from AnomalyDetectLib.training import corruption, labels


@pytest.fixture(scope="module")
def brain() -> tuple[Tensor, Tensor, Tensor]:
    """A textured ball with a ventricle: clean image, mask, tissue."""
    i, j, k = np.indices((48, 56, 48))
    radius = np.sqrt((i - 24) ** 2 + (j - 28) ** 2 + (k - 24) ** 2)
    tissue = np.select(
        [radius < 4, radius < 15, radius < 20], [labels.VENTRICLE, labels.WHITE, labels.CORTEX], 0
    )
    clean = np.select([radius < 4, radius < 15, radius < 20], [0.3, 1.0, 0.73], 0)
    clean = clean + np.random.default_rng(0).normal(0, 0.02, clean.shape) * (tissue > 0)
    return (
        torch.from_numpy(clean.astype(np.float32)),
        torch.from_numpy(tissue > 0),
        torch.from_numpy(tissue.astype(np.uint8)),
    )


def test_lesions_stay_inside_the_brain_and_are_marked(brain: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, mask, tissue = brain
    for seed in range(40):
        bad = corruption.corrupt(np.random.default_rng(seed), clean, mask, tissue, severity=0.8)
        assert bad.image.shape == clean.shape
        assert not bad.image[~mask].any()
        assert not bad.weight[~mask].any()
        assert torch.isfinite(bad.image).all()


def test_both_bright_and_dark_lesions_occur(brain: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, mask, tissue = brain
    signs = []
    for seed in range(60):
        bad = corruption.corrupt(np.random.default_rng(seed), clean, mask, tissue, severity=0.8)
        change = ((bad.image - clean) * bad.weight).sum()
        signs.append(float(torch.sign(change)))
    assert signs.count(1.0) > 10
    assert signs.count(-1.0) > 10


def test_some_scans_stay_healthy(brain: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, mask, tissue = brain
    whole = [
        torch.equal(corruption.corrupt(np.random.default_rng(seed), clean, mask, tissue, 0.5).image, clean)
        for seed in range(120)
    ]
    assert 1 <= sum(whole) <= 30


def test_the_same_seed_paints_the_same_lesions(brain: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, mask, tissue = brain
    one, two = (corruption.corrupt(np.random.default_rng(5), clean, mask, tissue, 0.6) for _ in range(2))
    assert torch.equal(one.image, two.image)


def test_large_lesions_are_mixed_at_times_and_small_ones_are_one_piece() -> None:
    place = np.array([40.0, 50.0, 40.0])
    large = [corruption._parts(np.random.default_rng(seed), place, 12.0, large=True) for seed in range(40)]
    counts = {len(parts) for parts in large}
    assert 1 in counts
    assert max(counts) > 2
    assert all(np.allclose(parts[0][0], place) and parts[0][1] == 12.0 for parts in large)
    assert all(size < 12.0 for parts in large for _, size in parts[1:])

    assert len(corruption._parts(np.random.default_rng(0), place, 3.0, large=False)) == 1


@pytest.mark.parametrize("contrast", [1.0, 0.5])
def test_an_enhancing_lesion_has_a_rim_and_a_core_of_the_other_sign(contrast: float) -> None:
    size, centre, radius = torch.Size((40, 40, 40)), np.full(3, 20.0), 9.0
    palette, signs = corruption.Palette(contrast=contrast), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shape = corruption.random_shape(rng, centre, radius, size)
        tissue = torch.ones_like(shape.distance)
        painted = corruption._enhancing(rng, tissue, tissue, shape, radius, palette)
        change = painted - tissue
        core = change.flatten()[shape.distance.flatten().argsort()[:20]].mean()
        rim = change[(shape.distance - 0.92).abs() < 0.05].mean()
        assert core * rim < 0
        assert 0.05 * contrast < abs(core) < contrast
        assert change[shape.distance > 2].abs().max() < 0.05
        signs.append(float(rim) > 0)
    assert 0 < sum(not bright for bright in signs) < sum(signs)


def test_a_part_that_falls_outside_the_volume_is_painted_at_its_face() -> None:
    size = torch.Size((24, 24, 24))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shape = corruption.random_shape(rng, np.array([12.0, 60.0, -30.0]), 3.0, size)
        assert torch.zeros(size)[shape.box].shape == shape.distance.shape
        assert min(shape.distance.shape) > 0
