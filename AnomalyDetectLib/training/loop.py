"""The one training loop: seeded by step, checkpointed, resumable, with a moving average of the weights, a
curve and early stopping.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from AnomalyDetectLib.devices import to_device_of
from AnomalyDetectLib.models.card import WEIGHTS
from AnomalyDetectLib.training.optimizers import ADAMW, make_optimizers

log = logging.getLogger(__name__)

BEST = "best.safetensors"
SEED_STRIDE = 10_000_019  # above any number of steps, so that two seeds share no step's noise


@dataclass(frozen=True)
class LoopSettings:
    """steps: updates in all; batch: samples a step; validate_every, checkpoint_minutes: how often; threads:
    CPU threads. optimizer: see `make_optimizers`. patience: validations without a lower loss after which
    training stops and the best weights are taken; 0: never. workers: processes that make the samples, which
    a GPU wants many of; 0: a thread of this process.
    """

    steps: int
    batch: int = 2
    optimizer: str = ADAMW
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    average: float = 0.998
    validate_every: int = 250
    checkpoint_minutes: float = 3.0
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    patience: int = 0
    workers: int = 0


@dataclass
class Patience:
    """How long the validation loss hasn't fallen: the lowest one, and validations since."""

    lowest: float = float("inf")
    waited: int = 0


class Task(Protocol):
    """What a model family supplies to be trained."""

    network: nn.Module

    def batch(self, rng: np.random.Generator, size: int, progress: float) -> dict[str, Tensor]:
        """`size` training samples, stacked; progress: 0-1, how far training is, for a curriculum."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise and the parts that the curve shows."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out data; "loss" among them is what early stopping looks at."""


@runtime_checkable
class Fitting(Protocol):
    """A task whose network also holds what is fitted after training, such as a density of features."""

    def fit(self) -> None:
        """Fit it, with the trained weights in place."""


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of one step: a resumed run sees the same data as an unbroken one."""
    return np.random.default_rng([seed, step])


def train(
    task: Task,
    settings: LoopSettings,
    folder: Path,
    on_step: Callable[[int, float, dict[str, float]], None] | None = None,
) -> Path:
    """Train to the last step, from `folder`/checkpoint.safetensors if there is one; return the path of the
    weights.

    `folder` receives checkpoint.safetensors, curve.csv and, at the end, weights.safetensors (the moving
    average, fp32; with patience the average with the lowest validation loss). No steps: what is fitted alone.
    on_step: called with step, seconds so far and the running losses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    task.network.to(settings.device)
    optimizers = make_optimizers(
        task.network, settings.optimizer, settings.learning_rate, settings.weight_decay
    )
    average = {name: p.detach().clone() for name, p in task.network.state_dict().items()}
    checkpoint = folder / "checkpoint.safetensors"
    patience = Patience()
    start, elapsed = _restore(checkpoint, task.network, optimizers, average, patience)
    _forget_after(folder / "curve.csv", start)
    running: dict[str, float] = {}
    began = saved = time.monotonic()
    steps = range(start, 0 if _exhausted(patience, settings) else settings.steps)
    with closing(_batches(task, settings, steps)) as batches:
        for step, batch in zip(steps, batches, strict=True):
            parts = _update(task, optimizers, to_device_of(task.network, batch), settings, step)
            decay = min(settings.average, (step + 1) / (step + 10))
            for name, value in task.network.state_dict().items():
                average[name].lerp_(value.float(), 1 - decay)
            for name, part in parts.items():
                running[name] = 0.98 * running.get(name, part) + 0.02 * part
            seconds = elapsed + time.monotonic() - began
            if on_step is not None:
                on_step(step + 1, seconds, running)
            last = step + 1 == settings.steps
            if last or (step + 1) % settings.validate_every == 0:
                figures = _validate(task, average, folder / "curve.csv", step + 1, seconds, running)
                if settings.patience and _improved(patience, figures["loss"]):
                    save_file(_on_cpu(average), folder / BEST)
                last = last or _exhausted(patience, settings)
            if last or time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                _save(checkpoint, task.network, optimizers, average, step + 1, seconds, patience)
                saved = time.monotonic()
            if last:
                break
    if settings.patience and (folder / BEST).exists():
        average = load_file(folder / BEST, device=settings.device)
    if isinstance(task, Fitting):
        task.network.load_state_dict(average)
        task.network.eval()
        task.fit()
        average = task.network.state_dict()
    weights = folder / WEIGHTS
    save_file(_on_cpu(average), weights)
    return weights


