"""why.json: the explanation in numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from AnomalyDetectLib import __version__
from AnomalyDetectLib.explain.attributed import Attribution
from AnomalyDetectLib.explain.explain import Explanation
from AnomalyDetectLib.explain.parts import Parts
from AnomalyDetectLib.explain.places import inside_share, places_of
from AnomalyDetectLib.explain.views import SequenceView
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.report.report_json import plain

STRAYED_Z = 0.5  # by so much the score may differ from the case's before the reader is told
MOST_BLOCKS_TOLD = 5


def numbers_of(found: Explanation) -> dict[str, Any]:
    """What why.json holds, as plain JSON values: z, shares 0-1, RAS mm of the case's scan."""
    case, view = found.case, found.view
    told: dict[str, Any] = {
        "case": case.report.get("case", case.folder.name),
        "finding": case.row["id"],
        "location": " ".join(word for word in (case.row.get("side"), case.row.get("location")) if word),
        "sign": case.row["sign"],
        "volume_ml": case.row["volume_ml"],
        "peak_z": case.row["peak_z"],
        "mean_z": case.row["mean_z"],
        "threshold": case.report.get("threshold"),
        "expected_false_alarms": case.report.get("expected_false_alarms"),
        "carried_by": {"peak": view.name, "share_of_voxels": found.carried},
        "evidence": {name: _evidence(parts) for name, parts in found.parts.items()},
        "models": [asdict(opinion) for opinion in found.opinions],
        **attribution_numbers(found.attribution, view),
        "warnings": warnings_of(found),
        "seconds": {name: round(value, 2) for name, value in found.seconds.items()},
        "version": __version__,
        "notice": NOTICE,
    }
    numbers: dict[str, Any] = plain(told)
    return numbers


def attribution_numbers(found: Attribution, view: SequenceView) -> dict[str, Any]:
    """The numbers of every attribution; in place of one that was left out, the reason."""
    told: dict[str, Any] = {name: {"left_out": reason} for name, reason in found.left_out.items()}
    if found.gradients is not None:
        told["integrated_gradients"] = {
            "target_z": found.target,
            "healthy_target_z": found.healthy_target,
            "sum_z": float(found.gradients.sum()),
            "gap_z": found.gap,
            "sum_inside_z": float(found.gradients[view.inside].sum()),
            "share_inside": inside_share(found.gradients, view.inside),
            "places": [asdict(place) for place in places_of(found.gradients, view)],
        }
    if found.occlusion is not None:
        told["occlusion"] = {
            "target_z": found.target,
            "finding_healthy_fall_z": found.occlusion.finding,
            "elsewhere_healthy_fall_z": found.occlusion.elsewhere,
            "blocks": blocks_told(found, view),
        }
    if found.grad_cam is not None:
        told["grad_cam"] = {
            "target_z": found.target,
            "mean_inside": float(found.grad_cam[view.inside].mean()),
            "mean_brain": float(found.grad_cam[view.scan.prepared.brain].mean()),
        }
    return told


def blocks_told(found: Attribution, view: SequenceView) -> list[dict[str, Any]]:
    """The blocks that matter most: centre in RAS mm, volume in ml, share inside the finding, fall in z."""
    assert found.occlusion is not None
    blocks, falls, working = found.occlusion.blocks, found.occlusion.falls, view.way.working
    back = np.linalg.inv(view.way.working_from_input) @ working.affine
    told = []
    for block in np.argsort(-np.abs(falls))[:MOST_BLOCKS_TOLD] + 1:
        here = blocks == block
        centre = back @ np.append(np.argwhere(here).mean(0), 1.0)
        told.append(
            {
                "centre_ras_mm": centre[:3].round(1).tolist(),
                "volume_ml": float(here.sum() * working.voxel_mm3 / 1000),
                "share_inside": float(view.inside[here].mean()),
                "fall_z": float(falls[block - 1]),
            }
        )
    return told


def warnings_of(found: Explanation) -> list[str]:
    """What makes the explanation doubtful, one sentence each."""
    case, said = found.case, []
    card, used = found.views[0].scan.detector.card, case.report["model"]
    if used.get("version") not in (None, card.version):
        said.append(f"the case was made with {card.name} {used['version']}, and here is {card.version}")
    scores = np.array([view.z_in(case.finding) for view in found.views])
    spoken = np.take_along_axis(scores, np.abs(scores).argmax(0)[None], 0)
    strayed = float(spoken.mean()) - float(case.row["mean_z"])
    if abs(strayed) > STRAYED_Z:
        said.append(
            f"computed anew, the finding's mean z differs by {strayed:+.1f} from the case's: another scan, "
            "brain mask or version"
        )
    return said


def _evidence(parts: Parts) -> dict[str, Any]:
    return {
        "mean_z": parts.mean_z,
        "peak_z": parts.peak_z,
        "maps": {name: asdict(part) for name, part in parts.by_name.items()},
    }
