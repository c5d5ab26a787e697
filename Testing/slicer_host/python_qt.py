"""`qt` and `ctk` as PythonQt has them: properties as attributes, connect by signature, .ui files."""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtUiTools import QUiLoader

from Testing.slicer_host.qt_widgets import STAND_INS


class PythonQtObject:
    """A Qt property reads and writes as an attribute, and `connect` takes the signal's signature."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            meta = object.__getattribute__(self, "metaObject")()
            if meta.indexOfProperty(name) >= 0:
                return object.__getattribute__(self, "property")(name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and self.metaObject().indexOfProperty(name) >= 0:  # type: ignore[attr-defined]
            self.setProperty(name, value)  # type: ignore[attr-defined]
        else:
            super().__setattr__(name, value)

    def connect(self, signature: str, slot: Callable[..., None]) -> None:
        """Connect by signature, such as "clicked()"; a signature that the object lacks is an error."""
        name, _, arguments = signature.partition("(")
        signal = object.__getattribute__(self, name)
        wanted = 0 if arguments == ")" else arguments.count(",") + 1
        connection = lambda *values: slot(*values[:wanted])  # noqa: E731
        _CONNECTIONS.setdefault(id(self), []).append((signature, slot, connection))
        signal.connect(connection)

    def disconnect(self, signature: str, slot: Callable[..., None]) -> None:
        """Undo `connect`; nothing happens when there was none."""
        kept = []
        for known, callback, connection in _CONNECTIONS.get(id(self), []):
            if known == signature and callback == slot:
                object.__getattribute__(self, signature.partition("(")[0]).disconnect(connection)
            else:
                kept.append((known, callback, connection))
        _CONNECTIONS[id(self)] = kept

    def findChildren(self, kind: type = QtWidgets.QWidget, name: str = "") -> list[Any]:
        """Children of a class."""
        base = QtWidgets.QWidget if kind.__name__ == "QWidget" else kind
        found = QtCore.QObject.findChildren(self, base)
        return [child for child in found if not name or child.property("objectName") == name]

    def className(self) -> str:
        """The real class's name."""
        return type(self).__name__


_CONNECTIONS: dict[int, list[tuple[str, Callable[..., None], Callable[..., None]]]] = {}


@cache
def python_qt_class(name: str) -> type:
    """The class `name` of Qt, CTK or qMRML with PythonQt's ways; KeyError where there is no stand-in."""
    base = STAND_INS.get(name)
    for module in (QtWidgets, QtGui, QtCore):
        base = base or getattr(module, name, None)
    if base is None:
        raise KeyError(f"no stand-in for {name}")
    return type(name, (PythonQtObject, base), {})


class _QtModule(types.ModuleType):
    """`qt`: every class and constant of Qt, looked up when asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for module in (QtWidgets, QtGui, QtCore):
            found = getattr(module, name, None)
            if found is None:
                continue
            if isinstance(found, type) and issubclass(found, QtCore.QObject) and name not in NOT_WRAPPED:
                found = python_qt_class(name)
            setattr(self, name, found)
            return found
        raise AttributeError(f"qt.{name}")


# Slicer's own parameterNodeWrapper imports its tree view from here.
HIERARCHY = "qSlicerSubjectHierarchyModuleWidgetsPythonQt"
# Made by Qt itself, or never touched by name.
NOT_WRAPPED = ("QApplication", "QCoreApplication", "QSettings", "QObject")


class _WidgetModule(types.ModuleType):
    """`ctk`: the stand-ins."""

    def __getattr__(self, name: str) -> Any:
        if name in STAND_INS:
            return python_qt_class(name)
        raise AttributeError(f"{self.__name__}.{name}: no stand-in")


class UiLoader(QUiLoader):
    """Makes stand-ins where a .ui file names real widgets."""

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        """One widget of the file."""
        widget = python_qt_class(class_name)(parent)
        widget.setObjectName(name)
        _ALIVE.append(widget)
        return widget


# PySide drops the Python half of a widget that only C++ holds, and its class with it.
_ALIVE: list[Any] = []


def load_ui(path: str) -> Any:
    """The top widget of a .ui file."""
    file = QtCore.QFile(str(path))
    if not file.open(QtCore.QFile.OpenModeFlag.ReadOnly):
        raise FileNotFoundError(path)
    loader = UiLoader()
    widget = loader.load(file)
    if widget is None:
        raise RuntimeError(f"{Path(path).name}: {loader.errorString()}")
    _ALIVE.append(loader)
    return widget


def child_widget_variables(widget: Any) -> types.SimpleNamespace:
    """The named children as attributes."""
    names = types.SimpleNamespace()
    for child in [widget, *QtCore.QObject.findChildren(widget, QtWidgets.QWidget)]:
        name = child.property("objectName")
        if name and not name.startswith("qt_"):
            setattr(names, name, child)
    return names


def install() -> QtWidgets.QApplication:
    """Put `qt`, `ctk` and the qMRML widgets where the module file imports them from."""
    if sys.version_info < (3, 12):
        # PySide gives back one reference to None too many at each turn of the event loop; a long test would
        # see None deleted. Later Pythons don't count them.
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["AnomalyDetect"])
    if "qt" not in sys.modules:
        sys.modules["qt"], sys.modules["ctk"] = _QtModule("qt"), _WidgetModule("ctk")
        sys.modules[HIERARCHY] = _WidgetModule(HIERARCHY)
    for name in STAND_INS:
        if name.startswith("qMRML"):
            setattr(slicer, name, python_qt_class(name))
    slicer.util.loadUI = load_ui
    slicer.util.childWidgetVariables = child_widget_variables
    return app
