"""A case folder as `anomalydetect run` wrote it, and the finding in it that is to be explained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AnomalyDetectLib.errors import CaseError
from AnomalyDetectLib.io.read import read_mask, read_volume
from AnomalyDetectLib.volume import Affine, BoolArray, Grid, Volume


@dataclass(frozen=True)
class Sources:
    """Files that stand in for those that report.json names, None where those are good. also: of the second
    sequence. brain_mask: what the run was given as such, on the scan's grid.
    """

    scan: Path | None = None
    also: Path | None = None
    brain_mask: Path | None = None


@dataclass(frozen=True)
class FindingCase:
    """One finding with all that it was found in.

    folder: of the case. report: what report.json holds. row: the finding's there. finding, others: bool
    (i,j,k) on the scan's grid, this finding and all others. volume: the scan. brain: bool (i,j,k) that was
    given, or None. also: the second sequence, on its own grid. second_from_first: 4x4, RAS mm of the scan to
    RAS mm of the second sequence.
    """

    folder: Path
    report: dict[str, Any]
    row: dict[str, Any]
    finding: BoolArray
    others: BoolArray
    volume: Volume
    brain: BoolArray | None
    also: Volume | None
    second_from_first: Affine

    @property
    def sign(self) -> int:
        """1 for a finding that is brighter than expected, -1 for a darker one."""
        return 1 if self.row["sign"] == "bright" else -1


def read_case(folder: Path, finding: int, sources: Sources) -> FindingCase:
    """Read a case folder. finding: the number in findings.csv.

    Raises `CaseError` when the folder isn't a case, when it holds no such finding, and when the scan isn't
    there or lies on another grid; `VolumeError` for a file that can't be read.
    """
    report = read_report(folder)
    row = row_of(report, finding, folder)
    labels = read_volume(folder / "mask.nii.gz")
    volume = read_volume(source(report, sources.scan, folder, "--scan"), report.get("modality"))
    check_grid(volume, labels.grid, folder)
    second, second_from_first = report.get("also"), np.eye(4)
    also = None
    if second:
        also = read_volume(source(second, sources.also, folder, "--also"), second.get("modality"))
        second_from_first = np.asarray(second["second_from_first"], dtype=np.float64)
    mask = sources.brain_mask
    here = np.asarray(labels.array == finding)
    if not here.any():
        raise CaseError(f"{folder / 'mask.nii.gz'}: no voxel of finding {finding}; run the case again")
    return FindingCase(
        folder=folder,
        report=report,
        row=row,
        finding=here,
        others=np.asarray((labels.array != 0) & ~here),
        volume=volume,
        brain=None if mask is None else read_mask(mask, volume.grid),
        also=also,
        second_from_first=second_from_first,
    )


def read_report(folder: Path) -> dict[str, Any]:
    """What report.json of a case folder holds. Raises `CaseError` when it isn't one."""
    path = folder / "report.json"
    if not path.is_file() or not (folder / "mask.nii.gz").is_file():
        raise CaseError(f"{folder}: no report.json and mask.nii.gz; give a folder that `run` wrote")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(report["findings"], list) or not isinstance(report["model"]["name"], str):
            raise TypeError("findings or model of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError(f"{path}: can't be understood ({error}); run the case again") from error
    return dict(report)


def row_of(report: dict[str, Any], finding: int, folder: Path) -> dict[str, Any]:
    """The row of one finding. Raises `CaseError`, with the numbers that there are."""
    rows = {int(row["id"]): row for row in report["findings"]}
    if finding not in rows:
        there = ", ".join(map(str, sorted(rows))) or "none"
        raise CaseError(f"finding {finding}: {folder} holds no such finding; there are: {there}")
    return dict(rows[finding])


def source(used: dict[str, Any], given: Path | None, folder: Path, option: str) -> Path:
    """The file of a scan: the given one, else the one that the report names. Raises `CaseError`."""
    path = given or Path(str(used.get("input") or ""))
    if not str(used.get("input") or given or ""):
        raise CaseError(f"{folder / 'report.json'}: names no scan; say where it is with {option} PATH")
    if not path.exists():
        raise CaseError(f"{path}: the scan of {folder} isn't there; say where it is with {option} PATH")
    return path


def check_grid(volume: Volume, grid: Grid, folder: Path) -> None:
    """Raises `CaseError` when a scan can't be the one that a case was made from."""
    if not volume.grid.same_as(grid, tolerance_mm=0.1):
        raise CaseError(
            f"{volume.name}: {volume.grid.shape} voxels, and those of {folder} are {grid.shape}, or lie "
            "elsewhere; give the scan that the case was made from with --scan PATH"
        )
