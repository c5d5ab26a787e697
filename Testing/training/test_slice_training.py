"""The 2-D families are trained by the one loop, and what was killed goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.models.slices import Batch, SliceFamily, make_family
from AnomalyDetectLib.training.loop import LoopSettings, train
from AnomalyDetectLib.training.slice_corruption import CORRUPTIONS
from AnomalyDetectLib.training.slice_data import SliceScan
from AnomalyDetectLib.training.slices import SliceTask, slice_task, take_encoder

SETTINGS = LoopSettings(steps=4, batch=2, warmup=2, validate_every=2, checkpoint_minutes=0.0, threads=1)
SMALL = {"size": 32, "features": (8, 16)}


class Killed(SliceTask):
    """Stops in the third step, as a machine that is switched off does."""

    steps = 0

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        self.steps += self.network.training
        if self.steps == 3:
            raise KeyboardInterrupt
        return super().loss(batch)


def task(kind: type[SliceTask], family: SliceFamily, corruption: str = "nothing") -> SliceTask:
    rng = np.random.default_rng(0)
    brain = np.zeros((24, 24, 3), bool)
    brain[4:20, 4:20] = True
    image = torch.from_numpy((rng.normal(0.9, 0.1, brain.shape) * brain).astype(np.float16))
    scans = [SliceScan(str(n), image, torch.from_numpy(brain), (0, 1, 2)) for n in range(2)]
    return kind(family, CORRUPTIONS[corruption], scans, scans)


@pytest.mark.parametrize(
    ("name", "corruption"),
    [("variational-auto-encoder", "masked-patches"), ("cutpaste-embedding", "cutpaste")],
)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, name: str, corruption: str
) -> None:
    def family() -> SliceFamily:
        torch.manual_seed(1)
        return make_family(name, **SMALL)

    whole = load_file(train(task(SliceTask, family(), corruption), SETTINGS, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(task(Killed, family(), corruption), SETTINGS, tmp_path / "broken")
    resumed = load_file(train(task(SliceTask, family(), corruption), SETTINGS, tmp_path / "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_family_without_steps_is_fitted_alone(tmp_path: Path) -> None:
    settings = LoopSettings(steps=0, threads=1)
    family = make_family("patch-memory", **SMALL, compare="nearest", items=20)
    memory = load_file(train(task(SliceTask, family), settings, tmp_path))["memory"]
    assert memory.shape == (20, 8)
    assert memory.abs().sum() > 0


def test_an_encoder_is_taken_over(tmp_path: Path) -> None:
    donor = make_family("mae-contrastive", **SMALL, blocks=1)
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    borrower = make_family("patch-memory", **SMALL)
    take_encoder(borrower, tmp_path / "weights.safetensors")
    for name, value in donor.encoder.state_dict().items():
        assert torch.equal(value, borrower.encoder.state_dict()[name])


def test_missing_encoder_weights_and_unknown_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(AnomalyDetectError, match="train that run first"):
        slice_task(tmp_path, tmp_path, "patch-memory", encoder="mae-contrastive/weights.safetensors")
    with pytest.raises(AnomalyDetectError, match="corruption 'rain' is unknown"):
        slice_task(tmp_path, tmp_path, "auto-encoder", corruption="rain")
    with pytest.raises(AnomalyDetectError, match="family 'oracle' is unknown"):
        slice_task(tmp_path, tmp_path, "oracle")
