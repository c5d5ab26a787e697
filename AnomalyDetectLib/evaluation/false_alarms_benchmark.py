"""Whether expected false alarms come true: healthy scans that the calibration has not seen, and power.

The held-out healthy scans of both sets are split by patient; one half makes the false-alarm table, the other
half is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.overlap import HIT_SHARE, false_findings, lesion_cover
from AnomalyDetectLib.evaluation.simulated_lesions import SimulatedCase, simulate
from AnomalyDetectLib.findings import FalseAlarmTable, Finding, Findings, FindingsEngine, FindingsSettings
from AnomalyDetectLib.findings.healthy_components import HealthyComponents, count_components, pooled
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detector, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import score
from AnomalyDetectLib.training.calibration import HealthyCase, healthy_maps, healthy_scans, prepared_cases

EXPECTED = (0.1, 0.3, 1.0, 3.0, 10.0)
KINDS = {
    "default": FindingsSettings(),
    "opening 2 mm": FindingsSettings(open_mm=2),
    "minimum volume 150 mm³": FindingsSettings(min_volume_mm3=150),
    "bright only": FindingsSettings(sign="bright"),
}
SETS = {"val": "IXI", "external": "external"}
SPLITS = 20
SEED = 2207
LEVEL = 0.05
POWER_AT = (1.0, 3.0, 10.0)


@dataclass(frozen=True, eq=False)
class HealthyScan:
    """A held-out healthy scan under one model: where from, its score alone as maps, and its components."""

    name: str
    group: str
    case: HealthyCase
    maps: AnomalyMaps
    components: HealthyComponents


@dataclass(frozen=True)
class Count:
    """Findings expected and seen in healthy scans.

    expected, observed: mean per scan. low, high: 95 % prediction interval of the observed mean. threshold: z.
    """

    settings: str
    expected: float
    threshold: float
    observed: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the observed mean lies in the interval."""
        return self.low - 1e-9 <= self.observed <= self.high + 1e-9


@dataclass(frozen=True)
class Power:
    """What q <= .05 finds and what it alarms, at the threshold of so many expected false alarms.

    lesions: simulated. found: share that a finding covers by a tenth. significant: share that such a finding
    of q <= .05 covers. healthy_findings: in the same scans without lesions; healthy_significant: the share of
    them of q <= .05; alarmed_scans: the share of these scans with at least one. discoveries: findings of
    q <= .05 in the scans with lesions; false_discoveries: the share of them that touch no lesion.
    """

    expected: float
    lesions: int
    found: float
    significant: float
    discoveries: int
    healthy_findings: int
    healthy_significant: float
    alarmed_scans: float
    false_discoveries: float


def run(
    data: Path, out: Path, model: str, limit: int | None, console: Console, *, runs: Path = Path("runs")
) -> dict[str, Any]:
    """Measure one model, print the tables, write `false_alarms_MODEL.json` and `.md` into `out`.

    model: a name, or auto for what T1 scans get. limit: scans of each set. runs: with the cache of prepared
    scans. Returns what is written.
    """
    detector = load_detector(zoo.choose(model, "T1"))
    name = detector.card.name
    network = load_head_network()
    scans = [
        scan
        for which in SETS
        for scan in measured(
            detector, prepared_cases(healthy_scans(data, which)[:limit], network, runs), which
        )
    ]
    console.print(f"{name}: {len(scans)} held-out healthy scans", style="dim")
    halves = split(scans, SEED)
    result = {
        "model": f"{name} {detector.card.version}",
        "scans": {which: len(_of(scans, which)) for which in SETS},
        "one split": [_row(count) for count in counts(*halves)],
        "splits": SPLITS,
        "share of splits inside": coverage(scans, SPLITS),
        "transfer": {
            f"{SETS[one]} to {SETS[other]}": [
                _row(count) for count in counts(_of(scans, one), _of(scans, other))
            ]
            for one, other in (("val", "external"), ("external", "val"))
            if _of(scans, one) and _of(scans, other)
        },
        "power": [asdict(one) for one in power(detector, network, halves)],
    }
    tables = _tables(result)
    for table in tables:
        console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"false_alarms_{name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    page = f"# False alarms of {result['model']}\n\n" + "\n".join(_markdown(table) for table in tables)
    (out / f"false_alarms_{name}.md").write_text(page, encoding="utf-8")
    return result


