"""PySide6 stand-ins for the CTK and qMRML widgets that the panels use, under the real ones' names."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

HEADER_PIXELS = 24


class qMRMLWidget(QtWidgets.QWidget):
    """Hands the scene to its children, as the connections of a real .ui do."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene here and in every child that takes one."""
        self._scene = scene
        for child in QtCore.QObject.findChildren(self, QtWidgets.QWidget):
            if isinstance(child, (qMRMLWidget, qMRMLNodeComboBox)):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled box that folds when its title is clicked."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(4, HEADER_PIXELS, 4, 4)

    def _set_text(self, text: str) -> None:
        self._text = text
        QtWidgets.QWidget.update(self)

    def _set_collapsed(self, collapsed: bool) -> None:
        changed = bool(collapsed) != self._collapsed
        self._collapsed = bool(collapsed)
        QtWidgets.QWidget.setMaximumHeight(self, HEADER_PIXELS if collapsed else 16777215)
        for child in QtCore.QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                QtWidgets.QWidget.setVisible(child, not collapsed)
        if changed:
            self.contentsCollapsed.emit(self._collapsed)

    text = Property(str, lambda self: self._text, _set_text)
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        """Fold or unfold."""
        if event.position().y() < HEADER_PIXELS:
            self._set_collapsed(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw the title as a button."""
        option = QtWidgets.QStyleOptionButton()
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), HEADER_PIXELS - 2)
        option.text = ("▸ " if self._collapsed else "▾ ") + self._text
        option.state = QtWidgets.QStyle.StateFlag.State_Enabled | QtWidgets.QStyle.StateFlag.State_Raised
        painter = QtGui.QPainter(self)
        style = QtWidgets.QApplication.style()
        style.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option, painter, None)
        painter.end()


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a number beside it."""

    valueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider, self._number = QtWidgets.QSlider(Qt.Orientation.Horizontal), QtWidgets.QDoubleSpinBox()
        row.addWidget(self._slider, 1)
        row.addWidget(self._number)
        self._step = 1.0
        self._number.valueChanged.connect(self._changed)
        self._slider.valueChanged.connect(lambda ticks: self._number.setValue(ticks * self._step))

    def _changed(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        blocked = self._slider.blockSignals(True)
        low, high = self._number.minimum() / self._step, self._number.maximum() / self._step
        self._slider.setRange(round(low), round(high))
        self._slider.setValue(round(self._number.value() / self._step))
        self._slider.blockSignals(blocked)

    def _set(self, name: str, value: Any) -> None:
        if name == "SingleStep":
            self._step = value
        getattr(self._number, f"set{name}")(value)
        self._place()

    value = Property(float, lambda self: self._number.value(), lambda self, v: self._number.setValue(v))
    minimum = Property(float, lambda self: self._number.minimum(), lambda self, v: self._set("Minimum", v))
    maximum = Property(float, lambda self: self._number.maximum(), lambda self, v: self._set("Maximum", v))
    singleStep = Property(float, lambda self: self._step, lambda self, v: self._set("SingleStep", v))
    decimals = Property(int, lambda self: self._number.decimals(), lambda self, v: self._set("Decimals", v))
    suffix = Property(str, lambda self: self._number.suffix(), lambda self, v: self._set("Suffix", v))
    tracking = Property(bool, lambda self: True, lambda self, v: None)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the scene's nodes of some classes."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._ids: list[str] = []
        self._none, self._children = False, True
        self.currentIndexChanged.connect(lambda _: self.currentNodeChanged.emit(self.currentNode()))

    def _set(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self._fill()

    nodeTypes = Property("QStringList", lambda s: s._types, lambda s, v: s._set("_types", list(v)))
    noneEnabled = Property(bool, lambda s: s._none, lambda s, v: s._set("_none", v))
    showChildNodeTypes = Property(bool, lambda s: s._children, lambda s, v: s._set("_children", v))
    addEnabled = Property(bool, lambda s: False, lambda s, v: None)
    removeEnabled = Property(bool, lambda s: False, lambda s, v: None)
    renameEnabled = Property(bool, lambda s: False, lambda s, v: None)
    selectNodeUponCreation = Property(bool, lambda s: False, lambda s, v: None)

    def setMRMLScene(self, scene: Any) -> None:
        """Follow the scene's nodes."""
        if scene is not None and self._scene is None:
            for event in ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent"):
                scene.AddObserver(getattr(slicer.vtkMRMLScene, event), lambda *_: self._fill())
        self._scene = scene
        self._fill()

    def _fill(self) -> None:
        if self._scene is None:
            return
        current = self.currentNodeID
        nodes = [
            node
            for kind in self._types
            for node in slicer.util.getNodesByClass(kind)
            if not node.GetHideFromEditors() and (self._children or node.GetClassName() == kind)
        ]
        blocked = QtCore.QObject.blockSignals(self, True)
        self.clear()
        self._ids = ([""] if self._none else []) + [node.GetID() for node in nodes]
        self.addItems((["None"] if self._none else []) + [node.GetName() for node in nodes])
        place = self._ids.index(current) if current in self._ids else (0 if self._none else -1)
        self.setCurrentIndex(place)
        QtCore.QObject.blockSignals(self, blocked)
        if self.currentNodeID != current:
            self.currentNodeChanged.emit(self.currentNode())

    def _current_id(self) -> str:
        place = QtWidgets.QComboBox.currentIndex.__get__(self)()  # the real one has a property of that name
        return self._ids[place] if 0 <= place < len(self._ids) else ""

    currentNodeID = Property(str, _current_id)

    def currentNode(self) -> Any:
        """The chosen node, or None."""
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene and self.currentNodeID else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; None: nothing."""
        wanted = node.GetID() if node is not None else ""
        self.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else (0 if self._none else -1))


class qMRMLSubjectHierarchyTreeView(QtWidgets.QTreeView):
    """Named by Slicer's own connectors, and used by no panel."""


STAND_INS = {
    cls.__name__: cls
    for cls in (
        qMRMLWidget,
        ctkCollapsibleButton,
        ctkSliderWidget,
        qMRMLNodeComboBox,
        qMRMLSubjectHierarchyTreeView,
    )
}
