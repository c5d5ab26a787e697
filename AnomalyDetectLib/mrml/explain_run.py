"""Why a finding is one: the open case as a folder for the worker, and the picture that it makes of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from AnomalyDetectLib.mrml.background import Background
from AnomalyDetectLib.mrml.detection_run import Run, Steps, waiting
from AnomalyDetectLib.mrml.mailbox import Message, PostOffice
from AnomalyDetectLib.mrml.open_case import OpenCase


class ExplainRun(Run):
    """Call `poll` from a timer until a message of type explained, error, crashed or cancelled comes.

    The message of type explained has `picture`, the path of a PNG file in the folder that was given, and
    `numbers`, what why.json holds. The scene is never touched.
    """

    def __init__(
        self,
        office: PostOffice,
        case: OpenCase,
        finding: int,
        pictures: Path,
        device: str = "auto",
        mask: Any = None,
        also: Any = None,
    ) -> None:
        """finding: id. pictures: a folder that outlives the run. mask, also: the detection's volume nodes."""
        super().__init__(office, case.nodes.scan)
        self._finding, self._pictures = finding, pictures
        request = {"type": "explain", "folder": str(self._folder), "finding": finding, "device": device}
        self._steps = self._walk(case, request, mask, also)

    def _walk(self, case: OpenCase, request: Message, mask: Any, also: Any) -> Steps:
        report, findings = case_report(case), case.findings
        grid = case.result.maps.grid

        def write() -> None:
            from AnomalyDetectLib.io.write import write_nifti

            write_nifti(findings.labelmap.astype(np.int32), grid, self._folder / "mask.nii.gz")
            text = json.dumps(report, ensure_ascii=False)
            (self._folder / "report.json").write_text(text, encoding="utf-8")

        yield from waiting(Background(write))
        for messages in self._answers(request, mask, also if report.get("also") else None):
            yield [self._kept(message) for message in messages]

    def _kept(self, message: Message) -> Message:
        """A message whose picture lies where it stays: the run's own folder goes with it."""
        if message["type"] != "explained":
            return message
        picture = self._pictures / f"why_{self._finding}.png"
        shutil.copy(message["files"]["picture"], picture)
        return message | {"finding": self._finding, "picture": str(picture)}


def case_report(case: OpenCase) -> dict[str, Any]:
    """The report of a case with the findings as they are shown now."""
    from AnomalyDetectLib.report.report_json import plain

    report, settings = dict(case.result.report), case.findings.settings
    report["findings"] = [plain(asdict(row)) for row in case.findings.table]
    report["threshold"], report["settings"] = plain(settings.threshold), settings.to_dict()
    report["expected_false_alarms"] = plain(case.expected())
    report["case"] = str(case.nodes.scan.GetName())
    return report


def why_not_explained(case: OpenCase | None, also: Any) -> str:
    """Why no finding of a case can be explained; "" when it can. also: the second sequence that is chosen."""
    if case is None:
        return "detect anomalies first"
    if case.result.report.get("also") and also is None:
        return "choose the second sequence again under the volume: the findings come from both"
    return ""
