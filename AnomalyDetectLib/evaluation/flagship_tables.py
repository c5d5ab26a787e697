"""The tables of benchmark flagship: figures with their intervals, and what each table's thresholds are."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from AnomalyDetectLib.evaluation.contest import is_rival
from AnomalyDetectLib.evaluation.lesion_contest import Row
from AnomalyDetectLib.evaluation.lesion_rows import LesionRow
from AnomalyDetectLib.evaluation.metrics import bootstrap
from AnomalyDetectLib.evaluation.overlap import Step

BANDS_ML = ((0.01, 0.1), (0.1, 1.0), (1.0, 10.0), (10.0, 1000.0))
CSV_COLUMNS = ("set", "patient", "map", "ap", "oracle", "dice", "found", "there", "false_alarms")
OTHER_FINDINGS = 1.0
AT_EQUAL = f"at {OTHER_FINDINGS:g} other finding (oracle)"
NAME_WIDTH = 11  # on the console, of a map or region
Figures = dict[str, object]


@dataclass(frozen=True)
class Section:
    """A table. caption: where its thresholds come from. rows: all with the same columns."""

    title: str
    caption: str
    rows: Sequence[Figures]

    @property
    def columns(self) -> list[str]:
        """The columns that say something in any row, without the set and the number of patients, which the
        title has.
        """
        names = [name for name in self.rows[0] if name not in ("set", "patients")]
        return [name for name in names if any(cell(row[name]) for row in self.rows)]

    def printed(self) -> Table:
        """For the console, which is narrow: only a difference has its interval, and what is long or about the
        healthy version stands in flagship.md.
        """
        names = [name for name in self.columns if "lesions found" not in name and "inside" not in name]
        result = Table(title=self.title)
        for number, name in enumerate(names):
            result.add_column(name, min_width=None if number else NAME_WIDTH)
        for row in self.rows:
            result.add_row(*(cell(row[name], brief="minus" not in name) for name in names))
        return result

    def markdown(self) -> str:
        """For flagship.md."""
        lines = [f"## {self.title}", "", self.caption, "", f"| {' | '.join(self.columns)} |"]
        lines += ["|---" * len(self.columns) + "|"]
        lines += [f"| {' | '.join(cell(row[name]) for name in self.columns)} |" for row in self.rows]
        return "\n".join([*lines, ""])


def cell(value: object, brief: bool = False) -> str:
    """A figure with its interval (brief: without), a number, or a text; empty for what can't be had."""
    if isinstance(value, tuple):
        mean, low, high = value
        if not np.isfinite(mean):
            return ""
        return f"{mean:.3f}" if brief else f"{mean:.3f} ({low:.3f} to {high:.3f})"
    if isinstance(value, float):
        return f"{value:.2f}" if np.isfinite(value) else ""
    return str(value)


def summarise(title: str, rows: Sequence[Row]) -> list[Figures]:
    """A row a map, models first: means with 95 % bootstrap over patients, and AP minus the best rival's."""
    by_map: dict[str, list[Row]] = {}
    for row in rows:
        by_map.setdefault(row.map, []).append(row)
    means = {name: float(np.nanmean([row.ap for row in one])) for name, one in by_map.items()}
    best = max((name for name in means if is_rival(name)), key=lambda name: means[name])
    result: list[Figures] = []
    for name, one in by_map.items():
        difference = [row.ap - rival.ap for row, rival in zip(one, by_map[best], strict=True)]
        equal = at_equal_alarms(one)
        result.append(
            {
                "set": title,
                "map": name,
                "patients": len(one),
                "AP": bootstrap([row.ap for row in one]),
                "oracle Dice": bootstrap([row.oracle for row in one]),
                "Dice at 1 % healthy": bootstrap([row.dice for row in one]),
                f"AP minus {best}": bootstrap(difference),
                "sensitivity": sensitivity(one),
                "bright": sensitivity(one, 1),
                "dark": sensitivity(one, -1),
                "lesions found": by_size(one),
                "false alarms": bootstrap([float(row.false_alarms) for row in one]),
                f"sensitivity {AT_EQUAL}": sensitivity(equal),
                f"lesions found {AT_EQUAL}": by_size(equal),
                **{
                    f"{figure.upper()} inside, {when}": inside(one, f"{figure}_{when}")
                    for figure in ("ssim", "psnr")
                    for when in ("before", "after")
                },
            }
        )
    return sorted(result, key=lambda row: (is_rival(str(row["map"])), str(row["map"])))


def at_equal_alarms(rows: Sequence[Row], limit: float = OTHER_FINDINGS) -> list[Row]:
    """The rows of one map as they are at the lowest threshold of the sweep where its findings that touch no
    lesion are at most `limit` in the mean over these very patients, which makes it an oracle figure: so all
    maps may be wrong as often. Empty where no threshold is high enough.
    """
    for steps in zip(*(row.sweep for row in rows), strict=True):
        if np.mean([step.false_findings for step in steps]) <= limit:
            return [_at(row, step) for row, step in zip(rows, steps, strict=True)]
    return []


def _at(row: Row, step: Step) -> Row:
    lesions = tuple(replace(one, hit=hit) for one, hit in zip(row.lesions, step.found, strict=True))
    return replace(row, lesions=lesions, false_alarms=step.false_findings)


def sensitivity(rows: Sequence[Row], sign: int = 0) -> tuple[float, float, float]:
    """Mean share of a patient's lesions that is found. sign: of lesions brighter (1) or darker (-1) alone."""
    chosen = [[one.hit for one in row.lesions if not sign or one.contrast * sign > 0] for row in rows]
    return bootstrap([float(np.mean(hits)) for hits in chosen if hits])


def inside(rows: Sequence[Row], name: str) -> tuple[float, float, float]:
    """Mean over patients of a lesion's figure."""
    return bootstrap(
        [float(np.mean([getattr(one, name) for one in row.lesions])) for row in rows if row.lesions]
    )


def by_size(rows: Sequence[Row]) -> str:
    """Lesions found of those there in each size band; of all where voxels have no known volume."""
    every = [one for row in rows for one in row.lesions]
    parts = []
    for low, high in BANDS_ML:
        if band := [one for one in every if low <= one.volume_ml < high]:
            parts.append(f"{low:g}-{high:g} ml {_counted(band)}")
    unknown = [one for one in every if np.isnan(one.volume_ml)]
    return ", ".join([*parts, *([_counted(unknown)] if unknown else [])])


def _counted(lesions: Sequence[LesionRow]) -> str:
    return f"{sum(one.hit for one in lesions)}/{len(lesions)}"


def write(out: Path, sections: Sequence[Section], every: Sequence[Figures]) -> None:
    """flagship.md for reading, flagship.csv with a line for each patient and map, flagship.json with
    everything.

    every: rows of patients, with their lesions.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "flagship.md").write_text("\n".join(one.markdown() for one in sections), encoding="utf-8")
    summary = [row for one in sections for row in one.rows if "AP" in row]
    other = {one.title: list(one.rows) for one in sections if "AP" not in one.rows[0]}
    whole = {"summary": summary, "patients": list(every), "healthy": other}
    (out / "flagship.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    with (out / "flagship.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=CSV_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(every)