def _update(
    task: Task,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: dict[str, Tensor],
    settings: LoopSettings,
    step: int,
) -> dict[str, float]:
    """One update of the weights; the parts of the loss."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_factor(step, settings)
    # What the loss draws, such as noise or dropout, is the step's own as well.
    torch.manual_seed(settings.seed * SEED_STRIDE + step)
    task.network.zero_grad(set_to_none=True)
    loss, parts = task.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return parts


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().cpu() for name, value in tensors.items()}


def _improved(patience: Patience, loss: float) -> bool:
    better = loss < patience.lowest
    patience.lowest, patience.waited = (loss, 0) if better else (patience.lowest, patience.waited + 1)
    return better


def _exhausted(patience: Patience, settings: LoopSettings) -> bool:
    return settings.patience > 0 and patience.waited >= settings.patience


def _forget_after(curve: Path, step: int) -> None:
    """Drop the rows of the curve that a resumed run will write again."""
    if not curve.exists():
        return
    header, *rows = curve.read_text().splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) <= step]
    if kept:
        curve.write_text("".join([header, *kept]))
    else:
        curve.unlink()


@dataclass
class _Batches(Dataset[dict[str, Tensor]]):
    """The batch of each step: the same one whoever makes it, and when."""

    task: Task
    settings: LoopSettings

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        progress = step / max(1, self.settings.steps)
        return self.task.batch(step_rng(self.settings.seed, step), self.settings.batch, progress)


def _batches(task: Task, settings: LoopSettings, steps: range) -> Generator[dict[str, Tensor]]:
    """The batches of some steps, made ahead: by processes, or by one thread."""
    made = _Batches(task, settings)
    if settings.workers:
        on_gpu = settings.device.startswith("cuda")
        yield from DataLoader(
            made, batch_size=None, sampler=steps, num_workers=settings.workers, pin_memory=on_gpu
        )
        return
    with ThreadPoolExecutor(1) as prefetch:
        coming = [prefetch.submit(made.__getitem__, step) for step in steps[:1]]
        for step in steps:
            batch = coming.pop().result()
            if step + 1 in steps:
                coming.append(prefetch.submit(made.__getitem__, step + 1))
            yield batch


def learning_rate_factor(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return float(0.5 * (1 + np.cos(np.pi * progress)))


def _validate(
    task: Task, average: dict[str, Tensor], curve: Path, step: int, seconds: float, running: dict[str, float]
) -> dict[str, float]:
    own = {name: value.clone() for name, value in task.network.state_dict().items()}
    task.network.load_state_dict(average)
    task.network.eval()
    with torch.inference_mode():
        figures = task.validate()
    task.network.train()
    task.network.load_state_dict(own)
    row: dict[str, Any] = {
        "step": step,
        "seconds": round(seconds),
        **{f"train_{k}": v for k, v in running.items()},
    }
    row |= {f"val_{k}": v for k, v in figures.items()}
    new = not curve.exists()
    with curve.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    log.info("step %d: %s", step, {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    return figures


def _save(
    path: Path,
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor],
    step: int,
    seconds: float,
    patience: Patience,
) -> None:
    tensors = {f"network.{name}": value.detach().contiguous() for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value.contiguous() for name, value in average.items()}
    for which, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{which}.{number}.{name}"] = torch.as_tensor(value).clone(
                    memory_format=torch.contiguous_format
                )
    half_written = path.with_suffix(".part")
    state = {"step": step, "seconds": seconds, **asdict(patience)}
    save_file(tensors, half_written, metadata={"state": json.dumps(state)})
    half_written.replace(path)


def _restore(
    path: Path,
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor],
    patience: Patience,
) -> tuple[int, float]:
    """Load a checkpoint in place; return its step and its seconds, (0, 0.0) where there is none."""
    if not path.exists():
        return 0, 0.0
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    own: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        meta = json.loads(file.metadata()["state"])
        for key in file.keys():  # noqa: SIM118  (safe_open is not a mapping)
            kind, name = key.split(".", 1)
            value = file.get_tensor(key)
            if kind == "network":
                own[name] = value
            elif kind == "average":
                average[name].copy_(value)
            else:
                which, number, field = name.split(".")
                states[int(which)].setdefault(int(number), {})[field] = value
    network.load_state_dict(own)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    patience.lowest = float(meta.get("lowest", patience.lowest))
    patience.waited = int(meta.get("waited", patience.waited))
    return int(meta["step"]), float(meta["seconds"])
