"""Training that was killed goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.models.slices import make_family
from AnomalyDetectLib.training.config import read_config, train_from
from AnomalyDetectLib.training.loop import LoopSettings, train
from AnomalyDetectLib.training.optimizers import make_optimizers

SETTINGS = LoopSettings(steps=12, batch=4, warmup=3, validate_every=4, checkpoint_minutes=0.0, threads=1)


class Line:
    """A task small enough for a test: learn y = 2x + 1."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(3)
        self.network = nn.Linear(1, 1)
        self.stop_at = stop_at
        self.steps = 0

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.normal(size=(size, 1)).astype(np.float32))
        return {"x": x, "y": 2 * x + 1}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        if self.stop_at is not None and self.steps == self.stop_at:
            raise KeyboardInterrupt
        self.steps += 1
        loss = ((self.network(batch["x"]) - batch["y"]) ** 2).mean()
        return loss, {"mse": loss.item()}

    def validate(self) -> dict[str, float]:
        return {"loss": 0.0}


class Volumes(Line):
    """A convolution whose weights lie channels-last, as training wants them on a CPU."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(stop_at)
        self.network = nn.Conv3d(2, 2, 3).to(memory_format=torch.channels_last_3d)

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.normal(size=(size, 2, 3, 3, 3)).astype(np.float32))
        return {"x": x, "y": x.mean((2, 3, 4), keepdim=True)}


def test_a_killed_run_with_channels_last_weights_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Volumes(stop_at=7), SETTINGS, tmp_path)
    train(Volumes(), SETTINGS, tmp_path)
    assert (tmp_path / "weights.safetensors").exists()


class Normalised(Volumes):
    """A convolution as Muon turns it: without a bias, normalised afterwards; and one that it leaves."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(stop_at)
        self.network = nn.Sequential(
            nn.Conv3d(2, 4, 3, bias=False), nn.GroupNorm(2, 4), nn.Conv3d(4, 2, 1)
        ).to(memory_format=torch.channels_last_3d)

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.normal(size=(size, 2, 5, 5, 5)).astype(np.float32))
        return {"x": x, "y": x[:, :, 1:-1, 1:-1, 1:-1]}


MUON = replace(SETTINGS, optimizer="muon")


class Noisy(Line):
    """Its loss draws noise, as variational and diffusion families do."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return super().loss(batch | {"x": batch["x"] + torch.randn_like(batch["x"])})


@pytest.mark.parametrize(
    ("task", "settings"),
    [(Line, SETTINGS), (Noisy, SETTINGS), (Normalised, MUON)],
    ids=["AdamW", "noise in the loss", "Muon"],
)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    task: type[Line], settings: LoopSettings, tmp_path: Path
) -> None:
    whole = load_file(train(task(), settings, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(task(stop_at=7), settings, tmp_path / "broken")
    torch.randn(100)
    resumed = load_file(train(task(), settings, tmp_path / "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_muon_turns_all_directions_of_a_kernel_equally_far(memory_format: torch.memory_format) -> None:
    task = Normalised()
    task.network.to(memory_format=memory_format)  # type: ignore[call-overload]
    before = task.network[0].weight.detach().clone()
    loss, _ = task.loss(task.batch(np.random.default_rng(1), 4, 0.0))
    loss.backward()
    for optimizer in make_optimizers(task.network, "muon", 1e-2, 0.0):
        optimizer.step()
    moved = torch.linalg.svdvals((task.network[0].weight.detach() - before).flatten(1))
    assert moved.min() > 0.5 * moved.max()
    gradient = torch.linalg.svdvals(task.network[0].weight.grad.flatten(1))
    assert gradient.min() < 0.5 * gradient.max()


def test_samples_made_by_processes_are_those_that_a_thread_makes(tmp_path: Path) -> None:
    thread = load_file(train(Line(), SETTINGS, tmp_path / "thread"))
    processes = load_file(train(Line(), replace(SETTINGS, workers=2), tmp_path / "processes"))
    assert all(torch.equal(thread[name], processes[name]) for name in thread)


def test_a_gpu_that_is_not_there_is_told_before_data_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = Path(__file__).parents[2] / "configs" / "restore_any.toml"
    with pytest.raises(AnomalyDetectError, match="device 'cuda' is not available here; there are: cpu"):
        train_from(config, tmp_path, tmp_path, {}, Console(quiet=True))
    with pytest.raises(AnomalyDetectError, match="not available"):
        train_from(config, tmp_path, tmp_path, {"device": "tpu"}, Console(quiet=True))


class Worsening(Line):
    """Its validation loss rises from the second validation on."""

    def validate(self) -> dict[str, float]:
        return {"loss": (1.0, 0.5, 0.6, 0.7, 0.8)[self.steps // 2 - 1]}


PATIENT = replace(SETTINGS, steps=10, validate_every=2, patience=2)


def test_a_run_that_gets_no_better_stops_early_with_its_best_weights(tmp_path: Path) -> None:
    stopped = load_file(train(Worsening(), PATIENT, tmp_path / "stopped"))
    assert len((tmp_path / "stopped" / "curve.csv").read_text().splitlines()) == 1 + 4
    best = load_file(tmp_path / "stopped" / "best.safetensors")
    assert all(torch.equal(stopped[name], best[name]) for name in best)
    again = load_file(train(Worsening(), PATIENT, tmp_path / "stopped"))
    assert all(torch.equal(stopped[name], again[name]) for name in again)


def test_a_resumed_run_writes_no_row_of_the_curve_twice(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Line(stop_at=9), replace(SETTINGS, checkpoint_minutes=60), tmp_path)
    train(Line(), SETTINGS, tmp_path)
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "4", "8", "12"]


def test_the_curve_has_a_row_for_every_validation(tmp_path: Path) -> None:
    train(Line(), SETTINGS, tmp_path)
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "4", "8", "12"]


def test_an_unknown_optimizer_is_named_with_those_there_are(tmp_path: Path) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text('task = "anatomy"\nname = "wrong"\n[loop]\nsteps = 1\noptimizer = "adam"\n')
    with pytest.raises(AnomalyDetectError, match=r"'adam' is unknown; there are adamw, muon"):
        read_config(config)


def test_muon_on_an_old_pytorch_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(AnomalyDetectError, match=r"needs PyTorch 2\.9 or newer.*ask for 'adamw'"):
        make_optimizers(nn.Linear(1, 1), "muon", 1e-3, 0.0)


def test_muon_for_a_network_without_such_convolutions_says_what_to_do() -> None:
    with pytest.raises(AnomalyDetectError, match=r"no convolution without a bias; ask for 'adamw'"):
        make_optimizers(nn.Linear(1, 1), "muon", 1e-3, 0.0)


def test_muon_turns_the_kernels_of_the_2d_families_and_leaves_the_rest_to_adamw() -> None:
    network = make_family("auto-encoder", size=32)
    adamw, muon = make_optimizers(network, "muon", 1e-3, 0.0)
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    turned = [kernel for group in muon.param_groups for kernel in group["params"]]
    assert sorted(kernel.numel() for kernel in turned) == sorted(kernel.numel() for kernel in kernels)
    left = sum(weight.numel() for group in adamw.param_groups for weight in group["params"])
    assert left + sum(kernel.numel() for kernel in turned) == sum(w.numel() for w in network.parameters())
