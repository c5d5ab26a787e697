"""Every shipped 2-D model: it loads its weights, and rebuilds a slice the same twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.slices import FAMILIES, SliceModel
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.volume import Grid

SHIPPED = [card for card in zoo.cards() if card.family in FAMILIES]
SHAPE = (80, 96, 2)


def one_slice_of_brain(modality: str) -> Prepared:
    """A round brain with a dark middle in one slice; the other is empty. Diffusion takes long with more."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.hypot(x, y)
    brain = radius < 0.85
    brain[:, :, 1] = False
    grain = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    image = (np.where(radius < 0.2, 0.3, 0.9 + 0.1 * np.sin(9 * x) * np.cos(7 * y)) + grain) * brain
    image[20:26, 40:46, 0] += 0.6
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    return Prepared(
        tensor=torch.from_numpy(image.astype(np.float32))[None, None], brain=brain, input_brain=brain,
        to_input=WayBack(grid, grid, np.eye(4)), modality=modality, fit=ScanFit(), scale=1.0,
        bias=np.ones(SHAPE, np.float32), observations=Observations(1.0, 2.0, 0.0, 0.0, modality),
        alignment_overlap=1.0, stripped=False,
    )  # fmt: skip


@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: card.name)
def test_a_shipped_slice_model_rebuilds_the_same_twice_on_the_scans_grid(card: ModelCard) -> None:
    model = zoo.load(card)
    assert isinstance(model, SliceModel)
    scan = one_slice_of_brain(card.contrasts[0])
    one, two = model.rebuild(scan), model.rebuild(scan)
    assert one.healthy is not None or one.anomaly is not None
    for field in ("healthy", "anomaly", "variance"):
        values = getattr(one, field)
        if values is None:
            continue
        assert values.shape == SHAPE
        assert np.isfinite(values).all()
        assert (values[~scan.brain] == 0).all()
        assert np.array_equal(values, getattr(two, field)), f"{field} differs from one rebuild to the next"
    if one.anomaly is not None:
        assert 0 <= one.anomaly.min() < one.anomaly.max() <= 1
    assert one.variance is not None
    assert one.variance.min() >= 0
