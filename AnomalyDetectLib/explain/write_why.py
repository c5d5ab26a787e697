"""why_<finding>/: picture and numbers of an explanation, both or none, in the case's own folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from AnomalyDetectLib.explain.case import Sources, read_case
from AnomalyDetectLib.explain.crop import crop_of
from AnomalyDetectLib.explain.explain import explain
from AnomalyDetectLib.explain.picture import write_picture
from AnomalyDetectLib.explain.views import Load
from AnomalyDetectLib.explain.why_json import numbers_of
from AnomalyDetectLib.io.write import WHY_FILES, results_folder
from AnomalyDetectLib.pipeline import Progress
from AnomalyDetectLib.prepare.head_network import HeadNetwork

PICTURE, NUMBERS = WHY_FILES


def explain_case(
    folder: Path,
    finding: int,
    network: HeadNetwork,
    load: Load,
    sources: Sources | None = None,
    *,
    progress: Progress = lambda stage, share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Path, dict[str, Any]]:
    """Explain a finding of a case folder and write `folder`/why_<finding>/; that folder, and what why.json
    holds.

    finding: the number in findings.csv. network: the head network. load: a model with its calibration.
    Raises `CaseError`, `VolumeError`, `ModelError`, `PreparationError`, `ScanRefused`, `Cancelled`;
    `OutputError` when the place can't be written. Then nothing new is left behind.
    """
    case = read_case(folder, finding, sources or Sources())
    found = explain(case, network, load, progress=progress, cancelled=cancelled)
    numbers = numbers_of(found)
    name = f"why_{finding}"
    progress("write", 1.0)
    with results_folder(folder, name) as place:
        write_picture(crop_of(found), numbers, place / PICTURE)
        text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
        (place / NUMBERS).write_text(text + "\n", encoding="utf-8")
    return folder / name, numbers
