"""What the panel's tests share: Slicer's libraries, Qt stand-ins, an empty scene; or the reason to skip."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer.small_case import ReplayClient, add_scan, write_results

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

ROOT = Path(__file__).parents[2]
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


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the worker writes for the small scan."""
    return write_results(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def module(booted: Any) -> Any:
    """The real module file, imported."""
    from Testing.slicer_host.module import load_module

    return load_module(ROOT / "AnomalyDetect" / "AnomalyDetect.py")


@pytest.fixture
def panel(slicer: Any, module: Any, small_files: dict[str, str]) -> Iterator[Any]:
    """The module's real widget over an empty scene; detections are answered from files."""
    from AnomalyDetectLib.mrml.mailbox import PostOffice
    from Testing.slicer_host.module import open_widget

    widget = open_widget(module, "AnomalyDetect")
    widget.logic.client = ReplayClient(small_files)
    widget.logic._office = PostOffice(widget.logic.client)
    widget._ready = True
    yield widget
    widget.exit()
    widget.cleanup()
    widget.parent.close()


@pytest.fixture
def scan(slicer: Any) -> Any:
    """The small scan in the scene."""
    return add_scan(slicer)


@pytest.fixture
def opened(panel: Any, scan: Any) -> Any:
    """The panel after a detection in the small scan."""
    detect(panel, scan)
    return panel


def detect(panel: Any, scan: Any) -> None:
    """Choose the scan, press Detect, and wait."""
    from Testing.slicer_host.module import wait

    panel.panels["scan"].ui.inputSelector.setCurrentNode(scan)
    panel.panels["detect"].ui.detectButton.click()
    wait(lambda: not panel.logic.busy, 60)
