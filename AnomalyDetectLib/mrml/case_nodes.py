"""The nodes of one case: maps, segmentation, label map, brain surface; made together and removed together."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from numpy.typing import NDArray

from AnomalyDetectLib.mrml.colours import HATCHING, colour_table, diverging, sequential, set_colours
from AnomalyDetectLib.mrml.scan import affine, set_affine, voxels

if TYPE_CHECKING:
    from AnomalyDetectLib.mrml.result import Result

# Marks a node as ours: what the module may remove, and nothing else.
OWNED = "AnomalyDetect.Role"
# Shown from this share of the largest value on, so that the small differences of normal tissue veil nothing.
RESIDUAL_SHOWN, UNCERTAINTY_SHOWN = 0.25, 0.35
HIDDEN = ("regions", "brain_mask", "sequences")  # for the engine, not for the reader
VOLUMES = ("healthy", "residual", "score", "uncertainty", *HIDDEN)
ROLES = (*VOLUMES, "segmentation", "labelmap", "uncertain", "brain")
# What a saved scene can do without.
OPTIONAL = (*HIDDEN, "uncertain", "brain")


@dataclass(frozen=True, eq=False)
class CaseNodes:
    """The nodes that one detection added to the scene.

    scan: the reader's own volume. healthy, residual, score, uncertainty, regions, brain_mask, sequences:
    scalar volumes on its grid; the last three may be None. segmentation: one segment a finding. labelmap: the
    findings' ids. uncertain: label map, the hatching of uncertain findings, None in an old scene. brain:
    surface.
    """

    scan: Any
    healthy: Any
    residual: Any
    score: Any
    uncertainty: Any
    regions: Any
    brain_mask: Any
    sequences: Any
    segmentation: Any
    labelmap: Any
    uncertain: Any
    brain: Any

    @property
    def overlays(self) -> dict[str, Any]:
        """The volumes that can lie over the scan, by name."""
        return {name: getattr(self, name) for name in ("score", "residual", "uncertainty", "healthy")}

    @property
    def alive(self) -> bool:
        """Whether scan and results are all still in the scene."""
        needed = (self.scan, self.healthy, self.score, self.segmentation, self.labelmap)
        return all(node is not None and node.GetScene() is not None for node in needed)

    def remove(self) -> None:
        """Take the results out of the scene, with their display, storage and colour nodes."""
        for role in ROLES:
            _remove(getattr(self, role))


def add_case(scan: Any, result: Result) -> Generator[None, None, CaseNodes]:
    """Put a result into the scene beside its scan, under the same transform; a node at each step.

    The steps let the event loop turn between nodes. When anything fails, or the generator is closed before
    its end, what was added is removed again.
    """
    added: dict[str, Any] = dict.fromkeys(HIDDEN)
    complete = False
    try:
        for role, array in result.arrays.items():
            added[role] = _volume(scan, role)
            _show(added[role], role, scan, result)
            yield
            slicer.util.updateVolumeFromArray(added[role], array)
            yield
        for role, kind in (("labelmap", np.int32), ("uncertain", np.uint8)):
            added[role] = _volume(scan, role, "vtkMRMLLabelMapVolumeNode")
            added[role].CreateDefaultDisplayNodes()
            slicer.util.updateVolumeFromArray(added[role], np.zeros(result.arrays["score"].shape, kind))
            yield
        _show_hatching(added["uncertain"])
        added["segmentation"] = _segmentation(scan)
        added["brain"] = _brain(scan, result.surface)
        complete = True
        return CaseNodes(scan=scan, **added)
    finally:
        if not complete:
            for node in added.values():
                _remove(node)


def owned(role: str, scan: Any) -> Any:
    """The result node of a role that belongs to a scan, or None: how a loaded scene is taken up again."""
    if scan is None:
        return None
    for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"):
        if node.GetAttribute(OWNED) == role and node.GetNodeReferenceID("AnomalyDetectScan") == scan.GetID():
            return node
    return None


def case_in_scene(scan: Any) -> CaseNodes | None:
    """The results of a scan that a loaded scene holds; None when they are not all there."""
    found = {role: owned(role, scan) for role in ROLES}
    if any(found[role] is None for role in ROLES if role not in OPTIONAL):
        return None
    return CaseNodes(scan=scan, **found)


def hide_normal(nodes: CaseNodes, threshold_z: float) -> None:
    """Leave the score transparent where |z| is below the threshold."""
    display = nodes.score.GetDisplayNode()
    set_colours(display.GetColorNode(), diverging(float(display.GetWindowLevelMax()), threshold_z))


def _volume(scan: Any, role: str, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    """A volume node without voxels: with its display set first, Slicer needn't guess a window from them, and
    that takes longer than all else.
    """
    node = slicer.mrmlScene.AddNewNodeByClass(kind, f"{scan.GetName()} {role.replace('_', ' ')}")
    _own(node, role, scan)
    set_affine(node, affine(scan))
    return node


def _own(node: Any, role: str, scan: Any) -> None:
    node.SetAttribute(OWNED, role)
    node.SetNodeReferenceID("AnomalyDetectScan", scan.GetID())
    node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())


def _show(node: Any, role: str, scan: Any, result: Result) -> None:
    if role in HIDDEN:
        node.SetHideFromEditors(True)
        return
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    if role == "healthy":
        _show_healthy(node.GetDisplayNode(), scan.GetDisplayNode())
    else:
        _show_map(node.GetDisplayNode(), role, result)


def _show_healthy(ours: Any, theirs: Any) -> None:
    """The reader's own window and level: a difference is in the picture, not in its display."""
    if theirs is not None:
        ours.SetWindowLevel(theirs.GetWindow(), theirs.GetLevel())
        ours.SetAndObserveColorNodeID(theirs.GetColorNodeID())


