"""RawImage: what the reader of one file format hands over, before its values and its place are checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.volume import Affine


@dataclass(frozen=True)
class RawImage:
    """Voxels as stored and where they lie.

    array: any real scalar type, 3-D (i,j,k). affine: 4x4 IJK to RAS, mm. modality: when the file itself names
    it. warnings: one sentence for each thing that a reader of the results should know.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    modality: str | None = None
    warnings: tuple[str, ...] = ()


def corner_distance(shape: tuple[int, ...], first: Affine, second: Affine) -> float:
    """Largest distance in mm between the places that two affines give to a corner of a grid of `shape`."""
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shape[:3]) - 1
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def check_dimensions(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """The three sizes (i,j,k) of an image, trailing sizes of 1 left out; `VolumeError` when it isn't 3-D."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    text = "x".join(str(size) for size in shape)
    if len(shape) > 3:
        raise VolumeError(
            f"{name}: {len(shape)}-D image ({text}), {int(np.prod(shape[3:]))} volumes; "
            "extract one volume and give that"
        )
    if len(shape) < 3:
        raise VolumeError(f"{name}: {len(shape)}-D image ({text}), a single slice; give the whole 3-D scan")
    return shape[0], shape[1], shape[2]


@contextmanager
def one_line(name: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Turn what a file library raises on a damaged file into one `VolumeError` with the remedy."""
    try:
        yield
    except VolumeError:
        raise
    except MemoryError as error:
        raise VolumeError(f"{name}: too large for the memory of this machine; resample it first") from error
    except kinds as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:160].rstrip(".") if lines else type(error).__name__
        raise VolumeError(f"{name}: damaged or incomplete ({reason}); export the scan again") from error
