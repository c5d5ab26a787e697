"""Heads painted from label maps are healthy heads of a known contrast, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AnomalyDetectLib.training import labels
from AnomalyDetectLib.training.heads import LabelHead
from AnomalyDetectLib.training.painted_heads import FREE, PaintedHead

LAYERS = (labels.BACKGROUND, labels.VENTRICLE, labels.CORTEX, labels.WHITE)


@pytest.fixture
def layered() -> LabelHead:
    """Four slabs along i, each a tissue."""
    codes = np.repeat(np.arange(4, dtype=np.uint8), 16)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    half = torch.from_numpy(codes[::2, ::2, ::2])
    tissue = np.array(LAYERS, np.uint8)
    return LabelHead(codes, tissue, np.arange(4) > 0, half, half > 0, np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize(("contrast", "brighter"), [("T2", True), ("FLAIR", False)])
def test_a_painted_head_has_the_fluid_of_its_contrast(
    layered: LabelHead, contrast: str, brighter: bool
) -> None:
    volume = PaintedHead(layered, contrast, 0, 0, held_out=True).read()
    fluid, white = (float(np.median(volume.array[start : start + 6])) for start in (9, 25))
    assert (fluid > white) == brighter
    assert volume.modality == contrast


def test_a_head_in_a_free_contrast_names_none(layered: LabelHead) -> None:
    assert PaintedHead(layered, FREE, 0, 0, held_out=True).read().modality is None


def test_paintings_differ_from_each_other_and_not_from_themselves(layered: LabelHead) -> None:
    heads = [PaintedHead(layered, "PD", 0, turn, held_out) for turn in (0, 1) for held_out in (True, False)]
    assert len({head.name for head in heads}) == len(heads)
    first = [head.read().array for head in heads]
    for one, head in zip(first, heads, strict=True):
        assert np.array_equal(one, head.read().array)
    assert not any(np.array_equal(first[0], other) for other in first[1:])


def test_odd_paintings_have_thick_slices(layered: LabelHead) -> None:
    thin, thick = (PaintedHead(layered, "PD", 0, turn, held_out=True).read().array for turn in (0, 1))
    along = [float(np.abs(np.diff(one[26:], axis=2)).mean()) for one in (thin, thick)]
    assert along[1] < 0.8 * along[0]
