"""detect(): the whole road from a scan to its findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from AnomalyDetectLib.devices import Placed, bytes_needed, with_room
from AnomalyDetectLib.errors import Cancelled, ScanRefused
from AnomalyDetectLib.findings.atlas import RegionAtlas
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable, summed
from AnomalyDetectLib.findings.findings import Findings
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import FALSE_ALARMS, ModelCard, read_card
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.zoo import NormativeModel
from AnomalyDetectLib.prepare.coregistration import Coregistration, coregister
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.scan_fit import judge
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, Scorer, load_scorer, score
from AnomalyDetectLib.scoring.sequences import distinct_names, fused, score_second
from AnomalyDetectLib.volume import BoolArray, Volume

STAGES = ("prepare", "rebuild", "score", "find")
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
class Ready:
    """A scan that a model can rebuild: prepared, fitting, and with the detector for its contrast."""

    volume: Volume
    prepared: Prepared
    detector: Detector

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the reader and the gate have noticed, one sentence each."""
        fit = self.prepared.fit
        return (*self.volume.warnings, *(fit.reasons if fit.verdict == "warn" else ()))

    def rebuilt(self) -> tuple[Rebuild, Placed]:
        """A healthy version, and where the model ran."""
        return with_room(
            lambda device: self.detector.model.rebuild(self.prepared, device),
            self.detector.device,
            bytes_needed(self.prepared.tensor.numel()),
        )


@dataclass(frozen=True)
class SecondSequence:
    """A second scan of the same patient. placed: where it lies relative to the first."""

    scan: Ready
    placed: Coregistration


@dataclass(frozen=True)
class Detection:
    """What the road found in one scan. seconds: wall time of each stage. also: the second sequence that had
    its say in the score, if there was one.
    """

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
    also: SecondSequence | None = None


def load_head_network() -> HeadNetwork:
    """The network that finds the brain, its weights verified."""
    card = read_card(zoo.models_folder() / "brain-extraction")
    network = HeadNetwork()
    network.load_state_dict(card.tensors())
    return network.eval()


def load_detector(card: ModelCard, device: str = "cpu", contrast: str | None = None) -> Detector:
    """Load and verify a model with its calibration for a contrast; None or one it doesn't know: its first.

    Raises `ModelError` when a file is missing or damaged.
    """
    if contrast not in card.contrasts:  # the gate refuses such a scan, and says so better than a missing file
        contrast = card.contrasts[0]
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


@dataclass(frozen=True)
class Stages:
    """A road of named stages: `with stages(name):` tells of the stage and takes its time.

    of: what walks the road. progress: called with a stage's name and the share behind it. cancelled: asked
    before each stage. seconds: wall time of each stage that has ended.
    """

    names: tuple[str, ...]
    of: str
    progress: Progress
    cancelled: Callable[[], bool]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Raises `Cancelled` before the stage is begun."""
        if self.cancelled():
            raise Cancelled(f"{self.of}: stopped before {name}")
        self.progress(name, self.names.index(name) / len(self.names))
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def detect(
    volume: Volume,
    network: HeadNetwork,
    detector_for: Callable[[str], Detector],
    *,
    also: Volume | None = None,
    brain_mask: BoolArray | None = None,
    settings: FindingsSettings | None = None,
    expected_false_alarms: float | None = 1.0,
    age: float | None = None,
    progress: Progress = lambda stage, share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Detection:
    """Scan to findings: prepare, rebuild, score, find.

    detector_for: the detector for a modality, asked once the scan's own is known. also: a second sequence of
    the same patient, on any grid; it walks the same road with the detector of its own contrast, and in each
    voxel the more unusual of both speaks. brain_mask: bool (i,j,k) to use instead of the found one.
    settings: of the findings; the threshold is set by `expected_false_alarms` unless that is None.
    progress: called with a stage's name and the share of the road behind it. cancelled: asked between stages.
    Raises `PreparationError` without a brain or when `also` is not the same head, `ScanRefused` when a scan
    doesn't fit its model, `Cancelled`.
    """
    stage = Stages(STAGES, volume.name, progress, cancelled)
    with stage("prepare"):
        scan = readied(volume, network, detector_for, brain_mask=brain_mask, age=age)
        second = None if also is None else beside(scan, also, network, detector_for, age)
    with stage("rebuild"):
        rebuild, placed = scan.rebuilt()
        places = [placed]
        if second is not None:
            second_rebuild, at = second.scan.rebuilt()
            places.append(at)
    with stage("score"):
        maps, table = score(volume, scan.prepared, rebuild, scan.detector.scorer), scan.detector.false_alarms
        if second is not None:
            maps = joined(maps, scan, second, second_rebuild)
            table = summed(table, second.scan.detector.false_alarms)
    with stage("find"):
        engine = FindingsEngine(maps, atlas=scan.detector.atlas, false_alarms=table)
        settings, expected = chosen(settings or FindingsSettings(), expected_false_alarms, table)
        findings = engine.at(settings)
    progress("done", 1.0)
    return Detection(
        volume=volume,
        prepared=scan.prepared,
        maps=maps,
        engine=engine,
        settings=settings,
        findings=findings,
        card=scan.detector.card,
        expected_false_alarms=expected,
        device=placed.device,
        warnings=warnings_of(scan, second, places),
        seconds=seconds_of(scan, second, stage.seconds),
        also=second,
    )


def readied(
    volume: Volume,
    network: HeadNetwork,
    detector_for: Callable[[str], Detector],
    *,
    brain_mask: BoolArray | None = None,
    age: float | None = None,
) -> Ready:
    """The scan on the working grid with the detector for its contrast; raises as `detect` does."""
    prepared = prepare(volume, network, brain_mask=brain_mask, age=age)
    detector = detector_for(prepared.modality)
    return Ready(volume, fitting(prepared, detector.card, volume.name), detector)


def beside(
    first: Ready,
    also: Volume,
    network: HeadNetwork,
    detector_for: Callable[[str], Detector],
    age: float | None = None,
) -> SecondSequence:
    """A second sequence, ready too, and where it lies; raises as `detect` does."""
    second = readied(also, network, detector_for, age=age)
    return SecondSequence(second, coregister(first.volume, first.prepared, also, second.prepared))


def joined(maps: AnomalyMaps, first: Ready, second: SecondSequence, rebuild: Rebuild) -> AnomalyMaps:
    """The first scan's maps with what the second sequence's rebuild has to say."""
    other = second.scan
    scored = score_second(
        other.volume, other.prepared, rebuild, other.detector.scorer, maps, second.placed.second_from_first
    )
    return fused(maps, scored, distinct_names(first.prepared.modality, other.prepared.modality))


def warnings_of(scan: Ready, second: SecondSequence | None, places: list[Placed]) -> tuple[str, ...]:
    """What reading, the gate and the device have noticed, one sentence each and none twice."""
    said = list(scan.doubts)
    if second is not None:
        doubts = (*second.scan.doubts, *((second.placed.doubt,) if second.placed.doubt else ()))
        said += [f"second sequence: {doubt}" for doubt in doubts]
    said += [one.warning for one in places if one.warning]
    return tuple(dict.fromkeys(said))


def seconds_of(scan: Ready, second: SecondSequence | None, stages: dict[str, float]) -> dict[str, float]:
    """Wall time of each stage; of a second sequence, preparation and coregistration in one."""
    seconds = scan.prepared.seconds | {name: stages[name] for name in STAGES[1:]}
    if second is not None:
        seconds["second_sequence"] = stages["prepare"] - sum(scan.prepared.seconds.values())
    return seconds


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
