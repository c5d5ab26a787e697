"""A folder, a list or a BIDS data set as a queue of cases, with decisions that outlive a killed viewer."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

STATE = "anomalydetect_decisions"
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
# Of a BIDS data set only these are whole heads to look at.
BIDS_SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw")
COLUMNS = ("path", "scan", "file", "image")


@dataclass(frozen=True)
class Case:
    """One scan of the queue: its name and its file."""

    name: str
    path: Path


@dataclass
class CaseQueue:
    """The cases in order, the one that is read now, and a folder that remembers every decision.

    folder: where decisions lie, one file a case. at: index of the case that is read.
    """

    cases: Sequence[Case]
    folder: Path
    at: int = 0
    reader: str = ""
    _done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._done = {path.stem for path in self.folder.glob("*.json")}
        unread = [index for index, case in enumerate(self.cases) if case.name not in self._done]
        self.at = unread[0] if unread else len(self.cases) - 1

    @property
    def current(self) -> Case:
        """The case that is read."""
        return self.cases[self.at]

    @property
    def following(self) -> Case | None:
        """The case after it, None at the end."""
        return self.cases[self.at + 1] if self.at + 1 < len(self.cases) else None

    @property
    def n_done(self) -> int:
        """Cases with saved decisions."""
        return sum(case.name in self._done for case in self.cases)

    def move(self, by: int) -> Case:
        """Go to another case; stops at both ends."""
        self.at = min(max(self.at + by, 0), len(self.cases) - 1)
        return self.current

    def save(self, session: str, report: dict[str, Any] | None = None) -> Path:
        """Save the current case's session (`Session.to_json`) with reader and time, whole or not at all."""
        saved = {
            "case": self.current.name,
            "path": str(self.current.path),
            "reader": self.reader,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": (report or {}).get("model"),
            "session": session,
        }
        path = self.folder / f"{self.current.name}.json"
        beside = path.with_suffix(".partial")
        with beside.open("w", encoding="utf-8") as stream:
            json.dump(saved, stream, indent=1, ensure_ascii=False)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
        self._done.add(self.current.name)
        return path

    def saved_session(self) -> str:
        """The session that was saved for the current case; "" when there is none."""
        path = self.folder / f"{self.current.name}.json"
        if not path.is_file():
            return ""
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["session"])
        except (ValueError, KeyError):
            return ""


def open_folder(folder: Path, reader: str = "") -> CaseQueue:
    """Every scan in a folder, or of a BIDS data set, in the order of their names.

    Raises `AnomalyDetectError` when there is none.
    """
    from AnomalyDetectLib.errors import AnomalyDetectError

    found = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES))
    if (folder / "dataset_description.json").is_file():
        found = [path for path in found if _stem(path).rpartition("_")[2] in BIDS_SUFFIXES]
        found = [path for path in found if "derivatives" not in path.relative_to(folder).parts]
    else:
        found = [path for path in found if path.parent == folder]
    if not found:
        raise AnomalyDetectError(f"{folder}: no scans (.nii, .nii.gz, .nrrd, .mha) in this folder")
    return CaseQueue(_named(found), folder / STATE, reader=reader)


def open_list(table: Path, reader: str = "") -> CaseQueue:
    """The scans that a CSV file lists in a column path, scan, file or image; relative to the file's folder.

    Raises `AnomalyDetectError` without such a column, or when a scan is not there.
    """
    from AnomalyDetectLib.errors import AnomalyDetectError

    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        column = next((name for name in rows.fieldnames or () if name.strip().lower() in COLUMNS), None)
        if column is None:
            raise AnomalyDetectError(
                f"{table.name}: no column {', '.join(COLUMNS)}; name the scans' column so"
            )
        paths = [table.parent / row[column].strip() for row in rows if (row[column] or "").strip()]
    absent = [path for path in paths if not path.is_file()]
    if absent or not paths:
        raise AnomalyDetectError(f"{table.name}: {absent[0] if absent else 'no scan'} is not there")
    return CaseQueue(_named(paths), table.parent / f"{table.stem}_{STATE}", reader=reader)


def _stem(path: Path) -> str:
    lower = path.name.lower()
    suffix = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(suffix))
    return path.name[: -len(suffix)]


def _named(paths: Sequence[Path]) -> list[Case]:
    """Cases with names that differ: decisions must never go to another scan."""
    names: dict[str, int] = {}
    cases = []
    for path in paths:
        name = _stem(path)
        names[name] = names.get(name, 0) + 1
        cases.append(Case(name if names[name] == 1 else f"{name}_{names[name]}", path))
    return cases
