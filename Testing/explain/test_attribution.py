"""Attributions on a target whose answer is known, and the parts of a score that must add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from AnomalyDetectLib.errors import Cancelled
from AnomalyDetectLib.explain.attribution import (
    MOST_BLOCKS,
    blocks_around,
    grad_cam,
    integrated_gradients,
    occlusion,
)
from AnomalyDetectLib.explain.places import inside_share
from AnomalyDetectLib.explain.target import Target
from AnomalyDetectLib.models.differentiable import Differentiable, DifferentiableRebuild, enlarged
from AnomalyDetectLib.scoring.evidence import fuse, fusion_factors, smooth_inside_transposed
from AnomalyDetectLib.volume import smooth_inside

SHAPE = (24, 24, 24)
LESION = np.zeros(SHAPE, bool)
LESION[10:13, 10:13, 10:13] = True


class Halving(nn.Module):
    """A network whose deepest layer is the image at half its size, and which expects nothing anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.AvgPool3d(2)

    def forward(self, image: Tensor) -> DifferentiableRebuild:
        seen = enlarged(SHAPE)(self.layer(image))
        return DifferentiableRebuild(healthy=torch.zeros_like(image[0, 0]), log_odds=seen)


def target(evidence: str = "residual", cancelled: bool = False) -> Target:
    """The mean of one evidence over the lesion."""
    network = Halving()
    model = Differentiable(network, network.layer, enlarged(SHAPE))
    weight = torch.from_numpy(LESION / LESION.sum()).float()
    return Target(
        model, {evidence: weight}, 0.0, 1, 1.0, torch.ones(SHAPE, dtype=torch.bool), lambda: cancelled
    )


@pytest.fixture
def image() -> Tensor:
    """3 in the lesion, noise around it."""
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    return torch.from_numpy(np.where(LESION, 3.0, noise)).float()[None, None]


def test_the_gradients_of_a_mean_are_the_voxels_shares_in_it(image: Tensor) -> None:
    found, gap = integrated_gradients(target(), image, torch.zeros_like(image))
    assert found.sum() == pytest.approx(3.0, abs=1e-4)
    assert gap == pytest.approx(0.0, abs=1e-4)
    assert inside_share(found, LESION) == pytest.approx(1.0)
    assert np.allclose(found[LESION], 3.0 / LESION.sum(), atol=1e-5)


def test_a_block_counts_for_as_much_as_it_holds_of_the_lesion(image: Tensor) -> None:
    brain = np.ones(SHAPE, bool)
    found = occlusion(target(), image, torch.zeros_like(image), LESION, brain)
    assert found.falls.sum() == pytest.approx(3.0, abs=1e-3)
    assert found.finding == pytest.approx(3.0, abs=1e-3)
    assert found.elsewhere == pytest.approx(0.0, abs=1e-5)
    assert (found.map[~LESION & (found.blocks == found.falls.argmax() + 1)] > 0).all()
    assert len(found.falls) == found.blocks.max() <= MOST_BLOCKS


def test_blocks_cover_a_large_lesion_too_and_leave_out_what_is_no_brain() -> None:
    large, brain = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    large[2:20, 2:20, 2:20] = True
    brain[:, :, 16:] = False
    blocks = blocks_around(large, brain)
    assert set(np.unique(blocks)) - {0} == set(range(1, int(blocks.max()) + 1))
    assert blocks.max() <= MOST_BLOCKS
    assert (blocks[large & brain] > 0).all()
    assert (blocks[~brain] == 0).all()


def test_grad_cam_is_brightest_where_the_layer_saw_the_lesion(image: Tensor) -> None:
    found = grad_cam(target("anomaly"), image)
    assert found.shape == SHAPE
    assert found.max() == pytest.approx(1.0)
    assert found[LESION].mean() > 5 * found[~LESION].mean()


def test_a_cancelled_explanation_stops_within_one_pass(image: Tensor) -> None:
    with pytest.raises(Cancelled):
        integrated_gradients(target(cancelled=True), image, torch.zeros_like(image))


def test_the_fused_score_is_the_sum_of_its_parts() -> None:
    rng = np.random.default_rng(1)
    names = ("residual", "anomaly", "tissue-fine", "tissue", "tissue-wide", "mirror")
    maps = {name: rng.normal(0, 3, SHAPE).astype(np.float32) for name in names}
    for known in (names, names[:2], names[:1], names[1:2]):
        chosen = {name: maps[name] for name in known}
        factors = fusion_factors(chosen)
        added = sum(factors[name] * chosen[name] for name in factors)
        np.testing.assert_allclose(added, fuse(chosen), atol=1e-5)
    leaning = fusion_factors(maps)
    tissue = leaning["tissue"] + leaning["tissue-wide"]
    assert (leaning["residual"] < tissue + (tissue == 0)).all(), "tissue evidence leads"
    assert (leaning["residual"][leaning["tissue-fine"] == 1] == 0).all()


def test_weights_before_smoothing_give_what_weights_after_it_gave() -> None:
    rng = np.random.default_rng(2)
    brain = np.zeros(SHAPE, bool)
    brain[3:21, 3:21, 3:21] = True
    values, weights = (np.where(brain, rng.normal(0, 1, SHAPE), 0).astype(np.float32) for _ in range(2))
    after = float((weights * smooth_inside(values, brain, 1.5)).sum())
    before = float((smooth_inside_transposed(weights, brain, 1.5) * values).sum())
    assert before == pytest.approx(after, abs=0.02 * float(np.abs(weights).sum()) ** 0.5)
