"""explain(): from a case and one of its findings to the reasons for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from AnomalyDetectLib.explain.attributed import Attribution, attributed
from AnomalyDetectLib.explain.case import FindingCase
from AnomalyDetectLib.explain.opinions import Opinion, opinions
from AnomalyDetectLib.explain.parts import Parts, take_apart
from AnomalyDetectLib.explain.views import Load, SequenceView, carrier, views_of
from AnomalyDetectLib.pipeline import Progress, Stages
from AnomalyDetectLib.prepare.head_network import HeadNetwork

STAGES = ("prepare", "compare", "attribute", "occlude")


@dataclass(frozen=True)
class Explanation:
    """Why a finding is one.

    views: of each sequence. view: of the one that carried it. carried: share of the finding's voxels in which
    each one spoke. parts: by sequence. opinions: of the models, the one that found it first. seconds: wall
    time of each stage.
    """

    case: FindingCase
    views: tuple[SequenceView, ...]
    view: SequenceView
    carried: dict[str, float]
    parts: dict[str, Parts]
    opinions: list[Opinion]
    attribution: Attribution
    seconds: dict[str, float]


def explain(
    case: FindingCase,
    network: HeadNetwork,
    load: Load,
    *,
    progress: Progress = lambda stage, share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Explanation:
    """Walk the road again for a case, and look closely at one finding.

    network: the head network. load: a model with its calibration. progress: called with a stage and the share
    that lies behind. cancelled: asked between stages and between passes of the network.
    Raises as `views_of` does; `Cancelled`.
    """
    stage = Stages(STAGES, case.volume.name, progress, cancelled)
    with stage("prepare"):
        views = views_of(case, network, load)
        view, carried = carrier(case, views)
        parts = {one.name: take_apart(one, case.sign) for one in views}
    with stage("compare"):
        judged = opinions(case, view, load)
    with stage("attribute"):
        found = attributed(view, parts[view.name], case.sign, cancelled, lambda: progress("occlude", 0.75))
    return Explanation(case, views, view, carried, parts, judged, found, stage.seconds)
