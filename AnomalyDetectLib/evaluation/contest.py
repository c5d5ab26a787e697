"""Contest: every model and every trivial rival of one contrast as maps of the same voxels, in z of healthy
scans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
from AnomalyDetectLib.findings.findings import Findings
from AnomalyDetectLib.findings.healthy_components import HealthyComponents, count_components, pooled
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.choice import UNTRAINED
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.rivals import rival_maps
from AnomalyDetectLib.pipeline import Detector, chosen, load_detector
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.volume import FloatArray, Volume

ALARMS = 1.0
NO_OPENING = (0.0,)  # rivals are only asked for plain findings
SIGN_NAMES: dict[int, Literal["bright", "dark", "both"]] = {1: "bright", -1: "dark", 0: "both"}


@dataclass(frozen=True)
class Contest:
    """The models and rivals of one contrast.

    atlas: mean and SD of atlas-z, where there is one. scales: of each rival map, centre and unit that make it
    a z. tables: of each rival map, findings in healthy scans.
    """

    detectors: tuple[Detector, ...]
    atlas: Mapping[str, FloatArray] | None
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: Mapping[str, FalseAlarmTable] = field(default_factory=dict)

    def rebuilds(self, prepared: Prepared) -> list[Rebuild]:
        """What each model makes of a scan."""
        return [one.model.rebuild(prepared) for one in self.detectors]

    def maps(self, prepared: Prepared, rebuilds: list[Rebuild]) -> dict[str, FloatArray]:
        """Every map of a scan, signed z on the working grid (X,Y,Z); rivals in brackets."""
        pairs = zip(self.detectors, rebuilds, strict=True)
        return {one.card.name: one.scorer.z(prepared, rebuilt) for one, rebuilt in pairs} | self.rivals(
            prepared
        )

    def rivals(self, prepared: Prepared) -> dict[str, FloatArray]:
        """The rivals' maps (X,Y,Z), 0 outside the brain."""
        found = {}
        for plain, values in rival_maps(prepared, self.atlas).items():
            name = f"({plain})"
            centre, unit = self.scales.get(name, (0.0, 1.0))
            found[name] = np.where(prepared.brain, (values - centre) / unit, 0).astype(np.float32)
        return found

    def findings(self, maps: AnomalyMaps, name: str, sign: int) -> Findings:
        """Findings at `ALARMS` expected false alarms. sign: as in `settings`."""
        return FindingsEngine(maps).at(self.settings(name, sign))

    def settings(self, name: str, sign: int) -> FindingsSettings:
        """Of a map at `ALARMS` expected false alarms. sign: of the lesions; rivals look for it alone, models
        for both.
        """
        models = {one.card.name: one.false_alarms for one in self.detectors}
        settings = FindingsSettings() if name in models else FindingsSettings(sign=SIGN_NAMES[sign])
        table = models[name] if name in models else self.tables.get(name)
        return chosen(settings, ALARMS, table)[0]


def rival_on_scan(volume: Volume, prepared: Prepared, working: FloatArray) -> AnomalyMaps:
    """A rival's map as findings are made from it, on the scan's grid."""
    score = np.where(prepared.input_brain, prepared.to_input.to_input(working), 0)
    return AnomalyMaps.from_score(score, brain=prepared.input_brain, affine=volume.affine)


def open_contest(contrast: str, healthy: Mapping[str, Sequence[HealthyCase]]) -> Contest:
    """Load the models and fit the rivals.

    healthy: held-out scans by set. Centre and SD of a rival come from all voxels of the set "val"; its
    expected false alarms from all sets, as the models' do.
    """
    cards = zoo.preferred_cards(contrast)
    atlas = zoo.atlas_of(contrast)
    raw = Contest(tuple(load_detector(card, contrast=contrast) for card in cards), atlas)
    scaled = Contest(raw.detectors, atlas, scales_of(raw, [case.prepared for case in healthy["val"]]))
    every = [case for cases in healthy.values() for case in cases]
    return Contest(raw.detectors, atlas, scaled.scales, _tables(scaled, every))


def is_rival(name: str) -> bool:
    """Whether a map needs no training: those in brackets, and the models that are statistics alone."""
    return name.startswith("(") or name in UNTRAINED


def scales_of(contest: Contest, healthy: Iterable[Prepared]) -> dict[str, tuple[float, float]]:
    """Mean and SD of each rival map over the voxels of healthy brains."""
    moments: dict[str, list[tuple[float, float]]] = {}
    for prepared in healthy:
        for name, values in contest.rivals(prepared).items():
            inside = values[prepared.brain].astype(np.float64)
            moments.setdefault(name, []).append((float(inside.mean()), float((inside**2).mean())))
    means = {name: np.mean(several, axis=0) for name, several in moments.items()}
    return {name: (float(m), float(max(np.sqrt(s - m**2), 1e-6))) for name, (m, s) in means.items()}


def _tables(contest: Contest, cases: Sequence[HealthyCase]) -> dict[str, FalseAlarmTable]:
    maps: dict[str, list[HealthyComponents]] = {}
    for case in cases:
        for name, values in contest.rivals(case.prepared).items():
            one = count_components(
                [rival_on_scan(case.volume, case.prepared, values)], openings_mm=NO_OPENING
            )
            maps.setdefault(name, []).append(one)
    return {name: FalseAlarmTable(pooled(several)) for name, several in maps.items()}
