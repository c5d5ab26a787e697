"""Stand-ins for Slicer's scripted modules: ScriptedLoadableModule, parameterNodeWrapper, i18n."""

from __future__ import annotations

import os
import sys
import types
import typing
import unittest
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from vtkmodules.vtkCommonCore import vtkCommand

MODULE = "slicer.ScriptedLoadableModule"
WRAPPER = "slicer.parameterNodeWrapper"
I18N = "slicer.i18n"


class ScriptedLoadableModule:
    """What Slicer knows of a module: title, categories, help."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, name: str) -> str:
        """A file in the module's Resources."""
        return str(Path(self.parent.path).parent / "Resources" / name)


class ScriptedLoadableModuleWidget:
    """The panel of a module."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        """A file in the module's Resources."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """No developer section."""

    def cleanup(self) -> None:
        """For the module to override."""


class ScriptedLoadableModuleLogic:
    """The logic of a module, with its one parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The scene's parameter node of this module, made when there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetModuleName(self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self-test of a module."""

    def delayDisplay(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Say what is tested."""
        print(message)


class WithinRange:
    """A validator: low <= value <= high."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def check(self, value: float) -> None:
        """Raise ValueError outside of the range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}]: {value}")


def parameterNodeWrapper(cls: type) -> type:
    """Typed attributes over a parameter node, and widgets that follow them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults = {name: vars(cls).get(name, _default(hint)) for name, hint in hints.items()}
    for name, hint in hints.items():
        setattr(cls, name, _attribute(name, hint, defaults[name]))

    def initialise(self: Any, node: Any) -> None:
        self.parameterNode = node
        self._connections = {}
        self._observers = {}
        self._updating = False
        for name in hints:
            if not _is_in(node, name, hints[name]):
                setattr(self, name, defaults[name])

    methods = {
        "__init__": initialise,
        "getValue": lambda self, name: getattr(self, name),
        "setValue": lambda self, name, value: setattr(self, name, value),
        "AddObserver": lambda self, *a: self.parameterNode.AddObserver(*a),
        "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
        "StartModify": lambda self: self.parameterNode.StartModify(),
        "EndModify": lambda self, was: self.parameterNode.EndModify(was),
        "Modified": lambda self: self.parameterNode.Modified(),
        "connectParametersToGui": _connect,
        "disconnectGui": _disconnect,
    }
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def _plain(hint: Any) -> tuple[type, list[Any]]:
    if typing.get_origin(hint) is typing.Annotated:
        kind, *notes = typing.get_args(hint)
        return kind, notes
    return hint, []


def _is_node(kind: type) -> bool:
    return issubclass(kind, slicer.vtkMRMLNode)


def _default(hint: Any) -> Any:
    kind, notes = _plain(hint)
    ranges = [note for note in notes if isinstance(note, WithinRange)]
    if ranges:
        return kind(ranges[0].minimum)
    return None if _is_node(kind) else kind()


def _is_in(node: Any, name: str, hint: Any) -> bool:
    if _is_node(_plain(hint)[0]):
        return node.GetNodeReferenceID(name) is not None
    return bool(node.HasParameter(name))


def _attribute(name: str, hint: Any, default: Any) -> property:
    kind, notes = _plain(hint)

    def read(self: Any) -> Any:
        node = self.parameterNode
        if _is_node(kind):
            return node.GetNodeReference(name)
        if not node.HasParameter(name):  # a closed scene empties the node, and its wrapper goes on
            node.SetParameter(name, str(default))
        text = node.GetParameter(name)
        return text == "True" if kind is bool else kind(text)

    def write(self: Any, value: Any) -> None:
        node = self.parameterNode
        if _is_node(kind):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}: {value} is not a {kind.__name__}")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise TypeError(f"{name}: {value!r} is not {kind.__name__}")
        for note in notes:
            note.check(value)
        node.SetParameter(name, str(value))

    return property(read, write)


def _connector(widget: Any) -> tuple[str, Callable[[], Any], Callable[[Any], None]]:
    """Signal, reader and writer of a widget, as the real connectors have them."""
    kind = type(widget).__name__
    if kind == "qMRMLNodeComboBox":
        return "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode
    if kind in ("QCheckBox", "QPushButton"):
        return "toggled(bool)", lambda: widget.checked, lambda value: setattr(widget, "checked", value)
    if kind in ("ctkSliderWidget", "QDoubleSpinBox"):
        return "valueChanged(double)", lambda: widget.value, lambda value: setattr(widget, "value", value)
    if kind == "QLineEdit":
        return "textChanged(QString)", lambda: widget.text, lambda value: setattr(widget, "text", value)
    raise TypeError(f"no connector for {kind}")


def _connect(self: Any, mapping: dict[str, Any]) -> int:
    tag = max(self._connections, default=-1) + 1
    entries = []
    for name, widget in mapping.items():
        signal, read, write = _connector(widget)
        write(getattr(self, name))

        def follow(*_: Any, name: str = name, read: Callable[[], Any] = read) -> None:
            if not self._updating:
                setattr(self, name, read())

        widget.connect(signal, follow)
        entries.append((name, widget, signal, write, follow))
    self._connections[tag] = entries

    def show(*_: Any) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connected in self._connections.values():
                for name, _widget, _signal, write, _follow in connected:
                    write(getattr(self, name))
        finally:
            self._updating = False

    self._observers[tag] = self.parameterNode.AddObserver(vtkCommand.ModifiedEvent, show)
    return tag


def _disconnect(self: Any, tag: int | None) -> None:
    for _name, widget, signal, _write, follow in self._connections.pop(tag, []):
        widget.disconnect(signal, follow)
    if tag in self._observers:
        self.parameterNode.RemoveObserver(self._observers.pop(tag))


def install() -> None:
    """Put the stand-ins where the module file imports them from; Slicer's own files go first, one by one."""
    names = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic)
    _module(MODULE, {cls.__name__: cls for cls in (*names, ScriptedLoadableModuleTest)})
    _module(WRAPPER, {"parameterNodeWrapper": parameterNodeWrapper, "WithinRange": WithinRange})
    _module(
        I18N,
        {
            "tr": lambda text: slicer.app.translate("", text),
            "translate": lambda context, text: slicer.app.translate(context, text),
        },
    )


def _module(name: str, contents: dict[str, Any]) -> None:
    if name in sys.modules or (os.environ.get("SLICER_PYTHON_DIR") and find_spec(name) is not None):
        return
    module = types.ModuleType(name)
    vars(module).update(contents, __all__=list(contents))
    sys.modules[name] = module
