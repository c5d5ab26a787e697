"""The masked rebuild: every voxel is hidden once, and what is hidden can't copy itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from AnomalyDetectLib.models.anatomy import Restored
from AnomalyDetectLib.models.masked_rebuild import CUBE, OFFSETS, MaskedNetwork, hidden_once, tiling
from AnomalyDetectLib.prepare.template import load_template

SHAPE = load_template().brain.shape


@pytest.fixture(scope="module")
def network() -> MaskedNetwork:
    torch.manual_seed(0)
    return MaskedNetwork().eval()


@pytest.mark.parametrize("offset", OFFSETS)
def test_every_voxel_is_hidden_in_one_of_eight_passes(offset: int) -> None:
    masks = tiling(SHAPE, CUBE, offset)
    assert masks.shape == (8, *SHAPE)
    assert (masks.sum(0) == 1).all()


def test_the_tilings_overlap() -> None:
    first, second = (tiling(SHAPE, CUBE, offset) for offset in OFFSETS)
    assert not any(torch.equal(one, other) for one in first for other in second)


def test_a_lesion_that_is_hidden_changes_nothing(network: MaskedNetwork) -> None:
    scan = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    hidden = torch.zeros_like(scan, dtype=torch.bool)
    hidden[..., 20:30, 40:50, 30:40] = True
    with torch.inference_mode():
        healthy = network.predict(scan, hidden).healthy
        ill = network.predict(torch.where(hidden, scan + 5, scan), hidden).healthy
        seen = network.predict(torch.where(hidden, scan + 5, scan), torch.zeros_like(hidden)).healthy
    assert torch.equal(healthy, ill)
    assert not torch.allclose(seen[hidden], healthy[hidden])


def test_the_other_side_is_told_or_not(network: MaskedNetwork) -> None:
    scan = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    nothing = torch.zeros_like(scan, dtype=torch.bool)
    with torch.inference_mode():
        told, untold = (network.predict(scan, nothing, torch.tensor([one])).healthy for one in (True, False))
        by_default = network.predict(scan, nothing).healthy
    assert torch.equal(told, by_default)
    assert not torch.allclose(told, untold)


class Counting(MaskedNetwork):
    """Predicts 0 in the first tiling's passes and 1 in the second's, with a variance of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def predict(self, image: Tensor, hidden: Tensor, told: Tensor | None = None) -> Restored:
        self.asked += 1
        value = torch.full_like(image, float(self.asked > 8))
        return Restored(value, value, torch.zeros_like(value), value)


def test_predictions_that_differ_between_the_tilings_are_uncertain() -> None:
    mean, variance = hidden_once(Counting(), torch.ones(1, 1, 20, 20, 20))
    assert torch.allclose(mean, torch.tensor(0.5))
    assert torch.allclose(variance, torch.tensor(1.25)), "the predicted one, and that between 0 and 1"
