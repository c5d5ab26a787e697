"""Offscreen slice and 3-D views, drawn by Slicer's own displayable managers."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support
from vtkmodules.vtkRenderingCore import (
    vtkActor2D,
    vtkImageMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkRenderWindowInteractor,
)

WINDOW = "vtkEGLRenderWindow"
SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
)
PROBE = """
import os
os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
import vtk
window = vtk.vtkRenderWindow(); window.SetOffScreenRendering(1); window.SetSize(8, 8)
window.AddRenderer(vtk.vtkRenderer()); window.Render()
"""


@cache
def why_no_rendering() -> str:
    """What to install where nothing can be drawn; "" where it can. VTK ends a process that has no EGL."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=120, check=False)
    if done.returncode == 0:
        return ""
    return "no offscreen rendering: apt-get install libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"


class _View:
    """A render window with a group of displayable managers."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.window, self.renderer = vtkRenderWindow(), vtkRenderer()
        self.window.SetOffScreenRendering(1)
        self.window.ShowWindowOff()
        self.window.SetSize(*size)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()

    def _managers(self, factory: object, names: tuple[str, ...]) -> object:
        instance = factory.GetInstance()  # type: ignore[attr-defined]
        instance.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in names:
            if not instance.IsDisplayableManagerRegistered(name):
                instance.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(instance, self.renderer)
        return group

    def render(self) -> None:
        """Draw what has changed."""
        self.window.Render()

    def caption(self, text: str) -> None:
        """Words in the upper left corner."""
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        actor.GetTextProperty().SetFontSize(18)
        actor.SetPosition(10, self.size[1] - 28)
        self.renderer.AddViewProp(actor)

    def picture(self) -> NDArray[np.uint8]:
        """What the view shows: (rows, columns, RGB), the first row on top."""
        self.render()
        grabbed = vtk.vtkWindowToImageFilter()
        grabbed.SetInput(self.window)
        grabbed.ReadFrontBufferOff()
        grabbed.SetInputBufferTypeToRGB()
        grabbed.Update()
        width, height, _ = grabbed.GetOutput().GetDimensions()
        flat = numpy_support.vtk_to_numpy(grabbed.GetOutput().GetPointData().GetScalars())
        return np.array(flat.reshape(height, width, 3)[::-1])


class SliceView(_View):
    """A slice view; its slice node and composite node are those that the module finds in the scene."""

    def __init__(self, name: str, orientation: str = "Axial", size: tuple[int, int] = (400, 400)) -> None:
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.mapper = vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.image = vtkActor2D()
        self.image.SetMapper(self.mapper)
        self.image.GetProperty().SetDisplayLocationToBackground()
        self.group = self._managers(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS)
        self.logic = slicer.vtkMRMLSliceLogic()
        application = slicer.app.applicationLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(True)  # what the desktop's layout manager says of a view on screen
        self.composite = self.logic.GetSliceCompositeNode()
        self.logic.ResizeSliceNode(*size)
        self.group.SetMRMLDisplayableNode(self.node)  # type: ignore[attr-defined]

    def render(self) -> None:
        """Reslice and draw."""
        connection = self.logic.GetImageDataConnection()
        if connection is not None:
            self.mapper.SetInputConnection(connection)
            if not self.renderer.HasViewProp(self.image):
                self.renderer.AddViewProp(self.image)
        elif self.renderer.HasViewProp(self.image):
            self.renderer.RemoveViewProp(self.image)
        super().render()

    def fit(self) -> None:
        """The whole background volume in the view."""
        self.logic.FitSliceToBackground()


class ThreeDView(_View):
    """A 3-D view."""

    def __init__(self, name: str = "1", size: tuple[int, int] = (400, 400)) -> None:
        super().__init__(size)
        self.group = self._managers(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS)
        self.logic = slicer.vtkMRMLViewLogic()
        application = slicer.app.applicationLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode(name)
        self.group.SetMRMLDisplayableNode(self.node)  # type: ignore[attr-defined]

    def fit(self) -> None:
        """Everything in sight."""
        self.renderer.ResetCamera()


@cache
def view(kind: str, name: str, orientation: str = "Axial", size: tuple[int, int] = (400, 400)) -> _View:
    """The view of a name, one in a process: view nodes are singletons that survive the scene's closing."""
    return SliceView(name, orientation, size) if kind == "vtkMRMLSliceNode" else ThreeDView(name, size)


def views_of_layout(size: tuple[int, int] = (400, 400)) -> dict[str, _View]:
    """The views of the scene's layout by singleton tag, as the desktop's layout manager makes them."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    root = ElementTree.fromstring(layout.GetCurrentLayoutDescription())
    found = {}
    for element in root.iter("view"):
        orientation = element.find("./property[@name='orientation']")
        name = str(element.get("singletontag"))
        where = "Axial" if orientation is None else str(orientation.text)
        found[name] = view(str(element.get("class")), name, where, size)
    return found


def save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as PNG."""
    rows, columns, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    flat = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=1))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
