"""The worker's files as one result in memory, read beside the event loop: no node is touched here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.engine import FindingsEngine
    from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
    from AnomalyDetectLib.findings.settings import FindingsSettings
    from AnomalyDetectLib.scoring.maps import AnomalyMaps

MAPS = ("healthy", "residual", "score", "uncertainty")
COARSE_STEP = 4
# The score's colours end here, or farther out where a model's thresholds lie high.
SCORE_LIMIT_Z, LARGEST_LIMIT = 10.0, 2.0


@dataclass(frozen=True, eq=False)
class Result:
    """One case as the worker left it.

    maps: on the scan's grid. engine: built on them. settings: that the worker chose. report: report.json.
    expected: false alarms in a healthy brain that were asked for, None without calibration. arrays: the maps,
    and what the engine needs beside them, as VTK stores them, (k,j,i). limits: largest value to
    show of score, residual, uncertainty. surface: vtkPolyData of the brain's outside, RAS mm.
    """

    maps: AnomalyMaps
    engine: FindingsEngine
    settings: FindingsSettings
    report: Mapping[str, Any]
    expected: float | None
    arrays: Mapping[str, NDArray[Any]]
    limits: Mapping[str, float]
    surface: Any


def read_result(files: Mapping[str, str], expected: float | None = None) -> Result:
    """Read what the worker wrote. files: path by name. expected: false alarms a healthy brain; None: the
    report's.

    Raises `AnomalyDetectError` when a file is missing or damaged.
    """
    from AnomalyDetectLib.io.read import read_volume
    from AnomalyDetectLib.io.write import BRAIN, REGIONS, SEQUENCES
    from AnomalyDetectLib.scoring.maps import AnomalyMaps

    report = json.loads(Path(files["report"]).read_text(encoding="utf-8"))
    volumes = {name: _read(files[name], read_volume) for name in MAPS}
    grid = volumes["score"].grid
    arrays = {name: volume.array for name, volume in volumes.items()}
    beside = {
        name: _read(str(path), read_volume).array.astype(np.uint8)
        for name in (REGIONS, BRAIN, SEQUENCES)
        if (path := Path(files["score"]).with_name(name)).is_file()
    }
    maps = AnomalyMaps(
        grid=grid,
        brain=beside.get(BRAIN, arrays["score"]) != 0,
        region=beside.get(REGIONS),
        image_score=report.get("image_score"),
        image_p=report.get("image_p"),
        sequence=beside.get(SEQUENCES),
        sequence_names=tuple(report.get("sequences", ())),
        **arrays,
    )
    return built(maps, report, expected)


def built(maps: AnomalyMaps, report: Mapping[str, Any], expected: float | None = None) -> Result:
    """The engine on maps, with the calibration of the models that the report names."""
    from AnomalyDetectLib.findings.engine import FindingsEngine
    from AnomalyDetectLib.findings.settings import FindingsSettings

    table = calibration_of(report)
    engine = FindingsEngine(maps, false_alarms=table, atlas=_atlas())
    threshold = float(report.get("threshold", FindingsSettings().threshold))
    settings = FindingsSettings(threshold=threshold, hide_uncertain=False)  # a reader sees them, marked
    if expected is None:
        expected = report.get("expected_false_alarms")
    if table is not None and expected is not None:
        settings = settings.changed(threshold=table.threshold_for(expected, settings))
    engine.at(settings)  # the first slider step finds the stages ready
    arrays = {name: np.ascontiguousarray(getattr(maps, name).T) for name in MAPS}
    arrays["brain_mask"] = np.ascontiguousarray(maps.brain.T).view(np.uint8)
    if maps.region is not None:
        arrays["regions"] = np.ascontiguousarray(maps.region.T)
    if maps.sequence is not None:
        arrays["sequences"] = np.ascontiguousarray(maps.sequence.T)
    limits = {
        "score": max(SCORE_LIMIT_Z, min(engine.largest_score, LARGEST_LIMIT * settings.threshold)),
        "residual": _limit(np.abs(maps.residual[maps.brain])),
        "uncertainty": _limit(maps.uncertainty[maps.brain]),
    }
    surface = brain_surface(maps.brain, maps.grid.affine)
    return Result(maps, engine, settings, report, expected, arrays, limits, surface)


def _limit(values: NDArray[np.floating[Any]]) -> float:
    """The 99.9th percentile: one hot voxel must not make all others pale."""
    return max(float(np.percentile(values[::7], 99.9)), 1e-3) if values.size else 1.0


def calibration_of(report: Mapping[str, Any]) -> FalseAlarmTable | None:
    """The calibration that a report's findings were made with; of two sequences the sum of both."""
    from AnomalyDetectLib.findings.false_alarms import summed

    tables = [
        false_alarm_table(str(used.get("model", {}).get("name", "")), str(used.get("modality", "")))
        for used in (report, report.get("also"))
        if used is not None
    ]
    return tables[0] if len(tables) == 1 else summed(*tables)


