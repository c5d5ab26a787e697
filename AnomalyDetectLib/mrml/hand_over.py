"""Findings leave the module: as a segmentation of their own, as files, as a report with the decisions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from AnomalyDetectLib.mrml.detection_run import safe_name
from AnomalyDetectLib.mrml.scan import voxels
from AnomalyDetectLib.mrml.segments import BINARY_LABELMAP, segment_id

if TYPE_CHECKING:
    from AnomalyDetectLib.mrml.open_case import OpenCase

SERIES_IS_GONE = "the files of the scan's DICOM series are not there any more; import the series again"


def to_segmentation(case: OpenCase, target: Any = None) -> tuple[Any, Callable[[], None]]:
    """Copy the findings that were not rejected into a segmentation; the node, and what takes it back.

    target: a segmentation to add to; its own segments, locked or not, are never touched, and findings lie in
    a layer of their own. None: a new one.
    """
    added = target is None
    node = target or slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", f"{case.nodes.scan.GetName()} lesions"
    )
    if added:
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(case.nodes.scan)
        node.SetAndObserveTransformNodeID(case.nodes.scan.GetTransformNodeID())
    image = _labelmap(case)
    names = []
    for row in case.session.accepted.table:
        ours = case.nodes.segmentation.GetSegmentation().GetSegment(segment_id(row.id))
        segment = slicer.vtkSegment()
        segment.SetName(ours.GetName())
        segment.SetColor(ours.GetColor())
        segment.SetLabelValue(row.id)
        tag, text = slicer.vtkSegment.GetTerminologyEntryTagName(), vtk.reference("")
        if ours.GetTag(tag, text):
            segment.SetTag(tag, str(text))
        segment.AddRepresentation(BINARY_LABELMAP, image)
        name = node.GetSegmentation().GenerateUniqueSegmentID("AnomalyDetect_1")
        node.GetSegmentation().AddSegment(segment, name)
        names.append(name)

    def take_back() -> None:
        if node.GetScene() is None:
            return
        if added:
            slicer.mrmlScene.RemoveNode(node)
            return
        for name in names:
            if node.GetSegmentation().GetSegment(name) is not None:
                node.GetSegmentation().RemoveSegment(name)

    return node, take_back


def write_nifti_labelmap(case: OpenCase, folder: Path) -> Path:
    """The findings that were not rejected, by id, as NIfTI on the scan's grid."""
    from AnomalyDetectLib.io.write import write_nifti

    path = _place(case, folder, "findings.nii.gz")
    write_nifti(case.session.accepted.labelmap, case.result.maps.grid, path)
    return path


def write_segmentation(case: OpenCase, folder: Path) -> Path:
    """The findings that were not rejected as .seg.nrrd. Raises `OutputError` when it can't be written."""
    from AnomalyDetectLib.errors import OutputError

    path = _place(case, folder, "findings.seg.nrrd")
    node, take_back = to_segmentation(case)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    try:
        storage.SetFileName(str(path))
        if not storage.WriteData(node):
            raise OutputError(f"{path}: could not be written; choose another folder")
    finally:
        take_back()
        slicer.mrmlScene.RemoveNode(storage)
    return path