def measured(detector: Detector, cases: Iterable[HealthyCase], group: str) -> Iterator[HealthyScan]:
    """The healthy scans of one set as the model scores them."""
    for case in cases:
        (maps,) = healthy_maps(detector.model, detector.scorer, [case])
        alone = AnomalyMaps.from_score(maps.score, brain=maps.brain, affine=maps.grid.affine)
        yield HealthyScan(case.volume.name, group, case, alone, count_components([alone]))


def split(scans: Sequence[HealthyScan], seed: int) -> tuple[list[HealthyScan], list[HealthyScan]]:
    """Two halves of the patients: those of each set in random order, alternating."""
    random = np.random.default_rng(seed)
    order = []
    for group in dict.fromkeys(scan.group for scan in scans):
        of_group = _of(scans, group)
        order += [of_group[at] for at in random.permutation(len(of_group))]
    return order[0::2], order[1::2]


def counts(calibration: Sequence[HealthyScan], new: Sequence[HealthyScan]) -> list[Count]:
    """Findings in new scans at the thresholds that the table of other scans gives."""
    (result,) = _all_counts([(calibration, new)])
    return result


def coverage(scans: Sequence[HealthyScan], splits: int) -> list[dict[str, Any]]:
    """For each kind of settings and each expected number: the share of random splits whose observed mean lies
    in the 95 % interval, and the mean of what was observed.
    """
    several = _all_counts([split(scans, SEED + number) for number in range(splits)])
    return [
        {
            "settings": same[0].settings,
            "expected": same[0].expected,
            "observed": float(np.mean([count.observed for count in same])),
            "inside": float(np.mean([count.inside for count in same])),
        }
        for same in zip(*several, strict=True)
    ]


def power(
    detector: Detector, network: HeadNetwork, halves: tuple[Sequence[HealthyScan], Sequence[HealthyScan]]
) -> list[Power]:
    """Lesions simulated on every scan, judged with the table of the half that the scan is not in."""
    judged: dict[float, list[_Judged]] = {expected: [] for expected in POWER_AT}
    number = 0
    for new, calibration in (halves, halves[::-1]):
        table = table_of(calibration)
        for scan in new:
            number += 1
            ill = simulate(scan.case.volume, scan.case.prepared, np.random.default_rng([SEED, number]))
            prepared = prepare(ill.scan, network)
            maps = score(ill.scan, prepared, detector.model.rebuild(prepared), detector.scorer)
            with_lesions = FindingsEngine(maps, false_alarms=table)
            without = FindingsEngine(scan.maps, false_alarms=table)
            for expected, rows in judged.items():
                settings = FindingsSettings(threshold=table.threshold_for(expected, FindingsSettings()))
                rows.append(_judge(with_lesions.at(settings), without.at(settings), ill))
    return [_summary(expected, rows) for expected, rows in judged.items()]


def table_of(scans: Sequence[HealthyScan]) -> FalseAlarmTable:
    """The calibration on these scans."""
    return FalseAlarmTable(pooled(scan.components for scan in scans))


@dataclass(frozen=True)
class _Judged:
    """One scan: lesions, those found, those found with low q; findings of low q that touch no lesion, and all
    of low q; the scan without lesions: its findings and those of low q.
    """

    lesions: int
    found: int
    significant: int
    false: int
    discoveries: int
    healthy_findings: int
    healthy_significant: int


def _judge(with_lesions: Findings, without: Findings, ill: SimulatedCase) -> _Judged:
    low = with_lesions.only([row.id for row in with_lesions.table if _is_low(row)])

    def hits(findings: Findings) -> int:
        cover = lesion_cover(findings.labelmap, ill.truth)
        return sum(cover.get(lesion.label, 0.0) >= HIT_SHARE for lesion in ill.lesions)

    return _Judged(
        lesions=len(ill.lesions),
        found=hits(with_lesions),
        significant=hits(low),
        false=false_findings(low.labelmap, ill.truth),
        discoveries=len(low),
        healthy_findings=len(without),
        healthy_significant=sum(map(_is_low, without.table)),
    )


def _is_low(row: Finding) -> bool:
    return row.q is not None and row.q <= LEVEL


