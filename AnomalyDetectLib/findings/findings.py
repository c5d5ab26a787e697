"""Findings: the labelmap and the table that one choice of settings gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from AnomalyDetectLib.findings.atlas import N_CODES, UNKNOWN, Region, RegionAtlas
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import BoolArray

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable

Sign = Literal["bright", "dark"]
IntArray = NDArray[np.int32]
FloatColumn = NDArray[np.float64]

# Below this many points all pairs are faster than a convex hull.
PAIRS_UP_TO = 128


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    id: the value in the labelmap. location, side: of the region that most of it lies in. centroid_ras_mm:
    RAS, mm. volume_ml. peak_z, mean_z: signed score. p: among healthy components of the same size, q:
    Benjamini-Hochberg across the scan's findings; None without calibration. sign: bright or dark.
    uncertainty: mean, z. uncertain: whether it is above the limit. longest_diameter_mm: between the two voxel
    centres that are farthest apart. elongation: square root of the largest over the second principal moment,
    1 for a ball or a disc. sequence: the one of two that its peak was seen in, "" for one scan alone.
    """

    id: int
    location: str
    side: str
    centroid_ras_mm: tuple[float, float, float]
    volume_ml: float
    peak_z: float
    mean_z: float
    p: float | None
    q: float | None
    sign: Sign
    uncertainty: float
    uncertain: bool
    longest_diameter_mm: float
    elongation: float
    sequence: str = ""


@dataclass(frozen=True, eq=False)
class Measures:
    """What is known of each finding by rank, (n,): voxels, sign (1 bright, -1 dark), uncertain or not."""

    voxels: NDArray[np.int64]
    sign: NDArray[np.int8]
    uncertain: BoolArray


@dataclass(frozen=True, eq=False)
class Findings:
    """The findings of one scan under one choice of settings; ordered by rank, the largest first.

    settings: what was asked. maps: the maps they were made from. voxels: flat C-order indices (m,) of their
    voxels on the input grid, ascending within each finding. ranks: int32 (m,), each voxel's finding, 0 for
    the largest. ids: int32 (n,), the labelmap's value for each rank. measures: what is known for each rank.
    n_uncertain: findings above the uncertainty limit; n_hidden: how many of them were left out because of it.

    `labelmap` and `table` are made when they are first read, and kept; the labelmap is read-only and never
    changes.
    """

    settings: FindingsSettings
    maps: AnomalyMaps = field(repr=False)
    voxels: NDArray[np.int32] = field(repr=False)
    ranks: IntArray = field(repr=False)
    ids: IntArray = field(repr=False)
    measures: Measures = field(repr=False)
    n_uncertain: int = 0
    n_hidden: int = 0
    atlas: RegionAtlas = field(default_factory=RegionAtlas, repr=False)
    false_alarms: FalseAlarmTable | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def volumes_ml(self) -> FloatColumn:
        """Volume of each finding in ml, by rank."""
        return self.measures.voxels.astype(np.float64) * (self.maps.grid.voxel_mm3 / 1000)

    @property
    def total_ml(self) -> float:
        """Volume of all findings in ml."""
        return float(len(self.voxels) * self.maps.grid.voxel_mm3 / 1000)

    @cached_property
    def labelmap(self) -> IntArray:
        """int32 (i,j,k) on the input grid: the finding's id, 0 elsewhere; read-only."""
        labelmap = np.zeros(self.maps.grid.shape, dtype=np.int32)
        labelmap.reshape(-1)[self.voxels] = self.ids[self.ranks]
        labelmap.setflags(write=False)
        return labelmap

    @cached_property
    def table(self) -> tuple[Finding, ...]:
        """One row a finding, the largest first."""
        return tuple(_Table(self).rows())

    def renumbered(self, ids: Sequence[int] | IntArray) -> Findings:
        """The same findings under other ids, one for each rank."""
        return replace(self, ids=np.asarray(ids, dtype=np.int32))

    def only(self, ids: Sequence[int]) -> Findings:
        """Some of these findings, under the same ids and with the same rows of the table."""
        kept = np.isin(self.ids, np.asarray(ids, dtype=np.int32))
        new_rank = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        ranks = new_rank[self.ranks]
        inside = ranks >= 0
        measures = self.measures
        chosen = replace(
            self,
            voxels=self.voxels[inside],
            ranks=ranks[inside],
            ids=self.ids[kept],
            measures=Measures(measures.voxels[kept], measures.sign[kept], measures.uncertain[kept]),
        )
        # q was found across all findings; a reader's choice among them must not change it.
        chosen.__dict__["table"] = tuple(row for row, keep in zip(self.table, kept, strict=True) if keep)
        return chosen

    def with_id(self, finding_id: int) -> NDArray[np.int32]:
        """Flat C-order indices of one finding's voxels; empty when there is no such id."""
        rank = np.flatnonzero(self.ids == finding_id)
        return self.voxels[self.ranks == rank[0]] if len(rank) else self.voxels[:0]


