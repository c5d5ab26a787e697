"""An ensemble: several models, each voxel by how rare what they say of it is among healthy voxels.

The z of different families have different tails, so their mean would follow the loudest. Ranks have one
scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models.card import WEIGHTS, ModelCard
from AnomalyDetectLib.models.differentiable import Differentiable
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.evidence import ANOMALY
from AnomalyDetectLib.scoring.score import STATISTICS, Scorer, load_scorer
from AnomalyDetectLib.volume import BoolArray, FloatArray

if TYPE_CHECKING:  # the zoo makes ensembles
    from AnomalyDetectLib.models.zoo import NormativeModel

FAMILY = "ensemble"
RAREST = 5.0  # powers of ten: where a table ends, with some forty voxels of twenty scans beyond it
POWERS = np.linspace(0, RAREST, 51)  # ten for each power
STEP = 1e-4  # z: between two powers at the least, so that a larger z is always rarer


@dataclass(frozen=True)
class RankTable:
    """How rare a z is among healthy voxels.

    middle: the healthy median. above, below: distance from it, z, beyond which on that side lies one healthy
    voxel in 10^`POWERS`; None on the side that a model says nothing of. Rising.
    """

    middle: float
    above: NDArray[np.float64]
    below: NDArray[np.float64] | None

    @classmethod
    def of(cls, healthy: NDArray[np.floating], signed: bool) -> RankTable:
        """The table of the z of healthy voxels (N,). signed: whether the model tells bright from dark."""
        middle = float(np.median(healthy))
        above, below = healthy[healthy >= middle] - middle, middle - healthy[healthy <= middle]
        return cls(middle, _distances(above), _distances(below) if signed else None)

    def rank(self, z: FloatArray) -> FloatArray:
        """-log10 of the share of healthy voxels on the same side that are as far out, with the side's sign.

        0 at the healthy median. Beyond the table it rises on as over its last power of ten, as an exponential
        tail does, so that two strong lesions don't tie.
        """
        from_middle = z.astype(np.float64) - self.middle
        found = _power(np.maximum(from_middle, 0), self.above)
        if self.below is not None:
            found = found - _power(np.maximum(-from_middle, 0), self.below)
        return found.astype(np.float32)

    def numbers(self) -> NDArray[np.float32]:
        """(3,powers): middle, above and below, NaN where there is none."""
        below = np.full_like(self.above, np.nan) if self.below is None else self.below
        return np.stack([np.full_like(self.above, self.middle), self.above, below]).astype(np.float32)

    @classmethod
    def from_numbers(cls, numbers: NDArray[np.floating]) -> RankTable:
        """What `numbers` gave."""
        middle, above, below = numbers.astype(np.float64)
        return cls(float(middle[0]), above, below if np.isfinite(below).all() else None)


@dataclass(frozen=True)
class Member:
    """A model of an ensemble with its healthy statistics for the ensemble's contrast, and its table."""

    model: NormativeModel
    scorer: Scorer
    table: RankTable


