"""Boots slicer-core as `slicer`: application, scene and logics, as far as calls without Qt need them."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from vtkmodules.vtkCommonCore import vtkCollection, vtkObject, vtkOutputWindow

from Testing.slicer_host.files import CoreIOManager

# Names a folder with Slicer's own Python files, which are then used in place of the stand-ins.
SLICER_PYTHON_DIR = "SLICER_PYTHON_DIR"


class Module:
    """What `slicer.modules.NAME` gives: the module's logic, and for a scripted one its path."""

    def __init__(self, logic: Any = None, path: str = "") -> None:
        self._logic = logic
        self.path = path
        self.name = Path(path).stem

    def logic(self) -> Any:
        """The C++ logic."""
        return self._logic


class ModuleManager:
    """The part of the desktop's module manager that a scripted module's widget touches."""

    def connect(self, signal: str, slot: Callable[..., None]) -> None:
        """Modules are never unloaded here."""

    def disconnect(self, signal: str, slot: Callable[..., None]) -> None:
        """Modules are never unloaded here."""

    def factoryManager(self) -> ModuleManager:
        """Where modules are loaded."""
        return self


class Application:
    """`slicer.app`: the application logic, the scene and its files; no windows of its own."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="slicer_host")  # gone with the application
        self.temporaryPath = self._temporary.name
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.io = CoreIOManager(self)
        self.modules = ModuleManager()
        self.startup_callbacks: list[Callable[[], None]] = []
        self.pythonConsole = types.SimpleNamespace(copy=lambda: None)

    def applicationLogic(self) -> Any:
        """vtkSlicerApplicationLogic."""
        return self.logic

    def coreIOManager(self) -> CoreIOManager:
        """Reads and writes nodes and scenes."""
        return self.io

    def mrmlScene(self) -> Any:
        """vtkMRMLScene."""
        return self.scene

    def moduleManager(self) -> ModuleManager:
        """The module manager."""
        return self.modules

    def layoutManager(self) -> None:
        """None, as with --no-main-window."""

    def topLevelWidgets(self) -> list[Any]:
        """No windows."""
        return []

    def commandOptions(self) -> Any:
        """Started without a main window."""
        return types.SimpleNamespace(noMainWindow=True)

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        """Remember what waits for the end of the start."""
        if signal == "startupCompleted()":
            self.startup_callbacks.append(slot)

    def translate(self, context: str, text: str) -> str:
        """No translation is installed."""
        return text

    def setOverrideCursor(self, *cursor: Any) -> None:
        """No cursor."""

    def restoreOverrideCursor(self) -> None:
        """No cursor."""

    def processEvents(self, *flags: Any) -> None:
        """One turn of the Qt event loop, where there is one."""
        qt = sys.modules.get("qt")
        if qt is not None and qt.QApplication.instance() is not None:
            qt.QApplication.processEvents()

    def testingEnabled(self) -> bool:
        """Nobody is there to click a message away."""
        return True

    def pauseRender(self) -> None:
        """Views are rendered only when asked."""

    def resumeRender(self) -> None:
        """Views are rendered only when asked."""


LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "tables": "vtkSlicerTablesLogic",
}
MODULE_NAMES = {"subjecthierarchy": "SubjectHierarchy"}


def boot() -> Any:
    """`slicer` with app, mrmlScene and modules; the same ones on every call."""
    if isinstance(getattr(slicer, "app", None), Application):
        return slicer
    window = vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtkOutputWindow.SetInstance(window)
    app = slicer.app = Application()
    slicer.mrmlScene = app.scene
    slicer.modules = types.SimpleNamespace()
    _start_scene(app)
    _start_logics(app)
    _start_remote_io(app)
    # slicer-core leaks the names of slicer.util into slicer, where the desktop has none of them.
    for name in ("getNode", "loadVolume", "arrayFromVolume", "saveNode"):
        if name in vars(slicer):
            delattr(slicer, name)
    _prefer_slicers_own_python()
    return slicer


def _start_scene(app: Application) -> None:
    scene, logic = app.scene, app.logic
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    for singleton in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        node = getattr(slicer, singleton)()
        node.SetSingletonTag("Singleton")
        scene.AddNode(node)
    logic.SetMRMLScene(scene)
    logic.SetTemporaryPath(app.temporaryPath)
    logic.SetSliceLogics(vtkCollection())
    logic.SetViewLogics(vtkCollection())
    colors = slicer.vtkSlicerColorLogic()  # the desktop's, which knows colour legends
    colors.SetMRMLApplicationLogic(logic)
    logic.SetColorLogic(colors)
    vtkObject.GlobalWarningDisplayOff()  # the colour files of an installed application are not here
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    vtkObject.GlobalWarningDisplayOn()
    layout = slicer.vtkMRMLLayoutNode()
    layout.SetSingletonTag("vtkMRMLLayoutNode")
    scene.AddNode(layout)
    for factory in (
        "vtkMRMLThreeDViewDisplayableManagerFactory",
        "vtkMRMLSliceViewDisplayableManagerFactory",
    ):
        getattr(slicer, factory).GetInstance().SetMRMLApplicationLogic(logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)


def _start_logics(app: Application) -> None:
    # The terminologies' JSON files are not in the wheel; each one that is missing would be an error message.
    vtkObject.GlobalWarningDisplayOff()
    slicer.modules.colors = Module(app.logic.GetColorLogic())
    app.logic.SetModuleLogic("Colors", app.logic.GetColorLogic())
    for attribute, class_name in LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLScene(app.scene)
        logic.SetMRMLApplicationLogic(app.logic)
        app.logic.SetModuleLogic(MODULE_NAMES.get(attribute, attribute.capitalize()), logic)
        setattr(slicer.modules, attribute, Module(logic))
    vtkObject.GlobalWarningDisplayOn()


def _start_remote_io(app: Application) -> None:
    """Storage nodes ask for it when they read and write."""
    app.remote_io = slicer.vtkMRMLRemoteIOLogic()  # type: ignore[attr-defined]
    app.data_io = slicer.vtkDataIOManagerLogic()  # type: ignore[attr-defined]
    remote, manager = app.remote_io, app.data_io  # type: ignore[attr-defined]
    remote.SetMRMLScene(app.scene)
    remote.SetMRMLApplicationLogic(app.logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(app.temporaryPath)
    manager.SetMRMLScene(app.scene)
    manager.SetMRMLApplicationLogic(app.logic)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()


def _prefer_slicers_own_python() -> None:
    folder = os.environ.get(SLICER_PYTHON_DIR)
    if folder:
        slicer.__path__.insert(0, str(Path(folder) / "slicer"))
