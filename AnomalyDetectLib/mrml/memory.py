"""What a saved scene needs to take a case up again.

It lies on the case's own segmentation node, so that every case of a scene keeps its own, also in a scene that
is imported beside another one, where nodes get other IDs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from AnomalyDetectLib.mrml.scan import affine

if TYPE_CHECKING:
    from AnomalyDetectLib.mrml.case_nodes import CaseNodes

REPORT, SESSION, PLACED = "AnomalyDetect.Report", "AnomalyDetect.Session", "AnomalyDetect.Placed"


@dataclass(frozen=True)
class Memory:
    """What was known of a case when its scene was saved.

    report: of the worker. session: `Session.to_json`, "" for none. lost: whether there was one that can't be
    taken over, because Slicer's files turn a left-handed grid around and decisions are kept by voxel.
    """

    report: Mapping[str, Any]
    session: str
    lost: bool = False


def remember_report(nodes: CaseNodes, report: Mapping[str, Any]) -> None:
    """Keep the worker's report, and where the scan's voxels lie now."""
    nodes.segmentation.SetAttribute(REPORT, json.dumps(dict(report)))
    nodes.segmentation.SetAttribute(PLACED, _placed(nodes.scan))


def remember_session(nodes: CaseNodes, session: str) -> None:
    """Keep settings and decisions."""
    nodes.segmentation.SetAttribute(SESSION, json.dumps(session))  # ASCII, whatever the notes are written in


def recall(nodes: CaseNodes) -> Memory:
    """What was kept with a case that a scene holds."""
    report = json.loads(nodes.segmentation.GetAttribute(REPORT) or "{}")
    session = json.loads(nodes.segmentation.GetAttribute(SESSION) or '""')
    lost = bool(session) and nodes.segmentation.GetAttribute(PLACED) != _placed(nodes.scan)
    return Memory(report, "" if lost else session, lost)


def _placed(scan: Any) -> str:
    """A volume's IJK to RAS, rounded to 0.001 mm, which files keep."""
    return json.dumps([[round(float(value), 3) + 0.0 for value in row] for row in affine(scan)])
