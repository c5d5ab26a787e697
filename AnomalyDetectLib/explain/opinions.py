"""What the other models of the zoo say of a finding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from AnomalyDetectLib.errors import Cancelled, ModelError, ScanRefused
from AnomalyDetectLib.explain.case import FindingCase
from AnomalyDetectLib.explain.views import Load, SequenceView
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.choice import candidates
from AnomalyDetectLib.pipeline import Ready, chosen, fitting

DEFAULT_FALSE_ALARMS = 1.0
ASKED = 5  # models beside the one that found it: the whole zoo would take minutes


@dataclass(frozen=True)
class Opinion:
    """One model's z in the finding.

    mean_z, peak_z: signed; None where the model wasn't asked. threshold: z, where it shows as many false
    alarms in a healthy brain; None without calibration. share_beyond: of the finding's voxels beyond it, in
    the finding's direction. found: whether enough of them are to be a finding of its own. reason: why it
    wasn't asked, "" when it was.
    """

    model: str
    version: str
    family: str
    mean_z: float | None = None
    peak_z: float | None = None
    threshold: float | None = None
    share_beyond: float | None = None
    found: bool | None = None
    reason: str = ""


def opinions(case: FindingCase, view: SequenceView, load: Load) -> list[Opinion]:
    """The model that found it first, then the `ASKED` best of the others that know the contrast, in the order
    in which `auto` would take them; no ensemble that the first is a member of: it would agree with itself.
    """
    used = view.scan.detector.card.name
    others = [
        card
        for card in candidates(zoo.cards(), view.scan.prepared.modality)
        if used not in (card.name, *card.options.get("members", ()))
    ]
    return [_own(case, view), *(_other(case, view, card, load) for card in others[:ASKED])]


def _own(case: FindingCase, view: SequenceView) -> Opinion:
    return _judged(case, view.scan.detector.card, view.z_in(case.finding), float(case.report["threshold"]))


def _other(case: FindingCase, view: SequenceView, card: ModelCard, load: Load) -> Opinion:
    try:
        prepared = fitting(view.scan.prepared, card, view.scan.volume.name)
        detector = load(card, prepared.modality)
        scan = Ready(view.scan.volume, prepared, detector)
        rebuild, _ = scan.rebuilt()
    except Cancelled:
        raise
    except (ModelError, ScanRefused) as error:
        return Opinion(card.name, card.version, card.family, reason=str(error))
    other = replace(view, scan=scan, rebuild=rebuild, z=detector.scorer.z(prepared, rebuild))
    z = other.z_in(case.finding)
    threshold = None
    if detector.false_alarms is not None:
        expected = float(case.report.get("expected_false_alarms") or DEFAULT_FALSE_ALARMS)
        expected = min(max(expected, 0.01), 30.0)
        threshold = chosen(settings_of(case), expected, detector.false_alarms)[0].threshold
    return _judged(case, card, z, threshold)


def _judged(case: FindingCase, card: ModelCard, z: np.ndarray, threshold: float | None) -> Opinion:
    toward = case.sign * z
    beyond = None if threshold is None else toward >= threshold
    volume_mm3 = 0.0 if beyond is None else float(beyond.sum()) * case.volume.grid.voxel_mm3
    return Opinion(
        model=card.name,
        version=card.version,
        family=card.family,
        mean_z=float(z.mean()),
        peak_z=float(case.sign * toward.max()),
        threshold=threshold,
        share_beyond=None if beyond is None else float(beyond.mean()),
        found=None if beyond is None else volume_mm3 >= min_volume(case),
    )


def settings_of(case: FindingCase) -> FindingsSettings:
    """The settings that the findings were made with, as far as the report names them."""
    known = case.report.get("settings")
    return FindingsSettings.from_dict(known) if isinstance(known, dict) else FindingsSettings()


def min_volume(case: FindingCase) -> float:
    """The smallest finding that is shown, mm³; half a finding is enough where it is smaller itself."""
    own = float(case.finding.sum()) * case.volume.grid.voxel_mm3
    return min(settings_of(case).min_volume_mm3, own / 2)
