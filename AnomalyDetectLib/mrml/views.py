"""Layouts and layers: what lies in which slice view, and the way back to the reader's own arrangement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from AnomalyDetectLib.mrml.case_nodes import CaseNodes

# Above what other extensions take (they count from some hundreds).
COMPARE_LAYOUT, PLANES_LAYOUT = 77301, 77302
SCAN_VIEW, HEALTHY_VIEW, SCORE_VIEW = "AnomalyScan", "AnomalyHealthy", "AnomalyScore"
CORONAL_VIEW, SAGITTAL_VIEW, THREE_D_VIEW = "AnomalyCoronal", "AnomalySagittal", "Anomaly3D"
VIEW_GROUP = 77
DRAWN_IN = "AnomalyDetect.DrawnIn"
HATCHING_OPACITY = 0.8
TITLES = {"score": "score, z", "residual": "residual, scan units", "uncertainty": "uncertainty, z"}
LAYOUTS = {"compare": COMPARE_LAYOUT, "planes": PLANES_LAYOUT}


def _slice_view(tag: str, orientation: str, label: str, colour: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{colour}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
    )


def _three_d_view() -> str:
    return (
        f'<item><view class="vtkMRMLViewNode" singletontag="{THREE_D_VIEW}">'
        '<property name="viewlabel" action="default">3D</property></view></item>'
    )


_SCAN = _slice_view(SCAN_VIEW, "Axial", "S", "#F34A33")
_HEALTHY = _slice_view(HEALTHY_VIEW, "Axial", "H", "#6EB04B")
_SCORE = _slice_view(SCORE_VIEW, "Axial", "Z", "#EDD54C")
_CORONAL = _slice_view(CORONAL_VIEW, "Coronal", "C", "#6EB04B")
_SAGITTAL = _slice_view(SAGITTAL_VIEW, "Sagittal", "G", "#EDD54C")


def _rows(*rows: tuple[str, ...]) -> str:
    inner = "".join(f'<item><layout type="horizontal">{"".join(row)}</layout></item>' for row in rows)
    return f'<layout type="vertical" split="true">{inner}</layout>'


DESCRIPTIONS = {
    COMPARE_LAYOUT: _rows((_SCAN, _HEALTHY, _SCORE), (_CORONAL, _SAGITTAL, _three_d_view())),
    PLANES_LAYOUT: _rows((_SCORE, _CORONAL), (_SAGITTAL, _three_d_view())),
}


@dataclass(frozen=True)
class Look:
    """What the reader wants to see.

    overlay: score, residual, uncertainty or healthy. opacity: 0 to 1, of the overlay. outline_only: whether
    findings are drawn as lines alone.
    """

    overlay: str = "score"
    opacity: float = 0.6
    outline_only: bool = True


def layout_node() -> Any:
    """The scene's layout node, or None where there are no views."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def show_layout(name: str) -> int | None:
    """Show "compare" or "planes"; returns the arrangement from before, None where there was none."""
    node = layout_node()
    if node is None:
        return None
    for number, description in DESCRIPTIONS.items():
        if node.IsLayoutDescription(number):
            node.SetLayoutDescription(number, description)
        else:
            node.AddLayoutDescription(number, description)
    before = int(node.GetViewArrangement())
    node.SetViewArrangement(LAYOUTS[name])
    return None if before in DESCRIPTIONS else before


def restore_layout(arrangement: int | None) -> None:
    """Back to the reader's own arrangement."""
    node = layout_node()
    if node is not None and arrangement is not None and node.GetViewArrangement() in DESCRIPTIONS:
        node.SetViewArrangement(arrangement)