def _show_map(display: Any, role: str, result: Result) -> None:
    limit = result.limits[role]
    if role == "uncertainty":
        low, colours = 0.0, sequential(limit, UNCERTAINTY_SHOWN * limit)
    else:
        low = -limit
        colours = diverging(limit, result.settings.threshold if role == "score" else RESIDUAL_SHOWN * limit)
    display.SetAndObserveColorNodeID(colour_table(f"AnomalyDetect {role}", colours).GetID())
    display.SetWindowLevelMinMax(low, limit)
    display.SetInterpolate(False)


def _show_hatching(node: Any) -> None:
    node.SetHideFromEditors(True)
    colours = np.array([[0, 0, 0, 0], [*HATCHING, 1]])
    node.GetDisplayNode().SetAndObserveColorNodeID(colour_table("AnomalyDetect uncertain", colours).GetID())


def _segmentation(scan: Any) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{scan.GetName()} findings")
    _own(node, "segmentation", scan)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    return node


def _brain(scan: Any, surface: Any) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", f"{scan.GetName()} brain")
    _own(node, "brain", scan)
    node.SetAndObservePolyData(surface)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity(0.25)
    display.SetColor(0.92, 0.88, 0.84)
    display.SetVisibility2D(False)
    display.SetBackfaceCulling(False)
    display.SetScalarVisibility(False)
    return node


def _remove(node: Any) -> None:
    scene = slicer.mrmlScene
    if node is None or node.GetScene() is None:
        return
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    colours = [display.GetColorNode() for display in displays if display is not None]
    storage = node.GetStorageNode()
    scene.RemoveNode(node)
    for display in displays:
        if display is not None and display.GetScene() is not None:
            scene.RemoveNode(display)
    if storage is not None and storage.GetScene() is not None:
        scene.RemoveNode(storage)
    for colour in colours:
        if (
            colour is not None
            and colour.GetScene() is not None
            and colour.GetName().startswith("AnomalyDetect ")
        ):
            scene.RemoveNode(colour)


def stored_maps(nodes: CaseNodes) -> dict[str, NDArray[Any]]:
    """Copies of the volumes (i,j,k) in the scene, to build the engine anew after a scene was loaded."""
    roles = [role for role in VOLUMES if getattr(nodes, role) is not None]
    return {role: np.ascontiguousarray(voxels(getattr(nodes, role))) for role in roles}