def false_alarm_table(model: str, contrast: str = "") -> FalseAlarmTable | None:
    """A model's calibration for a contrast, its checksum verified; None when the model has none.

    Raises `ModelError` when the file is not the one that the card names. Reads the card as it stands: the
    library's own reader would import torch into the viewer.
    """
    from AnomalyDetectLib.checksums import sha256_of
    from AnomalyDetectLib.errors import ModelError
    from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
    from AnomalyDetectLib.resources import resources_folder

    folder = resources_folder() / "Models" / model
    if not model or not (folder / "card.json").is_file():
        return None
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    first = contrast in ("", card["contrasts"][0])
    path = folder / ("false_alarms.json" if first else f"false_alarms-{contrast}.json")
    if not path.is_file():
        return None
    if sha256_of(path) != card["sha256"].get(path.name):
        raise ModelError(f"{model}: {path.name} is not the card's; install the model again")
    return FalseAlarmTable.from_json(path.read_text(encoding="utf-8"))


def brain_surface(brain: NDArray[np.bool_], ijk_to_ras: NDArray[np.floating[Any]]) -> Any:
    """The brain's outside as vtkPolyData, RAS mm, from a mask (i,j,k) averaged over cubes of four voxels."""
    import vtk
    from vtk.util import numpy_support

    step = COARSE_STEP
    shape = [-(-size // step) for size in brain.shape]
    padded = np.zeros([size * step for size in shape], dtype=np.float32)
    padded[tuple(slice(0, size) for size in brain.shape)] = brain
    coarse = padded.reshape(shape[0], step, shape[1], step, shape[2], step).mean(axis=(1, 3, 5))
    coarse = np.pad(coarse, 1)
    image = vtk.vtkImageData()
    image.SetDimensions(*coarse.shape)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(coarse.ravel(order="F"), deep=1))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    smoother = vtk.vtkWindowedSincPolyDataFilter()
    smoother.SetInputConnection(contour.GetOutputPort())
    smoother.SetNumberOfIterations(12)
    smoother.SetPassBand(0.05)
    placed = np.eye(4)
    placed[:3, :3] *= step
    placed[:3, 3] = (step - 1) / 2 - step
    matrix, transform = np.asarray(ijk_to_ras) @ placed, vtk.vtkTransform()
    transform.SetMatrix([float(value) for value in matrix.ravel()])
    mover = vtk.vtkTransformPolyDataFilter()
    mover.SetTransform(transform)
    mover.SetInputConnection(smoother.GetOutputPort())
    mover.Update()
    return mover.GetOutput()


def _read(path: str, read_volume: Any) -> Any:
    """A map of one value everywhere (nothing uncertain, nothing found) is as good as any other."""
    import nibabel as nib

    from AnomalyDetectLib.errors import VolumeError
    from AnomalyDetectLib.volume import Volume

    try:
        return read_volume(path)
    except VolumeError:
        image: Any = nib.load(path)
        return Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine, None, Path(path).name)


def _atlas() -> Any:
    from AnomalyDetectLib.findings.atlas import RegionAtlas
    from AnomalyDetectLib.resources import resource

    return RegionAtlas.load(resource("Template", "regions.tsv"))
