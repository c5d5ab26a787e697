"""What the views show, drawn offscreen by Slicer's own displayable managers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.slicer.conftest import detect
from Testing.slicer.small_case import add_scan


@pytest.fixture
def views(rendering: None, opened: Any) -> dict[str, Any]:
    """The views of the comparing layout, with the first finding in sight."""
    from Testing.slicer_host.views import views_of_layout

    found = views_of_layout()
    opened.refresh()
    for view in found.values():
        view.fit()
    opened.panels["findings"].ui.findingsTable.selectRow(1)
    opened.panels["findings"].ui.findingsTable.selectRow(0)
    return found


def coloured(picture: np.ndarray) -> int:
    """Pixels that are not grey."""
    values = picture.astype(int)
    return int((values.max(axis=2) - values.min(axis=2) > 40).sum())


def test_scan_healthy_and_score_stand_side_by_side(views: dict[str, Any], opened: Any) -> None:
    case = opened.logic.case
    layers = {
        name: (view.composite.GetBackgroundVolumeID(), view.composite.GetForegroundVolumeID())
        for name, view in views.items()
        if name != "Anomaly3D"
    }
    scan, healthy, score = (node.GetID() for node in (case.nodes.scan, case.nodes.healthy, case.nodes.score))
    assert layers["AnomalyScan"] == (scan, None)
    assert layers["AnomalyHealthy"] == (healthy, None)
    assert layers["AnomalyScore"] == (scan, score)
    assert all(views[name].composite.GetLinkedControl() for name in layers)


def test_the_overlay_veils_nothing_that_is_normal(views: dict[str, Any], opened: Any) -> None:
    case = opened.logic.case
    view = views["AnomalyScore"]
    case.nodes.segmentation.GetDisplayNode().SetVisibility(False)
    shown = coloured(view.picture()[:, :330])  # the legend stands to the right
    # The finding is a box of 6 x 8 voxels, the slice 56 x 64: its share of the view, and not much more.
    pixels_a_voxel = (400 / 128) ** 2 * 4
    assert 0.4 * 48 * pixels_a_voxel < shown < 2.5 * 48 * pixels_a_voxel


def test_findings_are_outlines_until_one_asks_for_more(views: dict[str, Any], opened: Any) -> None:
    view = views["AnomalyScan"]
    outline = coloured(view.picture())
    opened.panels["look"].ui.outlineBox.checked = False
    filled = coloured(view.picture())
    assert 20 < outline < filled


def test_uncertain_findings_are_hatched_where_a_map_is_shown_and_a_label_map_of_the_readers_stays(
    views: dict[str, Any], opened: Any, slicer: Any
) -> None:
    findings, case = opened.panels["findings"], opened.logic.case
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mine")
    views["AnomalyCoronal"].composite.SetLabelVolumeID(own.GetID())
    before = {name: views[name].picture().astype(int) for name in ("AnomalyScan", "AnomalyScore")}
    findings.ui.uncertaintySlider.value = 0.5
    findings._settle()
    opened.refresh()
    changed = {
        name: int((np.abs(views[name].picture() - picture).max(axis=2) > 30)[:, :330].sum())
        for name, picture in before.items()
    }
    assert changed["AnomalyScan"] == 0
    assert 100 < changed["AnomalyScore"] < 0.8 * 48 * (400 / 128) ** 2 * 4  # stripes, in the finding alone
    assert views["AnomalyCoronal"].composite.GetLabelVolumeID() == own.GetID()
    opened.close_case()
    assert views["AnomalyScore"].composite.GetLabelVolumeID() is None
    assert views["AnomalyCoronal"].composite.GetLabelVolumeID() == own.GetID()
    assert case.nodes.uncertain.GetScene() is None


def test_the_score_view_has_a_legend_in_z(views: dict[str, Any], opened: Any, slicer: Any) -> None:
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(opened.logic.case.nodes.score)
    assert legend.GetTitleText() == "score, z"
    view = views["AnomalyScore"]
    before = view.picture()
    legend.SetVisibility(False)
    after = view.picture()
    assert (np.abs(before.astype(int) - after).max(axis=2) > 50)[:, 330:].sum() > 500


def test_flicker_shows_the_healthy_version_while_held(views: dict[str, Any], opened: Any) -> None:
    view, ui = views["AnomalyScan"], opened.panels["look"].ui
    before = view.picture()
    ui.flickerButton.pressed.emit()
    during = view.picture()
    ui.flickerButton.released.emit()
    np.testing.assert_array_equal(view.picture(), before)
    assert np.abs(during.astype(int) - before).max() > 20


def test_the_three_d_view_shows_findings_in_a_translucent_brain(views: dict[str, Any], opened: Any) -> None:
    view = views["Anomaly3D"]
    with_brain = view.picture().astype(int)
    opened.logic.case.nodes.brain.GetDisplayNode().SetVisibility(False)
    without = view.picture().astype(int)
    opened.logic.case.nodes.segmentation.GetDisplayNode().SetVisibility(False)
    nothing = view.picture().astype(int)
    assert (np.abs(with_brain - without).max(axis=2) > 5).sum() > 2000
    assert (np.abs(without - nothing).max(axis=2) > 30).sum() > 100


def test_a_rejected_finding_leaves_the_views(views: dict[str, Any], opened: Any) -> None:
    view = views["AnomalyScan"]
    before = coloured(view.picture())
    opened.panels["findings"].ui.rejectButton.click()
    assert coloured(view.picture()) < before


def test_the_readers_own_layout_comes_back_when_the_module_is_left(
    rendering: None, panel: Any, slicer: Any
) -> None:
    from AnomalyDetectLib.mrml.views import COMPARE_LAYOUT, layout_node

    layout_node().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    detect(panel, add_scan(slicer))
    assert layout_node().GetViewArrangement() == COMPARE_LAYOUT
    panel.exit()
    assert layout_node().GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
