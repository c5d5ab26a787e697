"""Where a model runs: the fastest device that has room for it, and the CPU when that one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from AnomalyDetectLib.errors import ModelError

Result = TypeVar("Result")
# Feature maps of the restoration network take 84 bytes a voxel at their largest (float32, counted on the
# CPU); the rest is room for the workspaces of a GPU's libraries, which choose them by what is free.
BYTES_A_VOXEL = 400
LIBRARY_BYTES = 500_000_000


@dataclass(frozen=True)
class Device:
    """A place where models can run. name: cpu, cuda or mps. free_bytes: of a GPU's memory, None where
    nothing says.
    """

    name: str
    label: str
    free_bytes: int | None = None


@dataclass(frozen=True)
class Placed:
    """Where the work was done. warning: what the user should know, "" for nothing."""

    device: str
    warning: str = ""


def devices() -> list[Device]:
    """The devices of this computer, the fastest first."""
    found = []
    if torch.cuda.is_available():
        found.append(Device("cuda", torch.cuda.get_device_name(), free_bytes("cuda")))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    return [*found, Device("cpu", f"CPU, {torch.get_num_threads()} threads")]


def choose_device(wanted: str) -> str:
    """cpu, cuda or mps; "auto" takes the fastest there is. Raises `ModelError` when the wanted one isn't
    there.
    """
    there = [device.name for device in devices()]
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise ModelError(f"device {wanted!r} is not available here; there are: {', '.join(reversed(there))}")
    return wanted


def free_bytes(device: str) -> int | None:
    """Free memory of a GPU; None where nothing says."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else None


def bfloat16_is_fast(device: str) -> bool:
    """Whether bfloat16 gains time: a third on a CPU made for it; on others thirty times is lost."""
    return device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def in_bfloat16(device: str) -> torch.autocast:
    """A context in which networks compute in bfloat16 where that gains time, as they are elsewhere."""
    return torch.autocast(device, torch.bfloat16, enabled=bfloat16_is_fast(device))


def to_device_of(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch where the network's weights are."""
    device = next(iter(network.state_dict().values())).device
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def bytes_needed(voxels: int) -> int:
    """The most memory that a network of any shipped family takes of a GPU for so many voxels."""
    return LIBRARY_BYTES + BYTES_A_VOXEL * voxels


def with_room(
    work: Callable[[str], Result],
    device: str,
    needed: int,
    free: Callable[[str], int | None] | None = None,
) -> tuple[Result, Placed]:
    """Do `work`, which is given a device: on this one, or on the CPU when it has no room.

    needed: bytes of a GPU's memory, looked at before any is taken. free: bytes of a device, None: asked for.
    An error that isn't about memory is raised as it is.
    """
    room = None if device == "cpu" else (free or free_bytes)(device)
    if room is not None and room < needed:
        few = f"the GPU has {room / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed"
        return work("cpu"), Placed("cpu", told(few))
    try:
        return work(device), Placed(device)
    except RuntimeError as error:
        if device == "cpu" or not out_of_memory(error):
            raise
    # Outside of the block above: the error's traceback would hold the memory that is to be given back.
    if device == "cuda":
        torch.cuda.empty_cache()
    return work("cpu"), Placed("cpu", told("the GPU's memory ran out"))


def out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text and any(name in text for name in ("cuda", "mps", "hip"))


def told(reason: str) -> str:
    """The line for the user."""
    return f"{reason}: the model ran on the CPU, which takes longer; close other programs that use the GPU"
