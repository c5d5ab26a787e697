"""Each sequence of a case as its model sees it: prepared, rebuilt, scored, and how the finding lies in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from AnomalyDetectLib.errors import CaseError
from AnomalyDetectLib.explain.case import FindingCase
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.pipeline import Detector, Ready, readied
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepared import WayBack
from AnomalyDetectLib.scoring import detail
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, Volume

# Loads a model with its calibration for a contrast.
Load = Callable[[ModelCard, str], Detector]


@dataclass(frozen=True)
class SequenceView:
    """One sequence with its model.

    name: what the findings' table calls it. way: from the grid of the case's scan to the working grid.
    from_case: 4x4, RAS mm of the case's scan to RAS mm of this one. rebuild: of its model. z: signed,
    calibrated (X,Y,Z). share: float (X,Y,Z), the finding's voxels on the working grid, 1 in all.
    """

    name: str
    scan: Ready
    way: WayBack
    from_case: Affine
    rebuild: Rebuild
    z: FloatArray
    share: FloatArray

    @property
    def inside(self) -> BoolArray:
        """The finding (X,Y,Z): never empty, however small it is."""
        return np.asarray(self.share >= 0.5 * self.share.max())

    def score_on(self, grid: Grid) -> FloatArray:
        """z on a lattice in the space of the case's scan, as sharp as the score has it."""
        scan, sd = self.scan, self.rebuild.expected_sd
        return detail.sharpened_on(self.way.on(grid), self.z, scan.volume, scan.prepared, sd, self.from_case)

    def z_in(self, finding: BoolArray) -> FloatArray:
        """z at the finding's voxels (n,) on the grid of the case's scan."""
        box = detail.brain_box(finding, self.way.input)
        return self.score_on(box.grid)[finding[box.slices]]


def views_of(case: FindingCase, network: HeadNetwork, load: Load) -> tuple[SequenceView, ...]:
    """The case's scan with the model of the report, and its second sequence if it has one.

    Raises `ModelError` for a model that isn't here, `PreparationError` and `ScanRefused` as `detect` does.
    """
    names = tuple(case.report.get("sequences") or ()) or (str(case.report.get("modality")),)
    views = [_view(case, case.volume, names[0], case.report, np.eye(4), network, load)]
    if case.also is not None:
        second = case.report["also"]
        views.append(_view(case, case.also, names[-1], second, case.second_from_first, network, load))
    return tuple(views)


def carrier(case: FindingCase, views: tuple[SequenceView, ...]) -> tuple[SequenceView, dict[str, float]]:
    """The sequence that the finding's peak was seen in, and the share of its voxels that each spoke in."""
    z = np.abs([view.z_in(case.finding) for view in views])
    shares = np.bincount(z.argmax(0), minlength=len(views)) / z.shape[1]
    peak = str(case.row.get("sequence") or "")
    chosen = next((view for view in views if view.name == peak), views[int(shares.argmax())])
    return chosen, {view.name: float(share) for view, share in zip(views, shares, strict=True)}


def _view(
    case: FindingCase,
    volume: Volume,
    name: str,
    used: dict[str, object],
    from_case: Affine,
    network: HeadNetwork,
    load: Load,
) -> SequenceView:
    model = used.get("model")
    card = zoo.choose(str(model["name"] if isinstance(model, dict) else ""), None)
    mask = case.brain if volume is case.volume else None
    scan = readied(volume, network, lambda contrast: load(card, contrast), brain_mask=mask)
    rebuild, _ = scan.rebuilt()
    back = scan.prepared.to_input
    way = WayBack(case.volume.grid, back.working, back.working_from_input @ from_case)
    share = way.to_working(case.finding.astype(np.float32)) * scan.prepared.brain
    if not share.any():
        raise CaseError(
            f"finding {case.row['id']}: it lies outside of the brain that was found in {volume.name}; if the "
            "case was run with a brain mask, give it with --brain-mask FILE"
        )
    z = scan.detector.scorer.z(scan.prepared, rebuild)
    return SequenceView(name, scan, way, from_case, rebuild, z, (share / share.sum()).astype(np.float32))
