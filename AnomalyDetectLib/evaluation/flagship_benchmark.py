"""benchmark flagship: real lesions of the development sets, every model and every trivial rival on the same
voxels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation.metrics import average_precision, best_dice, bootstrap
from AnomalyDetectLib.evaluation.overlap import HIT_SHARE, false_findings, lesion_cover
from AnomalyDetectLib.evaluation.pathology import Patient, patients
from AnomalyDetectLib.evaluation.rivals import rival_maps
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.pipeline import Detector, chosen, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import healthy_heads, prepared_cases
from AnomalyDetectLib.volume import FloatArray, Volume, dice

ALARMS = 1.0
FALSE_VOXELS = 0.01
BANDS_ML = ((0.01, 0.1), (0.1, 1.0), (1.0, 10.0), (10.0, 1000.0))
HEALTHY_LIMIT = 10


@dataclass(frozen=True)
class Row:
    """One patient under one map. ap; oracle: best Dice of any threshold; dice: at `FALSE_VOXELS` of healthy
    voxels.

    found: for a calibrated model, lesions found and lesions by size band at one expected false alarm;
    false_alarms: its findings that touch no lesion.
    """

    patient: str
    map: str
    ap: float
    oracle: float
    dice: float
    found: tuple[tuple[int, int], ...] = ()
    false_alarms: int | None = None


class Contest:
    """The models and rivals of one contrast, with their thresholds from healthy scans."""

    def __init__(self, contrast: str, data: Path, network: HeadNetwork, runs: Path) -> None:
        self.network = network
        fitting = [card for card in zoo.cards() if contrast in card.contrasts]
        self.detectors: list[Detector] = [load_detector(card, contrast=contrast) for card in fitting]
        self.atlas: dict[str, FloatArray] | None = None
        for card in fitting:
            if card.family == "atlas-z":
                self.atlas = {name: value.numpy() for name, value in card.tensors().items()}
        heads = healthy_heads(data, "val", contrast)[:HEALTHY_LIMIT]
        quantiles: dict[tuple[str, int], list[float]] = {}
        for case in prepared_cases(heads, network, runs):
            for name, values in self.maps(case.prepared, self.rebuilds(case.prepared)).items():
                for sign in (1, -1):
                    inside = sign * values[case.prepared.brain]
                    quantiles.setdefault((name, sign), []).append(
                        float(np.quantile(inside, 1 - FALSE_VOXELS))
                    )
        self.thresholds = {key: float(np.mean(values)) for key, values in quantiles.items()}

    def rebuilds(self, prepared: Prepared) -> list[Rebuild]:
        """What each model makes of a scan."""
        return [one.model.rebuild(prepared) for one in self.detectors]

    def maps(self, prepared: Prepared, rebuilds: list[Rebuild]) -> dict[str, FloatArray]:
        """Every map of a scan, signed, on the working grid (X,Y,Z); rivals in brackets."""
        pairs = zip(self.detectors, rebuilds, strict=True)
        found = {one.card.name: one.scorer.z(prepared, rebuilt) for one, rebuilt in pairs}
        return found | {f"({name})": value for name, value in rival_maps(prepared, self.atlas).items()}

    def rows(self, patient: Patient) -> Iterator[Row]:
        """One row a map. Raises `AnomalyDetectError` when the scan can't be prepared."""
        volume, truth = patient.read()
        prepared = prepare(volume, self.network)
        rebuilds = self.rebuilds(prepared)
        brain = prepared.input_brain
        lesions = cc3d.connected_components(truth, connectivity=26)
        found = {
            one.card.name: _findings(volume, prepared, rebuilt, one)
            for one, rebuilt in zip(self.detectors, rebuilds, strict=True)
        }
        for name, working in self.maps(prepared, rebuilds).items():
            values = patient.sign * prepared.to_input.to_input(working)
            over = (values >= self.thresholds[name, patient.sign]) & brain
            row = Row(
                patient.name,
                name,
                average_precision(values, truth, brain),
                best_dice(values, truth, brain),
                dice(over, truth),
            )
            if name in found:
                bands = _by_band(found[name], lesions, volume.grid.voxel_mm3)
                row = replace(row, found=bands, false_alarms=false_findings(found[name], lesions))
            yield row


def _findings(volume: Volume, prepared: Prepared, rebuilt: Rebuild, detector: Detector) -> NDArray[np.int32]:
    """The findings (i,j,k) at `ALARMS` expected false alarms."""
    maps = score(volume, prepared, rebuilt, detector.scorer)
    settings, _ = chosen(FindingsSettings(), ALARMS, detector.false_alarms)
    return FindingsEngine(maps).at(settings).labelmap


