"""A wider network begins with what a narrower one has learnt."""

from __future__ import annotations

import pytest
import torch

from AnomalyDetectLib.networks import SpaceToDepthUNet
from AnomalyDetectLib.training import widening
from AnomalyDetectLib.training.widening import widened

NARROW, WIDE = (16, 24), (32, 24)


def grown(narrow: SpaceToDepthUNet) -> SpaceToDepthUNet:
    wide = SpaceToDepthUNet(2, 3, WIDE)
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict(), NARROW[0], WIDE[0]))
    return wide


def test_without_noise_the_wider_network_says_what_the_narrower_one_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(widening, "NOISE", 0.0)
    narrow, scan = SpaceToDepthUNet(2, 3, NARROW), torch.randn(1, 2, 16, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(grown(narrow)(scan), narrow(scan), atol=1e-5)


def test_copies_differ_so_that_they_can_learn_different_things() -> None:
    weights = grown(SpaceToDepthUNet(2, 3, NARROW)).stem[1][0].weight
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)
