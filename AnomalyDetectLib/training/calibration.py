"""Calibration: what a model says of healthy scans, and from it z, image p-values and expected false
alarms.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.zoo import NormativeModel
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring.evidence import MIRROR, RESIDUAL, TISSUE, evidence
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import Scorer, score
from AnomalyDetectLib.scoring.statistics import fit_statistics
from AnomalyDetectLib.training import template
from AnomalyDetectLib.training.caches import store
from AnomalyDetectLib.training.painted_heads import PaintedHead, calibration_heads
from AnomalyDetectLib.training.repainted_heads import RepaintedHead
from AnomalyDetectLib.volume import BoolArray, Volume

log = logging.getLogger(__name__)

Member = TypeVar("Member")

STATISTICS_SCANS = 60  # training scans; the held-out ones are for the false alarms
REPAINTED_SCANS = 24  # for each other contrast


@dataclass(frozen=True)
class HealthyCase:
    """A healthy scan and what the preparation made of it."""

    volume: Volume
    prepared: Prepared


def prepared_cases(
    scans: Iterable[Path | RepaintedHead | PaintedHead],
    network: HeadNetwork,
    cache: Path,
    modality: str | None = None,
) -> Iterator[HealthyCase]:
    """Read and prepare scans one by one, as the product does; what was prepared before is read from `cache`.

    The cache is keyed by the head network's weights, so that a newly trained one starts afresh.
    """
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in network.state_dict().values())).hexdigest()
    folder = cache / f"prepared-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        volume = read_volume(scan, modality) if isinstance(scan, Path) else scan.read()
        file = folder / f"{scan.name.split('.')[0]}.npz"
        if not file.exists():
            _store(prepare(volume, network), file)
        yield HealthyCase(volume, _restored(volume, file))


def _store(prepared: Prepared, file: Path) -> None:
    store(
        file,
        tensor=prepared.tensor.numpy(),
        brain=prepared.brain,
        input_brain=prepared.input_brain,
        way=prepared.to_input.working_from_input,
        bias=prepared.bias.astype(np.float16),
        scale=prepared.scale,
        exponent=prepared.exponent,
        overlap=prepared.alignment_overlap,
        seen=json.dumps(asdict(prepared.observations)),
    )


def _restored(volume: Volume, file: Path) -> Prepared:
    with np.load(file) as stored:
        seen = Observations(**json.loads(str(stored["seen"])))
        return Prepared(
            tensor=torch.from_numpy(stored["tensor"]),
            brain=stored["brain"],
            input_brain=stored["input_brain"],
            to_input=WayBack(volume.grid, load_template().grid, stored["way"]),
            modality=seen.asked or seen.guessed,
            fit=ScanFit(),
            scale=float(stored["scale"]),
            exponent=float(stored["exponent"]),
            bias=stored["bias"].astype(np.float32),
            observations=seen,
            alignment_overlap=float(stored["overlap"]),
            stripped=False,
        )


def healthy_scans(data: Path, which: str) -> list[Path]:
    """Paths of a healthy set of T1 scans: "train" (a spread of them), "val" or "external"."""
    if which == "external":
        return sorted((data / "healthy_external_t1").glob("*.nii.gz"))
    subjects = template.ixi_subjects(data, which)
    return [
        subject.scan for subject in (evenly(subjects, STATISTICS_SCANS) if which == "train" else subjects)
    ]


def healthy_heads(data: Path, which: str, contrast: str) -> list[Path] | list[RepaintedHead]:
    """A healthy set in any contrast: real scans for T1, IXI heads repainted for the others, none of them
    external.
    """
    if contrast == "T1":
        return healthy_scans(data, which)
    if which == "external":
        return []
    subjects = template.ixi_subjects(data, which)
    chosen = evenly(subjects, REPAINTED_SCANS) if which == "train" else subjects
    return [RepaintedHead(subject, contrast) for subject in chosen]


def healthy_sets(
    data: Path, contrast: str, network: HeadNetwork, cache: Path
) -> dict[str, list[HealthyCase]]:
    """The healthy sets that a model is calibrated on, prepared: "train" and "val"; for T1 "external", from
    another scanner, for other contrasts "painted", from the label maps for training.
    """
    named: dict[str, list[Path] | list[RepaintedHead] | list[PaintedHead]] = {
        which: healthy_heads(data, which, contrast) for which in ("train", "val")
    }
    if contrast == "T1":
        named["external"] = healthy_scans(data, "external")
    else:
        named["painted"] = calibration_heads(data, contrast)
    return {which: list(prepared_cases(scans, network, cache)) for which, scans in named.items()}


def evenly(members: Sequence[Member], count: int | None) -> list[Member]:
    """`count` of the members, evenly spread over their list, first and last among them; None: all."""
    if count is None or count >= len(members):
        return list(members)
    return [members[int(number)] for number in np.linspace(0, len(members) - 1, count).round()]


def fit_scorer(
    cases: Iterable[HealthyCase],
    rebuild: Callable[[Prepared], Rebuild],
    real: bool = True,
    flat: bool = False,
) -> Scorer:
    """Healthy statistics of every evidence map of a model, and of what they are fused to."""
    prepared = [case.prepared for case in cases]
    brains = [one.brain for one in prepared]
    return scorer_of(prepared, [rebuild(one) for one in prepared], brains, real, flat)


def scorer_of(
    prepared: list[Prepared],
    rebuilt: list[Rebuild],
    healthy: list[BoolArray],
    real: bool = True,
    flat: bool = False,
) -> Scorer:
    """The statistics of rebuilds. healthy: bool (X,Y,Z), where each scan counts.

    real, flat: see `fit_statistics`; what differs between the sides is always flat. Beside tissue evidence
    the residual is trusted where the network has seen real scans of the contrast.
    """
    maps = [evidence(one, rebuild) for one, rebuild in zip(prepared, rebuilt, strict=True)]
    if TISSUE in maps[0] and not real:
        maps = [{name: one[name] for name in one if name != RESIDUAL} for one in maps]
    statistics = {
        name: fit_statistics([m[name] for m in maps], healthy, real=real, flat=flat or name == MIRROR)
        for name in maps[0]
    }
    provisional = Scorer(statistics, next(iter(statistics.values())))
    combined = [provisional.combined(one, rebuild) for one, rebuild in zip(prepared, rebuilt, strict=True)]
    return Scorer(statistics, fit_statistics(combined, healthy, real=real, flat=flat))


def healthy_maps(model: NormativeModel, scorer: Scorer, cases: Iterable[HealthyCase]) -> list[AnomalyMaps]:
    """What the model says of healthy scans, on their own grids."""
    return [score(case.volume, case.prepared, model.rebuild(case.prepared), scorer) for case in cases]


def alarms_per_scan(
    table: FalseAlarmTable, expected: Sequence[float], maps: Iterable[AnomalyMaps]
) -> list[float]:
    """Mean number of findings in healthy scans at the thresholds that `table` gives for so many expected."""
    plain = FindingsSettings()
    each = [plain.changed(threshold=table.threshold_for(count, plain)) for count in expected]
    found = []
    for one in maps:
        engine = FindingsEngine(one)
        found.append([len(engine.at(settings)) for settings in each])
    return [float(mean) for mean in np.mean(found, axis=0)]


def atlas_maps(cases: Iterable[HealthyCase]) -> dict[str, np.ndarray]:
    """Mean and SD (X,Y,Z) of healthy brains in working units: the weights of atlas-z."""
    images, brains = [], []
    for case in cases:
        images.append(case.prepared.tensor[0, 0].numpy())
        brains.append(case.prepared.brain)
    statistics = fit_statistics(images, brains)
    return {"mean": statistics.mean, "sd": statistics.sd}
