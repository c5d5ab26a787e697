"""detect(): the whole road from a scan to its findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from AnomalyDetectLib.devices import bytes_needed, with_room
from AnomalyDetectLib.errors import Cancelled, ScanRefused
from AnomalyDetectLib.findings.atlas import RegionAtlas
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
from AnomalyDetectLib.findings.findings import Findings
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard, read_card
from AnomalyDetectLib.models.zoo import NormativeModel
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.scan_fit import judge
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, Scorer, load_scorer, score
from AnomalyDetectLib.volume import BoolArray, Volume

STAGES = ("prepare", "rebuild", "score", "find")
FALSE_ALARMS = "false_alarms.json"
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Detector:
    """A model with everything the road needs beside it; load once, use for many scans."""

    card: ModelCard
    model: NormativeModel
    scorer: Scorer
    false_alarms: FalseAlarmTable | None
    atlas: RegionAtlas
    device: str = "cpu"


@dataclass(frozen=True)
class Detection:
    """What the road found in one scan. seconds: wall time of each stage."""

    volume: Volume
    prepared: Prepared
    maps: AnomalyMaps
    engine: FindingsEngine
    settings: FindingsSettings
    findings: Findings
    card: ModelCard
    expected_false_alarms: float | None
    device: str
    warnings: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)


def load_head_network() -> HeadNetwork:
    """The network that finds the brain, its weights verified."""
    card = read_card(zoo.models_folder() / "brain-extraction")
    network = HeadNetwork()
    network.load_state_dict(card.tensors())
    return network.eval()


def load_detector(card: ModelCard, device: str = "cpu", contrast: str | None = None) -> Detector:
    """Load and verify a model with its calibration for a contrast; None: its first one.

    Raises `ModelError` when a file is missing or damaged.
    """
    contrast = contrast or card.contrasts[0]
    table = None
    if (counts := card.calibration(FALSE_ALARMS, contrast)) in card.sha256:
        table = FalseAlarmTable.from_json(card.path(counts).read_text(encoding="utf-8"))
    scores = card.calibration(IMAGE_SCORES, contrast)
    image_scores = card.path(scores) if scores in card.sha256 else None
    return Detector(
        card=card,
        model=zoo.load(card),
        scorer=load_scorer(card.path(card.calibration(STATISTICS, contrast)), image_scores),
        false_alarms=table,
        atlas=RegionAtlas.load(resource("Template", "regions.tsv")),
        device=device,
    )


def detect(
    volume: Volume,
    network: HeadNetwork,
    detector_for: Callable[[str], Detector],
    *,
    brain_mask: BoolArray | None = None,
    settings: FindingsSettings | None = None,
    expected_false_alarms: float | None = 1.0,
    age: float | None = None,
    progress: Progress = lambda stage, share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Detection:
    """Scan to findings: prepare, rebuild, score, find.

    detector_for: the detector for a modality, asked once the scan's own is known. brain_mask: bool (i,j,k) to
    use instead of the found one. settings: of the findings; the threshold is set by `expected_false_alarms`
    unless that is None.
    progress: called with a stage's name and the share of the road behind it. cancelled: asked between stages.
    Raises `PreparationError` without a brain, `ScanRefused` when the scan doesn't fit the model, `Cancelled`.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        if cancelled():
            raise Cancelled(f"{volume.name}: stopped before {name}")
        progress(name, STAGES.index(name) / len(STAGES))
        began = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - began

    with stage("prepare"):
        prepared = prepare(volume, network, brain_mask=brain_mask, age=age)
        detector = detector_for(prepared.modality)
        prepared = fitting(prepared, detector.card, volume.name)
    with stage("rebuild"):
        rebuild, placed = with_room(
            lambda device: detector.model.rebuild(prepared, device),
            detector.device,
            bytes_needed(prepared.tensor.numel()),
        )
    with stage("score"):
        maps = score(volume, prepared, rebuild, detector.scorer)
    with stage("find"):
        engine = FindingsEngine(maps, atlas=detector.atlas, false_alarms=detector.false_alarms)
        settings, expected = chosen(
            settings or FindingsSettings(), expected_false_alarms, detector.false_alarms
        )
        findings = engine.at(settings)
    doubts = prepared.fit.reasons if prepared.fit.verdict == "warn" else ()
    warnings = (*volume.warnings, *doubts, *((placed.warning,) if placed.warning else ()))
    progress("done", 1.0)
    return Detection(
        volume=volume,
        prepared=prepared,
        maps=maps,
        engine=engine,
        settings=settings,
        findings=findings,
        card=detector.card,
        expected_false_alarms=expected,
        device=placed.device,
        warnings=warnings,
        seconds=prepared.seconds | {name: seconds[name] for name in STAGES[1:]},
    )


def fitting(prepared: Prepared, card: ModelCard, name: str) -> Prepared:
    """The scan with the gate's verdict for this model. Raises `ScanRefused` with the reasons when it doesn't
    fit.
    """
    fit = judge(prepared.observations, card.contrasts, card.age_range)
    if fit.verdict == "refuse":
        raise ScanRefused(
            f"{name}: {'; '.join(fit.reasons)}; no result is given because it could not be trusted"
        )
    return replace(prepared, fit=fit)


def chosen(
    settings: FindingsSettings, expected: float | None, table: FalseAlarmTable | None
) -> tuple[FindingsSettings, float | None]:
    """Settings with the threshold that `expected` false alarms ask for, and what these settings are expected
    to give.

    Without a calibration the threshold stays as it is and nothing can be expected.
    """
    if table is None:
        return settings, None
    if expected is not None:
        return settings.changed(threshold=table.threshold_for(expected, settings)), expected
    return settings, table.expected(settings)
