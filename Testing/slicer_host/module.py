"""Loads a scripted module's real file and shows its real widget, as the desktop does."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from Testing.slicer_host.boot import Module

_KEPT: list[Any] = []


def load_module(path: Path) -> Any:
    """The module of a file, imported under its own name, its folder on sys.path."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    setattr(slicer.modules, path.stem.lower(), Module(path=str(path)))
    return importlib.import_module(path.stem)


def open_widget(module: Any, name: str) -> Any:
    """The module's widget, set up and entered."""
    import qt

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, f"{name}Widget")(parent)
    widget.setup()
    widget.enter()
    parent.show()
    # Slicer's own parameterNodeWrapper is collected together with its observers: when that happens while the
    # node tells of a change, the process dies. In the desktop a module's widget lives as long as Slicer.
    _KEPT.append(widget.parameters)
    return widget


def wait(until: Callable[[], bool], seconds: float = 240.0) -> list[float]:
    """Turn the event loop until something holds; the gaps between its turns in seconds.

    Raises TimeoutError.
    """
    end, gaps, before = time.monotonic() + seconds, [], time.monotonic()
    while not until():
        slicer.app.processEvents()
        time.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - before)
        before = now
        if now > end:
            raise TimeoutError(f"not within {seconds} s")
    return gaps
