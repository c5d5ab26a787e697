"""What the panel's tests share: Slicer's libraries, Qt stand-ins, an empty scene; or the reason to skip."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

MISSING = [name for name in ("slicer", "PySide6") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="session")
def booted() -> Any:
    """`slicer` with application, scene and modules, and `qt`, `ctk` beside it."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)}: not installed; python -m pip install 'anomalydetect[slicer]'")
    from Testing.slicer_host import python_qt, scripted_module
    from Testing.slicer_host.boot import boot

    slicer = boot()
    python_qt.install()
    scripted_module.install()
    return slicer


@pytest.fixture
def slicer(booted: Any) -> Iterator[Any]:
    """`slicer` with an empty scene."""
    booted.mrmlScene.Clear(0)
    yield booted
    booted.mrmlScene.Clear(0)


@pytest.fixture
def rendering(booted: Any) -> None:
    """Skips where nothing can be drawn."""
    from Testing.slicer_host.views import why_no_rendering

    if why_no_rendering():
        pytest.skip(why_no_rendering())
