"""benchmark detection: lesions simulated on held-out healthy scans, and false alarms on healthy scans as
they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.lesion_rows import LesionCase, LesionRow, lesion_rows
from AnomalyDetectLib.evaluation.metrics import average_precision, bootstrap
from AnomalyDetectLib.evaluation.overlap import false_findings
from AnomalyDetectLib.evaluation.simulated_lesions import SimulatedCase, simulate
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard, write_card
from AnomalyDetectLib.pipeline import Detector, chosen, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import healthy_scans
from AnomalyDetectLib.volume import Volume

ALARMS = 1.0
SEED = 4021


@dataclass(frozen=True)
class ScanRow:
    """One scan under one model: voxel AP of |z|, lesions, findings that touch none, findings without
    lesions.
    """

    scan: str
    ap: float
    false_findings: int
    healthy_findings: int
    lesions: tuple[LesionRow, ...]


def run(
    data: Path, out: Path, limit: int | None, console: Console, onto_cards: bool = False
) -> dict[str, object]:
    """Measure the preferred models on both healthy sets; print the table, write detection.json and return the
    figures.

    onto_cards: write the means onto the models' cards, too.
    """
    network = load_head_network()
    detectors = [load_detector(card) for card in zoo.preferred_cards("T1")]
    names = [one.card.name for one in detectors]
    rows: dict[str, dict[str, list[ScanRow]]] = {}
    for which in ("val", "external"):
        rows[which] = {name: [] for name in names}
        for number, path in enumerate(healthy_scans(data, which)[:limit]):
            rng = np.random.default_rng([SEED, number])
            for name, row in measure(read_volume(path), network, detectors, rng).items():
                rows[which][name].append(row)
            console.print(f"{which} {path.name}", style="dim")
    figures = {
        which: {name: summarise(one) for name, one in models.items()} for which, models in rows.items()
    }
    differences = {which: paired(models) for which, models in rows.items()}
    for which in rows:
        console.print(table(which, figures[which], len(rows[which][names[0]])))
        for rival, (mean, low, high) in differences[which].items():
            console.print(f"AP of {names[0]} minus {rival}: {mean:+.3f} (95 % {low:+.3f} to {high:+.3f})")
    out.mkdir(parents=True, exist_ok=True)
    every = {
        which: {name: [asdict(r) for r in one] for name, one in models.items()}
        for which, models in rows.items()
    }
    if onto_cards:
        for detector in detectors:
            put_onto_card(detector.card, {which: one[detector.card.name] for which, one in figures.items()})
    result = {"figures": figures, "paired_ap_difference": differences, "scans": every}
    (out / "detection.json").write_text(json.dumps(result, indent=1))
    return result


def put_onto_card(card: ModelCard, figures: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    """Add mean and 95 % interval of each figure, by healthy set, to the card in its folder."""
    measured = {
        f"simulated lesions, {which}: {name}": f"{mean:.3f} ({low:.3f}-{high:.3f})"
        for which, one in figures.items()
        for name, (mean, low, high) in one.items()
    }
    write_card(replace(card, figures=card.figures | measured))


def measure(
    volume: Volume, network: HeadNetwork, detectors: Sequence[Detector], rng: np.random.Generator
) -> dict[str, ScanRow]:
    """One scan with simulated lesions, and without, under every model."""
    clean = prepare(volume, network)
    case = simulate(volume, clean, rng)
    ill = prepare(case.scan, network)
    return {one.card.name: measure_one(case, clean, ill, one) for one in detectors}


def measure_one(case: SimulatedCase, clean: Prepared, ill: Prepared, detector: Detector) -> ScanRow:
    """One model's row for one scan."""
    maps = score(case.scan, ill, detector.model.rebuild(ill), detector.scorer)
    healthy_maps = score(case.clean, clean, detector.model.rebuild(clean), detector.scorer)
    settings, _ = chosen(FindingsSettings(), ALARMS, detector.false_alarms)
    found = FindingsEngine(maps).at(settings)
    healthy_found = FindingsEngine(healthy_maps).at(settings)
    return ScanRow(
        scan=case.scan.name,
        ap=average_precision(np.abs(maps.score), case.truth > 0, maps.brain),
        false_findings=false_findings(found.labelmap, case.truth),
        healthy_findings=len(healthy_found),
        lesions=lesion_rows(LesionCase.simulated(case), found.labelmap, maps.healthy),
    )


def summarise(rows: list[ScanRow]) -> dict[str, tuple[float, float, float]]:
    """Means with 95 % bootstrap intervals over scans."""

    def over_scans(field: str) -> list[float]:
        return [float(np.mean([getattr(one, field) for one in row.lesions])) for row in rows if row.lesions]

    return {
        "AP": bootstrap([row.ap for row in rows]),
        "sensitivity": bootstrap(over_scans("hit")),
        "false alarms with lesions": bootstrap([float(row.false_findings) for row in rows]),
        "false alarms healthy": bootstrap([float(row.healthy_findings) for row in rows]),
        "SSIM before": bootstrap(over_scans("ssim_before")),
        "SSIM after": bootstrap(over_scans("ssim_after")),
        "PSNR before": bootstrap(over_scans("psnr_before")),
        "PSNR after": bootstrap(over_scans("psnr_after")),
    }


def paired(models: dict[str, list[ScanRow]]) -> dict[str, tuple[float, float, float]]:
    """Bootstrap of the AP difference of the first model to each other one, scan by scan."""
    first, *rivals = models
    own = [row.ap for row in models[first]]
    return {
        rival: bootstrap([a - row.ap for a, row in zip(own, models[rival], strict=True)]) for rival in rivals
    }


def table(which: str, figures: dict[str, dict[str, tuple[float, float, float]]], scans: int) -> Table:
    """The figures of one set, one row a model."""
    names = list(next(iter(figures.values())))
    result = Table(
        "model",
        *names,
        title=f"simulated lesions on {scans} healthy scans ({which}), {ALARMS:g} expected alarm",
    )
    for model, one in figures.items():
        result.add_row(model, *(f"{m:.3f} ({low:.3f}-{high:.3f})" for m, low, high in one.values()))
    return result