def _summary(expected: float, rows: Sequence[_Judged]) -> Power:
    total = {field.name: sum(getattr(row, field.name) for row in rows) for field in fields(_Judged)}
    return Power(
        expected=expected,
        lesions=total["lesions"],
        found=total["found"] / max(total["lesions"], 1),
        significant=total["significant"] / max(total["lesions"], 1),
        discoveries=total["discoveries"],
        healthy_findings=total["healthy_findings"],
        healthy_significant=total["healthy_significant"] / max(total["healthy_findings"], 1),
        alarmed_scans=float(np.mean([row.healthy_significant > 0 for row in rows])),
        false_discoveries=total["false"] / max(total["discoveries"], 1),
    )


def _all_counts(
    splits: Sequence[tuple[Sequence[HealthyScan], Sequence[HealthyScan]]],
) -> list[list[Count]]:
    """`counts` of several splits; every scan's engine is built once."""
    chosen: list[tuple[FindingsSettings, str, float, FalseAlarmTable]] = []
    wanted: dict[str, list[int]] = {}
    for calibration, new in splits:
        table = table_of(calibration)
        for kind, base in KINDS.items():
            for expected in EXPECTED:
                settings = base.changed(threshold=table.threshold_for(expected, base))
                for scan in new:
                    wanted.setdefault(scan.name, []).append(len(chosen))
                chosen.append((settings, kind, expected, table))
    scans = {scan.name: scan for _, new in splits for scan in new}
    found: list[list[int]] = [[] for _ in chosen]
    for name, asked in wanted.items():
        engine = FindingsEngine(scans[name].maps)
        # One shape after the other: the engine keeps the stages that the next setting shares.
        for at in sorted(asked, key=lambda at: (chosen[at][1], chosen[at][0].threshold)):
            found[at].append(len(engine.at(chosen[at][0])))
    result = []
    for (settings, kind, expected, table), seen in zip(chosen, found, strict=True):
        low, high = table.interval(settings, n_scans=len(seen))
        result.append(Count(kind, expected, settings.threshold, float(np.mean(seen)), low, high))
    per_split = len(KINDS) * len(EXPECTED)
    return [result[at : at + per_split] for at in range(0, len(result), per_split)]


def _of(scans: Sequence[HealthyScan], group: str) -> list[HealthyScan]:
    return [scan for scan in scans if scan.group == group]


def _row(count: Count) -> dict[str, Any]:
    return {**asdict(count), "inside": count.inside}


def _tables(result: dict[str, Any]) -> list[Table]:
    n_scans = sum(result["scans"].values())
    title = f"Half of {n_scans} held-out healthy scans calibrates, the other is counted"
    tables = [_count_table(title, result["one split"])]
    title = f"{result['splits']} random splits: mean observed, and share of splits inside the interval"
    shares = Table("settings", "expected", "observed", "inside", title=title)
    for row in result["share of splits inside"]:
        shares.add_row(
            row["settings"], f"{row['expected']:g}", f"{row['observed']:.2f}", f"{row['inside']:.0%}"
        )
    tables.append(shares)
    for way, rows in result["transfer"].items():
        tables.append(_count_table(f"Calibrated on one scanner, counted on another: {way}", rows))
    title = f"Simulated lesions, and the same scans without: q <= {LEVEL:g}"
    columns = ("expected", "lesions", "found", "by low q", "low q", "false", "healthy findings", "low q")
    strong = Table(*columns, "scans alarmed", title=title)
    for row in result["power"]:
        strong.add_row(
            f"{row['expected']:g}",
            str(row["lesions"]),
            f"{row['found']:.0%}",
            f"{row['significant']:.0%}",
            str(row["discoveries"]),
            f"{row['false_discoveries']:.0%}",
            str(row["healthy_findings"]),
            f"{row['healthy_significant']:.1%}",
            f"{row['alarmed_scans']:.0%}",
        )
    return [*tables, strong]


def _count_table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table("settings", "expected", "threshold z", "observed", "95 % interval", "inside", title=title)
    for row in rows:
        table.add_row(
            row["settings"],
            f"{row['expected']:g}",
            f"{row['threshold']:.2f}",
            f"{row['observed']:.2f}",
            f"{row['low']:.2f}-{row['high']:.2f}",
            "yes" if row["inside"] else "NO",
        )
    return table


def _markdown(table: Table) -> str:
    """A table as Markdown."""
    columns = [list(column.cells) for column in table.columns]
    rows = [[str(column.header) for column in table.columns], ["---"] * len(columns)]
    rows += [[str(cell) for cell in row] for row in zip(*columns, strict=True)]
    return f"## {table.title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
