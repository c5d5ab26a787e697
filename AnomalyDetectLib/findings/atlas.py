"""Names of the coarse regions that a finding can lie in, by the codes of `AnomalyMaps.region`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import AnomalyDetectError

UNKNOWN = "unknown"
SIDES = ("left", "right", "midline", "")
N_CODES = 256

# A name is given when this share of the finding's voxels lies in known regions; below it the name would
# mislead.
KNOWN_SHARE = 0.5


@dataclass(frozen=True)
class Region:
    """One region: its location's name, and its side (left, right, midline, or empty where it has none)."""

    name: str
    side: str = ""


@dataclass(frozen=True)
class RegionAtlas:
    """The regions by their uint8 code; code 0 and codes that are not listed are unknown."""

    regions: Mapping[int, Region] = field(default_factory=dict)

    @classmethod
    def load(cls, table: Path) -> RegionAtlas:
        """Read a tab-separated table with the columns `id` (1 to 255), `name`, `side`.

        Raises `AnomalyDetectError` when a column is missing, a code is out of range or listed twice, or a
        side is not left, right, midline or empty.
        """
        regions: dict[int, Region] = {}
        with table.open(newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            missing = {"id", "name", "side"} - set(rows.fieldnames or ())
            if missing:
                raise AnomalyDetectError(f"{table.name}: the column {sorted(missing)[0]!r} is missing")
            for row in rows:
                code = _code(row["id"], table.name)
                side = (row["side"] or "").strip().lower()
                if code in regions:
                    raise AnomalyDetectError(f"{table.name}: id {code} is listed twice")
                if side not in SIDES:
                    raise AnomalyDetectError(
                        f"{table.name}: side {side!r} of id {code}; use left, right, midline or nothing"
                    )
                regions[code] = Region(row["name"].strip(), side)
        return cls(regions)

    def locate(self, codes: NDArray[np.uint8]) -> Region:
        """The region that most of a finding's voxels lie in; `codes` is uint8 (n,).

        When less than half of the voxels lie in a known region, the name says so: "unknown, near NAME".
        """
        return self.locate_counts(np.bincount(codes, minlength=N_CODES))

    def locate_counts(self, counts: NDArray[np.integer]) -> Region:
        """As `locate`, from the number of voxels with each code, (256,)."""
        known = {code: int(counts[code]) for code in self.regions if counts[code] > 0}
        if not known:
            return Region(UNKNOWN)
        largest = self.regions[max(known, key=lambda code: (known[code], -code))]
        if sum(known.values()) < KNOWN_SHARE * int(counts.sum()):
            return Region(f"{UNKNOWN}, near {largest.name}", largest.side)
        return largest


def _code(text: str, table: str) -> int:
    try:
        code = int(text)
    except (TypeError, ValueError):
        code = -1
    if not 1 <= code < N_CODES:
        raise AnomalyDetectError(f"{table}: id {text!r} is not a whole number from 1 to {N_CODES - 1}")
    return code