def write_report(case: OpenCase, folder: Path, reader: str = "") -> Path:
    """report.html to read, with the findings as they are now, the reader's decisions, who decided and when;
    beside it the same as report.json, and a CSV table. The path of report.html.

    Raises `OutputError` when the page can't be written.
    """
    from dataclasses import asdict

    from AnomalyDetectLib.report.findings_csv import write_findings_csv
    from AnomalyDetectLib.report.html import write_html
    from AnomalyDetectLib.report.report_json import plain

    findings, decisions = case.session.findings, case.session.decisions
    rows = [
        plain(asdict(row))
        | {
            "verdict": decisions[row.id].verdict if row.id in decisions else None,
            "note": decisions[row.id].note if row.id in decisions else "",
        }
        for row in findings.table
    ]
    report = dict(case.result.report) | {
        "threshold": plain(findings.settings.threshold),
        "expected_false_alarms": plain(case.expected()),
        "settings": findings.settings.to_dict(),
        "n_findings": len(findings),
        "findings_ml": round(findings.total_ml, 3),
        "findings": rows,
        "reader": reader,
        "decided": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    path = _place(case, folder, "report.json")
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_findings_csv(case.session.accepted.table, path.with_name("findings.csv"))
    page = path.with_name("report.html")
    with tempfile.TemporaryDirectory(prefix="anomalydetect-") as place:
        preview = Path(place) / "preview.png"
        _draw(case, preview)
        write_html(report, preview, page, decisions)
    return page


def write_scene(path: Path) -> Path:
    """The whole scene as one .mrb file. Raises `OutputError` when it can't be written."""
    from AnomalyDetectLib.errors import OutputError

    path.parent.mkdir(parents=True, exist_ok=True)
    if not slicer.util.saveScene(str(path)):
        raise OutputError(f"{path}: the scene could not be written; choose another folder")
    return path


def write_case(case: OpenCase, folder: Path, reader: str = "") -> Path:
    """Everything: maps, label map, segmentation, table, report and scene; the folder."""
    from AnomalyDetectLib.io.write import write_nifti

    maps = case.result.maps
    for name in ("healthy", "residual", "score", "uncertainty"):
        write_nifti(getattr(maps, name), maps.grid, _place(case, folder, f"{name}.nii.gz"))
    write_nifti_labelmap(case, folder)
    write_segmentation(case, folder)
    write_report(case, folder, reader)
    return write_scene(_place(case, folder, "scene.mrb")).parent


def write_dicom_seg(case: OpenCase, folder: Path) -> Path:
    """The findings that were not rejected as DICOM SEG, without Slicer's own plugin.

    Raises `AnomalyDetectError` when the series is no longer there or can't be referred to.
    """
    import pydicom

    from AnomalyDetectLib.errors import OutputError
    from AnomalyDetectLib.report.dicom_seg import write_dicom_seg as write
    from AnomalyDetectLib.report.report_json import ModelUsed

    file = source_file(case)
    if file is None:
        raise OutputError(f"{case.nodes.scan.GetName()}: {SERIES_IS_GONE}")
    accepted, model = case.session.accepted, case.result.report.get("model", {})
    path = _place(case, folder, "findings.dcm")
    write(
        accepted.labelmap,
        case.result.maps.grid,
        accepted.table,
        file.parent,
        path,
        ModelUsed(str(model.get("name", "")), str(model.get("version", ""))),
        series=str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID),
    )
    return path


def source_file(case: OpenCase) -> Path | None:
    """One file of the DICOM series that the scan was loaded from; None when Slicer knows none."""
    uids = str(case.nodes.scan.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return None
    name = str(database.fileForInstance(uids[0]) or "")
    return Path(name) if name and Path(name).is_file() else None


def has_dicom_plugin() -> bool:
    """Whether Slicer has a plugin of its own that exports segmentations to DICOM."""
    return "DICOMSegmentationPlugin" in getattr(slicer.modules, "dicomPlugins", {})


def why_not_dicom(case: OpenCase | None) -> str:
    """Why the findings can't be written as DICOM SEG; "" when they can."""
    if case is None:
        return "detect anomalies first"
    if case.nodes.scan.GetAttribute("DICOM.instanceUIDs") is None:
        return "the scan was not loaded from DICOM, so there is no series that a DICOM SEG could refer to"
    if has_dicom_plugin():
        return ""
    if find_spec("highdicom") is None:
        return (
            "install the extension QuantitativeReporting, which writes DICOM SEG, and restart Slicer; or "
            'type slicer.util.pip_install("highdicom") into the Python console'
        )
    return "" if source_file(case) is not None else SERIES_IS_GONE


def _labelmap(case: OpenCase) -> Any:
    """The accepted findings as vtkOrientedImageData of their own, which no later slider step changes."""
    accepted = case.session.accepted
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*accepted.maps.grid.shape)
    image.AllocateScalars(vtk.VTK_INT, 1)
    matrix = vtk.vtkMatrix4x4()
    case.nodes.score.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = np.ravel(accepted.labelmap, order="F")
    return image


def _draw(case: OpenCase, path: Path) -> None:
    """The case as it is shown now, without the findings that were rejected, as a PNG file."""
    from AnomalyDetectLib.report.preview import write_preview
    from AnomalyDetectLib.volume import Volume

    maps, accepted = case.result.maps, case.session.accepted
    model = case.result.report.get("model", {})
    name = str(case.nodes.scan.GetName())
    write_preview(
        Volume(voxels(case.nodes.scan), maps.grid.affine, None, name),
        maps,
        accepted.labelmap,
        accepted.table,
        path,
        case=name,
        model=f"{model.get('name', '')} {model.get('version', '')}".strip(),
        threshold=case.session.settings.threshold,
    )


def _place(case: OpenCase, folder: Path, name: str) -> Path:
    own = folder / safe_name(str(case.nodes.scan.GetName()))
    own.mkdir(parents=True, exist_ok=True)
    return own / name
