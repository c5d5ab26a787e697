"""What the anatomy networks learn from: corrupted scans with or without their other side, hidden parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AnomalyDetectLib.models.anatomy import asymmetry_of
from AnomalyDetectLib.models.masked_rebuild import MaskedNetwork
from AnomalyDetectLib.training.anatomy import corrupted
from AnomalyDetectLib.training.masked import MaskedTask, hidden_part
from AnomalyDetectLib.training.restoration import augment
from Testing.training.even_scan import even_scan


def test_the_plane_between_the_sides_stays_in_the_middle_where_it_must() -> None:
    scan = even_scan()
    for seed in range(6):
        _, kept, _ = augment(np.random.default_rng(seed), scan, deformation=0, off_plane=0)
        assert float((kept != kept.flip(0)).float().mean()) < 2e-3, "rounding alone"
    moved = [augment(np.random.default_rng(seed), scan, deformation=0)[1] for seed in range(6)]
    assert max(float((one != one.flip(0)).float().mean()) for one in moved) > 0.02


def test_a_sample_tells_the_other_side_or_nothing_of_it() -> None:
    scan = even_scan()
    parts = scan.image.float(), scan.tissue, scan.brain
    told, untold = (corrupted(np.random.default_rng(2), *parts, told=told) for told in (True, False))
    assert torch.equal(told["image"], untold["image"])
    assert torch.equal(told["asymmetry"], asymmetry_of(told["image"][None])[0])
    assert float(told["asymmetry"].abs().max()) > 0.2
    assert float(untold["asymmetry"].abs().max()) == 0


def test_cubes_and_blobs_are_hidden_but_never_most_of_the_brain() -> None:
    image = even_scan().image.float()[None]
    shares = [float(hidden_part(np.random.default_rng(n), image).float().mean()) for n in range(30)]
    assert min(shares) > 0.02
    assert max(shares) < 0.4
    assert np.mean(shares) == pytest.approx(1 / 8, abs=0.04)


def test_the_masked_rebuild_is_asked_for_what_is_hidden_alone() -> None:
    task = object.__new__(MaskedTask)
    task.network = MaskedNetwork().eval()
    scan, rng = even_scan(), np.random.default_rng(3)
    sample = corrupted(rng, scan.image.float(), scan.tissue, scan.brain)
    sample["hidden"] = hidden_part(rng, sample["image"])
    batch = {name: one[None] for name, one in sample.items()}
    elsewhere = batch | {"clean": torch.where(batch["hidden"], batch["clean"], batch["clean"] + 3)}
    there = batch | {"clean": batch["clean"] + 3}
    with torch.inference_mode():
        plain, other, hidden = (task.loss(one)[1]["hidden"] for one in (batch, elsewhere, there))
    assert plain == pytest.approx(other)
    assert hidden > plain + 0.5
