"""Arrays that trainings make once and share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def store(file: Path, **arrays: Any) -> None:
    """Write arrays to `file` (.npz) all at once, even while another process is writing the same."""
    part = file.with_suffix(f".{os.getpid()}.part.npz")
    np.savez_compressed(part, **arrays)
    part.replace(file)