def _by_band(
    labelmap: NDArray[np.integer], lesions: NDArray[np.integer], voxel_mm3: float
) -> tuple[tuple[int, int], ...]:
    """Lesions found and lesions there in each size band."""
    sizes = np.bincount(lesions.ravel()) * voxel_mm3 / 1000
    cover = lesion_cover(labelmap, lesions)
    bands = []
    for low, high in BANDS_ML:
        there = [label for label in cover if low <= sizes[label] < high]
        bands.append((sum(cover[label] >= HIT_SHARE for label in there), len(there)))
    return tuple(bands)


def run(
    data: Path, out: Path, limit: int | None, console: Console, runs: Path = Path("runs")
) -> list[dict[str, object]]:
    """Measure all sets; print and write flagship.md, flagship.csv and flagship.json into `out`; return the
    summary.
    """
    network = load_head_network()
    contests: dict[str, Contest] = {}
    summary: list[dict[str, object]] = []
    every: list[dict[str, object]] = []
    for title, members in patients(data).items():
        rows: list[Row] = []
        chosen_patients = members[:: max(1, len(members) // limit)][:limit] if limit else members
        for patient in chosen_patients:
            if patient.contrast not in contests:
                contests[patient.contrast] = Contest(patient.contrast, data, network, runs)
            try:
                rows += contests[patient.contrast].rows(patient)
            except AnomalyDetectError as error:
                console.print(f"left out: {patient.name}: {error}", style="yellow")
        every += [{"set": title} | asdict(row) for row in rows]
        summary += (of_set := summarise(title, rows))
        console.print(table(title, of_set))
    write(out, summary, every)
    return summary


def summarise(title: str, rows: list[Row]) -> list[dict[str, object]]:
    """Mean AP and Dice of each map with 95 % bootstrap over patients, and its AP minus the best rival's."""
    by_map: dict[str, list[Row]] = {}
    for row in rows:
        by_map.setdefault(row.map, []).append(row)
    means = {name: float(np.nanmean([row.ap for row in one])) for name, one in by_map.items()}
    best = max((name for name in means if name.startswith("(")), key=lambda name: means[name])
    result: list[dict[str, object]] = []
    for name, one in by_map.items():
        difference = [row.ap - rival.ap for row, rival in zip(one, by_map[best], strict=True)]
        result.append(
            {
                "set": title,
                "map": name,
                "patients": len(one),
                "AP": bootstrap([row.ap for row in one]),
                "oracle Dice": bootstrap([row.oracle for row in one]),
                "Dice at 1 % healthy": bootstrap([row.dice for row in one]),
                f"AP minus {best}": bootstrap(difference),
                "lesions found": _found(one),
                "false alarms": _mean_alarms(one),
            }
        )
    return sorted(result, key=lambda row: (str(row["map"]).startswith("("), str(row["map"])))


def _found(rows: list[Row]) -> str:
    """Lesions found of those there in each size band, at one expected false alarm; empty if uncalibrated."""
    if not rows[0].found:
        return ""
    totals = np.array([row.found for row in rows]).sum(0)
    pairs = zip(BANDS_ML, totals, strict=True)
    return ", ".join(f"{low:g}-{high:g} ml {hit}/{there}" for (low, high), (hit, there) in pairs if there)


def _mean_alarms(rows: list[Row]) -> str:
    counted = [row.false_alarms for row in rows if row.false_alarms is not None]
    return f"{np.mean(counted):.2f}" if counted else ""


def table(title: str, rows: list[dict[str, object]]) -> Table:
    """The figures of one set, models first, rivals in brackets."""
    names = list(rows[0])[3:]
    result = Table("map", *names, title=f"{title}: {rows[0]['patients']} patients")
    for row in rows:
        result.add_row(str(row["map"]), *(_cell(row[name]) for name in names))
    return result


def _cell(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    mean, low, high = value
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def write(out: Path, summary: list[dict[str, object]], every: list[dict[str, object]]) -> None:
    """flagship.md for reading, flagship.csv with a line for each patient and map, flagship.json with
    everything.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for title in dict.fromkeys(str(row["set"]) for row in summary):
        rows = [row for row in summary if row["set"] == title]
        names = list(rows[0])[3:]
        lines += [f"## {title}, {rows[0]['patients']} patients", "", "| map | " + " | ".join(names) + " |"]
        lines += ["|---" * (len(names) + 1) + "|"]
        lines += [
            f"| {row['map']} | " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows
        ]
        lines += [""]
    (out / "flagship.md").write_text("\n".join(lines), encoding="utf-8")
    (out / "flagship.json").write_text(json.dumps({"summary": summary, "patients": every}, indent=1))
    with (out / "flagship.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, fieldnames=["set", "patient", "map", "ap", "oracle", "dice"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(every)