def composites() -> list[Any]:
    """The layers of every slice view."""
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def slice_nodes() -> list[Any]:
    """Every slice view's node."""
    return list(slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def show_layers(nodes: CaseNodes, look: Look) -> None:
    """Put scan, healthy version and overlay into the slice views, and the legend of what is shown."""
    overlay = nodes.overlays[look.overlay]
    for composite in composites():
        place = composite.GetLayoutName()
        background = nodes.healthy if place == HEALTHY_VIEW else nodes.scan
        shown = None if place in (SCAN_VIEW, HEALTHY_VIEW) else overlay
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(shown.GetID() if shown is not None else None)
        composite.SetForegroundOpacity(look.opacity)
        _set_hatching(composite, nodes.uncertain, shown is not None)
        composite.SetLinkedControl(place.startswith("Anomaly"))
    for name, node in nodes.overlays.items():
        _show_legend(node, TITLES[name] if name == look.overlay and name in TITLES else "")
    for view in slicer.util.getNodesByClass("vtkMRMLViewNode"):
        if view.GetLayoutName() == THREE_D_VIEW:
            _calm(view)
    display = nodes.segmentation.GetDisplayNode()
    display.SetVisibility2DFill(not look.outline_only)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.35)
    display.SetSliceIntersectionThickness(2)


def _calm(view: Any) -> None:
    """Black, without a box: nothing to see but brain and findings."""
    view.SetBoxVisible(False)
    view.SetBackgroundColor(0, 0, 0)
    view.SetBackgroundColor2(0, 0, 0)


def _show_legend(node: Any, title: str) -> None:
    """The legend of a volume, or none for an empty title.

    A view draws only legends that are added after it: when there are new views, the legend is made anew.
    """
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(node)
    drawn_in = " ".join(view.GetID() for view in slice_nodes())
    if legend is not None and title and legend.GetAttribute(DRAWN_IN) == drawn_in:
        return
    if legend is not None:
        slicer.mrmlScene.RemoveNode(legend)
    if title:
        legend = logic.AddDefaultColorLegendDisplayNode(node.GetDisplayNode())
        legend.SetAttribute(DRAWN_IN, drawn_in)
        legend.SetTitleText(title)
        legend.SetLabelFormat("%.3g")
        legend.SetNumberOfLabels(5)
        legend.SetSize(0.12, 0.45)
        node.GetDisplayNode().Modified()


def _set_hatching(composite: Any, hatching: Any, shown: bool) -> None:
    """Lay the hatching over a view or take it away; a label map of the reader's own stays."""
    there = slicer.mrmlScene.GetNodeByID(composite.GetLabelVolumeID() or "")
    if hatching is None or hatching.GetScene() is None or (there is not None and there is not hatching):
        return
    composite.SetLabelVolumeID(hatching.GetID() if shown else None)
    if shown:
        composite.SetLabelOpacity(HATCHING_OPACITY)


def hide_layers(nodes: CaseNodes) -> None:
    """Only the scan, as before the detection."""
    ours = {node.GetID() for node in nodes.overlays.values() if node.GetScene() is not None}
    for composite in composites():
        if composite.GetForegroundVolumeID() in ours:
            composite.SetForegroundVolumeID(None)
        _set_hatching(composite, nodes.uncertain, False)
        if composite.GetBackgroundVolumeID() in ours and nodes.scan.GetScene() is not None:
            composite.SetBackgroundVolumeID(nodes.scan.GetID())


def flicker(nodes: CaseNodes, healthy: bool) -> None:
    """Show the healthy version, or the scan again, wherever the scan is the background."""
    new, old = (nodes.healthy, nodes.scan) if healthy else (nodes.scan, nodes.healthy)
    for composite in composites():
        kept_healthy = composite.GetLayoutName() == HEALTHY_VIEW
        if not kept_healthy and composite.GetBackgroundVolumeID() == old.GetID():
            composite.SetBackgroundVolumeID(new.GetID())


def jump(world_mm: tuple[float, float, float]) -> None:
    """Show a point (RAS of the world, mm) in every slice view; the field of view stays where it is."""
    for node in slice_nodes():
        node.JumpSliceByOffsetting(*world_mm)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*world_mm)


def background_id() -> str | None:
    """The volume that the reader looks at, if any: the guess for the scan."""
    return next((found for found in (one.GetBackgroundVolumeID() for one in composites()) if found), None)