class Ensemble:
    """Models of one contrast whose ranks are fused.

    The fused map is the mean over the members of the signed -log10 of the share of healthy voxels that are as
    unusual: Fisher's combination of p-values (Statistical Methods for Research Workers, 4th ed. 1932, section
    21.1) on outlier scores that were brought to one scale, after Kriegel et al., "Interpreting and unifying
    outlier scores" (SDM 2011). Members agree on healthy voxels, too, so the sum has no chi-squared
    distribution: the scorer and the false alarms of the ensemble say what is much.
    """

    def __init__(self, card: ModelCard, models: Sequence[NormativeModel]) -> None:
        """models: the members that the card names. Raises `ModelError` for a damaged file, and for a member
        without statistics.
        """
        self.card = card
        tables = card.tensors()
        self.members = [
            Member(
                model,
                scorer_of_member(model.card, card.contrasts[0]),
                RankTable.from_numbers(tables[model.card.name].numpy()),
            )
            for model in models
        ]

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The mean of the members' healthy versions, None where none has one, and the fused ranks.

        variance: the spread between the healthy versions and the mean of the members' own; that of the ranks
        where there is no healthy version.
        """
        rebuilt = [member.model.rebuild(prepared, device) for member in self.members]
        ranks = [
            member.table.rank(member.scorer.z(prepared, one))
            for member, one in zip(self.members, rebuilt, strict=True)
        ]
        ranks = with_signs(ranks, [member.table.below is not None for member in self.members])
        inside = [np.where(prepared.brain, one, 0) for one in ranks]
        healthy = [one.healthy for one in rebuilt if one.healthy is not None]
        own = [one.variance for one in rebuilt if one.healthy is not None and one.variance is not None]
        variance = np.var(healthy or inside, axis=0)
        if own:
            variance = variance + np.mean(own, axis=0)
        return Rebuild(
            healthy=np.mean(healthy, axis=0).astype(np.float32) if healthy else None,
            variance=variance.astype(np.float32),
            score=np.mean(inside, axis=0).astype(np.float32),
        )

    def differentiable(self, prepared: Prepared, needed: BoolArray, device: str = "cpu") -> Differentiable:
        """Raises `ModelError`: ranks are looked up in tables."""
        raise ModelError(
            f"{self.card.name}: ranks the maps of {len(self.members)} models, so no gradient leads through it"
        )


def members_of(card: ModelCard, known: Iterable[ModelCard]) -> list[ModelCard]:
    """The cards of an ensemble's members among all cards.

    Raises `ModelError` where one is missing, is an ensemble itself, or isn't the model that the ensemble was
    calibrated with.
    """
    by_name = {one.name: one for one in known}
    for name in card.options["members"]:
        if name not in by_name:
            raise ModelError(f"{card.name}: its member {name} isn't there; install the models again")
        if by_name[name].family == FAMILY:
            raise ModelError(f"{card.name}: its member {name} is an ensemble; name single models")
        if fingerprint(by_name[name], card.contrasts[0]) != card.options["fingerprints"][name]:
            raise ModelError(
                f"{card.name}: calibrated with another {name} than the one that is there; install the models "
                "again, or ship the ensemble anew"
            )
    return [by_name[name] for name in card.options["members"]]


def scorer_of_member(card: ModelCard, contrast: str) -> Scorer:
    """A model's healthy statistics for a contrast, verified. Raises `ModelError` where it has none."""
    return load_scorer(card.path(card.calibration(STATISTICS, contrast)), None)


def tells_sides(scorer: Scorer) -> bool:
    """Whether a model tells bright from dark; an anomaly map alone has no sign."""
    return set(scorer.statistics) != {ANOMALY}


def with_signs(ranks: Sequence[FloatArray], signed: Sequence[bool]) -> list[FloatArray]:
    """The ranks (X,Y,Z) with those that have no sign taking that of the others' sum, else bright."""
    total = sum((one for one, own in zip(ranks, signed, strict=True) if own), np.zeros_like(ranks[0]))
    side = np.where(total < 0, -1, 1).astype(np.float32)
    return [one if own else one * side for one, own in zip(ranks, signed, strict=True)]


def fingerprint(card: ModelCard, contrast: str) -> str:
    """What a member's z depends on, in 12 hexadecimal digits: the checksums of its weights and statistics."""
    files = (WEIGHTS, card.calibration(STATISTICS, contrast))
    return hashlib.sha256("".join(card.sha256.get(file, "") for file in files).encode()).hexdigest()[:12]


def _distances(side: NDArray[np.floating]) -> NDArray[np.float64]:
    """The distances beyond which lies one in 10^`POWERS` of those of one side (N,)."""
    found = np.quantile(side.astype(np.float64), 1 - 10.0**-POWERS)
    return np.asarray(found + STEP * np.arange(len(POWERS)))


def _power(distance: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The power of ten that belongs to a distance (X,Y,Z)."""
    last = np.searchsorted(POWERS, RAREST - 1)
    slope = (RAREST - POWERS[last]) / (table[-1] - table[last])
    inside = np.interp(distance, table, POWERS)
    return np.where(distance > table[-1], RAREST + slope * (distance - table[-1]), inside)
