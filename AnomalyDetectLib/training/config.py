"""Training configurations: a TOML file names the task and the loop's settings."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file

from AnomalyDetectLib.devices import choose_device
from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.training.anatomy import AnatomyTask
from AnomalyDetectLib.training.brain_extraction import BrainExtractionTask
from AnomalyDetectLib.training.loop import LoopSettings, Task, train
from AnomalyDetectLib.training.masked import MaskedTask
from AnomalyDetectLib.training.optimizers import OPTIMIZERS
from AnomalyDetectLib.training.restoration import RestorationTask
from AnomalyDetectLib.training.slices import slice_task
from AnomalyDetectLib.training.widening import widened

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TASKS: dict[str, Callable[..., Any]] = {
    "brain-extraction": BrainExtractionTask,
    "anatomy": AnatomyTask,
    "masked-rebuild": MaskedTask,
    "restoration": RestorationTask,
    "slices": slice_task,
}
ENSEMBLE, RIVALS = "ensemble", "rivals"
UNTRAINED = (ENSEMBLE, RIVALS)  # made of shipped models, or of healthy scans alone


FIRST_LEVEL = "stem.1.0.weight"  # of the 3-D networks: its outputs are the channels of the first level


@dataclass(frozen=True)
class TrainingConfig:
    """task: what is trained. name: of the model folder and of the run. loop: how long and how.

    options: of the task. start: weights to begin with instead of random ones, relative to the folder of runs.
    summary: one sentence for the model's card.
    """

    task: str
    name: str
    loop: LoopSettings
    options: dict[str, Any]
    start: str | None = None
    summary: str = ""


def read_config(path: Path) -> TrainingConfig:
    """Read a configuration. Raises `AnomalyDetectError` naming the unknown key or task."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise AnomalyDetectError(f"{path}: can't be read as TOML ({error})") from error
    known = {field.name for field in dataclasses.fields(LoopSettings)}
    unknown = set(raw.get("loop", {})) - known
    if unknown:
        raise AnomalyDetectError(
            f"{path}: unknown setting {sorted(unknown)[0]!r} in [loop]; known are {sorted(known)}"
        )
    if raw.get("task") not in (*_TASKS, *UNTRAINED):
        raise AnomalyDetectError(
            f"{path}: task {raw.get('task')!r} is unknown; there are {', '.join((*_TASKS, *UNTRAINED))}"
        )
    loop = LoopSettings(**raw.get("loop", {"steps": 0} if raw["task"] in UNTRAINED else {}))
    if loop.optimizer not in OPTIMIZERS:
        raise AnomalyDetectError(
            f"{path}: optimizer {loop.optimizer!r} is unknown; there are {', '.join(OPTIMIZERS)}"
        )
    own = raw.get("options", {}), raw.get("start"), raw.get("summary", "")
    return TrainingConfig(raw["task"], raw["name"], loop, *own)


def train_from(path: Path, data: Path, runs: Path, changes: dict[str, Any], console: Console) -> Path:
    """Train what a configuration asks for; return the path of the weights. Resumes from the run's
    checkpoint.

    changes: settings of the loop that replace the configuration's.
    """
    config = read_config(path)
    if config.task in UNTRAINED:
        raise AnomalyDetectError(f"{path}: nothing of it is trained; run `anomalydetect ship {path}`")
    if not data.is_dir():
        raise AnomalyDetectError(f"{data}: no such folder; give the training data with --data")
    loop = dataclasses.replace(config.loop, **changes)
    loop = dataclasses.replace(loop, device=choose_device(loop.device))
    console.print(f"{config.name}: loading data, {loop.steps} steps to {runs / config.name}")
    task: Task = _TASKS[config.task](data, runs, **config.options)
    if config.start is not None:
        begin_with(task, runs / config.start)
    columns = (TextColumn("{task.fields[losses]}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(config.name, total=loop.steps, losses="")

        def show(step: int, seconds: float, losses: dict[str, float]) -> None:
            text = f"step {step} " + " ".join(f"{name} {value:.4f}" for name, value in losses.items())
            bar.update(row, completed=step, losses=text)

        return train(task, loop, runs / config.name, show)


def begin_with(task: Task, weights: Path) -> None:
    """Load weights of an earlier run, widened where its first level was narrower.

    Raises `AnomalyDetectError` when they are missing or of another network.
    """
    if not weights.is_file():
        raise AnomalyDetectError(f"{weights}: no such weights to start from; train that run first")
    try:
        own_weights = task.network.state_dict()
        loaded = {name: value.float() for name, value in load_file(weights).items()}
        narrow, wide = loaded.get(FIRST_LEVEL), own_weights.get(FIRST_LEVEL)
        if narrow is not None and wide is not None and len(narrow) < len(wide):
            loaded = widened(loaded, own_weights, len(narrow), len(wide))
        # Heads that the earlier network hadn't begin afresh; inputs that it hadn't begin with no influence.
        for name, own in own_weights.items():
            missing = own.shape[1] - loaded[name].shape[1] if name in loaded and own.ndim > 1 else 0
            if missing > 0:
                nothing = torch.zeros(own.shape[0], missing, *own.shape[2:])
                loaded[name] = torch.cat([loaded[name], nothing], 1)
        unexpected = task.network.load_state_dict(loaded, strict=False).unexpected_keys
        if unexpected:
            raise RuntimeError(unexpected[0])
    except RuntimeError as error:
        raise AnomalyDetectError(
            f"{weights}: weights of another network; choose others to start from"
        ) from error