class _Table:
    """Measures every finding of one scan together: one pass over the voxels for each column."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.n = len(findings)
        self.counts = findings.measures.voxels.astype(np.float64)
        maps = findings.maps
        self.affine = maps.grid.affine
        small = np.uint16 if self.n < 2**16 else np.uint32  # 16 bits are sorted by radix
        order = np.argsort(findings.ranks.astype(small), kind="stable")
        self.ranks = findings.ranks[order]
        self.voxels = findings.voxels[order]
        self.starts = np.concatenate([[0], np.cumsum(findings.measures.voxels)]).astype(np.int64)
        self.ijk = np.stack(np.unravel_index(self.voxels, maps.grid.shape), axis=1).astype(np.float64)
        self.score = np.nan_to_num(maps.score.reshape(-1)[self.voxels].astype(np.float64))

    def mean(self, values: FloatColumn) -> FloatColumn:
        """Mean of a value per voxel (m,) over each finding (n,)."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1]) / self.counts)

    def rows(self) -> list[Finding]:
        """All rows, the largest finding first."""
        if self.n == 0:
            return []
        findings, sign = self.findings, self.findings.measures.sign.astype(np.float64)
        centre = np.stack([self.mean(self.ijk[:, axis]) for axis in range(3)], axis=1)
        centroid = centre @ self.affine[:3, :3].T + self.affine[:3, 3]
        signed = self.score * sign[self.ranks]
        peak = np.maximum.reduceat(signed, self.starts[:-1]) * sign
        mean = self.mean(self.score)
        elongation, p, q = self.elongation(centre), *self.p_and_q(peak, mean)
        uncertainty = self.mean(findings.maps.uncertainty.reshape(-1)[self.voxels].astype(np.float64))
        regions, sequences = self.regions(), self.sequences(signed)
        return [
            Finding(
                id=int(findings.ids[rank]),
                location=regions[rank].name,
                side=regions[rank].side,
                centroid_ras_mm=(
                    float(centroid[rank][0]),
                    float(centroid[rank][1]),
                    float(centroid[rank][2]),
                ),
                volume_ml=float(findings.volumes_ml[rank]),
                peak_z=float(peak[rank]),
                mean_z=float(mean[rank]),
                p=None if p is None else float(p[rank]),
                q=None if q is None else float(q[rank]),
                sign="bright" if sign[rank] > 0 else "dark",
                uncertainty=float(uncertainty[rank]),
                uncertain=bool(findings.measures.uncertain[rank]),
                longest_diameter_mm=self.longest_diameter(rank),
                elongation=float(elongation[rank]),
                sequence=sequences[rank],
            )
            for rank in range(self.n)
        ]

    def regions(self) -> list[Region]:
        """The atlas region of each finding."""
        codes = self.findings.maps.region
        if codes is None:
            return [Region(UNKNOWN)] * self.n
        at_voxel = codes.reshape(-1)[self.voxels].astype(np.int64)
        counts = np.bincount(self.ranks * np.int64(N_CODES) + at_voxel, minlength=self.n * N_CODES)
        return [self.findings.atlas.locate_counts(row) for row in counts.reshape(self.n, N_CODES)]

    def sequences(self, signed: FloatColumn) -> list[str]:
        """The sequence that each finding's peak comes from, by score in the direction of its sign (m,)."""
        maps = self.findings.maps
        if maps.sequence is None:
            return [""] * self.n
        order = np.lexsort((-signed, self.ranks))
        codes = maps.sequence.reshape(-1)[self.voxels[order[self.starts[:-1]]]]
        return [maps.sequence_names[code - 1] if code else "" for code in codes]

    def elongation(self, centre: FloatColumn) -> FloatColumn:
        """Square root of the largest over the second principal moment of each finding, (n,)."""
        offset = self.ijk - centre[self.ranks]
        moments = np.empty((self.n, 3, 3))
        for a in range(3):
            for b in range(a, 3):
                moments[:, a, b] = moments[:, b, a] = self.mean(offset[:, a] * offset[:, b])
        moments += np.eye(3) / 12  # the moments of a voxel of size 1, so that a single voxel has an extent
        linear = self.affine[:3, :3]
        principal = np.linalg.eigvalsh(linear @ moments @ linear.T)
        return np.sqrt(principal[:, 2] / np.maximum(principal[:, 1], np.finfo(float).tiny))

    def longest_diameter(self, rank: int) -> float:
        """Largest distance in mm between two voxel centres of a finding."""
        ijk = self.ijk[self.starts[rank] : self.starts[rank + 1]]
        # Voxels come in C order: only the first and last of each run of equal i, j can be extreme.
        new_row = np.any(ijk[1:, :2] != ijk[:-1, :2], axis=1)
        ends = np.concatenate([[True], new_row]) | np.concatenate([new_row, [True]])
        points = ijk[ends] @ self.affine[:3, :3].T
        if len(points) > PAIRS_UP_TO:
            with suppress(QhullError):  # all in one plane
                points = points[ConvexHull(points).vertices]
        return float(pdist(points).max()) if len(points) > 1 else 0.0

    def p_and_q(self, peak: FloatColumn, mean: FloatColumn) -> tuple[FloatColumn | None, FloatColumn | None]:
        """p of each finding among healthy components, and q across the findings; None without calibration."""
        findings = self.findings
        if findings.false_alarms is None:
            return None, None
        # The table of false alarms is made with the engine, which makes these findings.
        from AnomalyDetectLib.findings.false_alarms import benjamini_hochberg

        p = findings.false_alarms.p_values(
            findings.settings,
            sign=findings.measures.sign,
            volume_mm3=findings.volumes_ml * 1000,
            peak=np.abs(peak),
            mean=np.abs(mean),
        )
        return p, benjamini_hochberg(p)
