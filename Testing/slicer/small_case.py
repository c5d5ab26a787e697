"""A small scan with five findings, and a client that answers as the worker would, at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from AnomalyDetectLib.io.write import write_nifti
from AnomalyDetectLib.volume import Grid

SHAPE = (56, 64, 48)
# i, j, k from and to, and the score in z; at 2 mm a cube of 4 voxels is half a millilitre.
BLOBS = (
    ((14, 20), (20, 28), (18, 24), 8.0),
    ((34, 40), (40, 45), (22, 27), -7.0),
    ((30, 34), (18, 22), (30, 34), 6.0),
    ((20, 23), (40, 43), (30, 33), 5.0),
    ((40, 43), (26, 29), (16, 19), -4.5),
)
AFFINE = np.array([[2.0, 0, 0, -55], [0, 2.0, 0, -60], [0, 0, 2.0, -40], [0, 0, 0, 1]])


def brain() -> np.ndarray:
    """An ellipsoid, bool (i,j,k)."""
    axes = [np.linspace(-1.15, 1.15, size) for size in SHAPE]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    return i**2 + j**2 + k**2 < 1


def scan_array(seed: int = 0) -> np.ndarray:
    """The scan, float32 (i,j,k)."""
    noise = np.random.default_rng(seed).normal(0, 3, SHAPE)
    image = np.where(brain(), 100 + noise, 0)
    for i, j, k, z in BLOBS:
        image[slice(*i), slice(*j), slice(*k)] += 8 * z
    return image.astype(np.float32)


def score_array() -> np.ndarray:
    """The score, float32 (i,j,k), z."""
    noise = np.random.default_rng(1).uniform(-1.5, 1.5, SHAPE)
    score = np.where(brain(), noise, 0)
    for i, j, k, z in BLOBS:
        score[slice(*i), slice(*j), slice(*k)] = z
    return np.where(brain(), score, 0).astype(np.float32)


def write_results(
    folder: Path, affine: np.ndarray = AFFINE, threshold: float = 4.0, model: str = ""
) -> dict[str, str]:
    """The worker's files of the small scan; path by name. model: whose calibration; "" for none."""
    folder.mkdir(parents=True, exist_ok=True)
    grid, score = Grid(SHAPE, affine), score_array()
    regions = np.where(brain(), 1 + (np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None, None], 0)
    maps = {
        "healthy": np.where(brain(), 100, 0).astype(np.float32),
        "residual": score * 8,
        "score": score,
        "uncertainty": np.where(brain(), 1 + np.abs(score) / 20, 0).astype(np.float32),
        "regions": regions.astype(np.uint8),
        "brain": brain().astype(np.uint8),
    }
    for name, array in maps.items():
        write_nifti(array, grid, folder / f"{name}.nii.gz")
    report = {
        "case": "small",
        "modality": "T1",
        "model": {"name": model, "version": "1.0"},
        "threshold": threshold,
        "expected_false_alarms": 1.0 if model else None,
        "fit": {"verdict": "ok", "reasons": []},
        "seconds": {"prepare": 1.0},
        "device": "cpu",
        "image_score": 2.0,
        "image_p": 0.05,
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return {name: str(folder / f"{name}.nii.gz") for name in maps} | {"report": str(folder / "report.json")}


def add_scan(slicer: Any, affine: np.ndarray = AFFINE, name: str = "small") -> Any:
    """The small scan as a volume node."""
    from AnomalyDetectLib.mrml.scan import set_affine

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    set_affine(node, affine)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(scan_array().T))
    node.CreateDefaultDisplayNodes()
    return node


class ReplayClient:
    """Answers every detection with the same files, and every question why with the same picture; `held`
    answers wait until they are let go.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.held = False
        self.requests: list[dict[str, Any]] = []
        self.devices: list[dict[str, Any]] = [{"name": "cpu", "label": "CPU", "free_bytes": None}]
        self.instead: dict[str, Any] | None = None
        self.picture = ""
        self._queue: list[dict[str, Any]] = []

    def submit(self, request: dict[str, Any]) -> None:
        """Answer with progress, then the files, or with `instead`."""
        base = {"id": request["id"]}
        if request["type"] == "devices":
            self._queue.append(base | {"type": "devices", "devices": self.devices})
            return
        self.requests.append(request)
        if request["type"] == "check":
            fit = {"type": "fit", "verdict": "warn", "reasons": ["coarse voxels"], "modality": "T1"}
            self._queue.append(base | fit)
            return
        if request["type"] == "explain":
            progress = {"type": "progress", "stage": "attribute", "fraction": 0.4, "seconds": 1.0}
            done = {"type": "explained", "files": {"picture": self.picture}, "numbers": {}, "seconds": 3.0}
            self._queue += [base | progress, base | (self.instead or done)]
            return
        self._queue.append(base | {"type": "progress", "stage": "rebuild", "fraction": 0.5, "seconds": 1.0})
        self._queue.append(base | (self.instead or {"type": "done", "files": self.files, "seconds": 2.0}))

    def poll(self) -> list[dict[str, Any]]:
        """One answer at a time."""
        if not self._queue or (self.held and self._queue[0]["type"] in ("done", "explained")):
            return []
        return [self._queue.pop(0)]

    def cancel(self) -> None:
        """As the worker when it is ended."""
        self._queue = [{"type": "cancelled"}]

    def close(self) -> None:
        """Nothing to end."""
