"""Looks: what each model of benchmark zoo says of one case, from one rebuild."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from AnomalyDetectLib.evaluation.feature_figures import SliceFeatures, slice_features
from AnomalyDetectLib.evaluation.patch_ranking import Patches
from AnomalyDetectLib.evaluation.zoo_cases import ZooCase
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.slices import Embedding, PatchScores, SliceModel, slices_of, to_slices
from AnomalyDetectLib.models.zoo import NormativeModel
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.evidence import ANOMALY, RESIDUAL, evidence, fuse
from AnomalyDetectLib.scoring.score import Scorer
from AnomalyDetectLib.scoring.statistics import spread
from AnomalyDetectLib.volume import FloatArray

SLOW_SECONDS = 10.0  # of the first rebuild


@dataclass(frozen=True)
class Look:
    """What a model says of one case.

    maps: (X,Y,Z) by row name, larger is more unusual. seconds: of rebuild and score.
    evidence: maps (X,Y,Z) before they are compared with healthy scans: residual, oriented, and anomaly.
    patches: scores that the family gives patches itself. features: of the measured slices.
    """

    case: ZooCase
    maps: Mapping[str, FloatArray]
    seconds: float
    rebuild: Rebuild
    evidence: Mapping[str, FloatArray]
    patches: Mapping[str, Patches]
    features: SliceFeatures | None


@dataclass(frozen=True)
class Contestant:
    """A model with its statistics, None where it has none for this contrast."""

    card: ModelCard
    model: NormativeModel
    scorer: Scorer | None

    @property
    def name(self) -> str:
        """The model's."""
        return self.card.name

    @property
    def by_region(self) -> bool:
        """Whether its residual and its distance of patches make a hybrid."""
        return isinstance(self.model, SliceModel) and self.model.family.patch_distance

    @property
    def fitted(self) -> bool:
        """Whether it has embeddings or a hybrid, which want healthy scans."""
        return self.by_region or (
            isinstance(self.model, SliceModel) and isinstance(self.model.family, Embedding)
        )

    def score(self, prepared: Prepared, rebuild: Rebuild) -> FloatArray:
        """Signed score (X,Y,Z): z where there are statistics, else the evidence over its own spread."""
        if self.scorer is not None:
            return self.scorer.z(prepared, rebuild)
        maps = evidence(prepared, rebuild)
        scaled = {}
        for name, one in maps.items():
            centred = one - np.float32(np.median(one[prepared.brain]) if name == ANOMALY else 0)
            scaled[name] = np.where(prepared.brain, centred / max(spread(centred, prepared.brain), 1e-6), 0)
        return fuse({name: one.astype(np.float32) for name, one in scaled.items()})

    def look(self, case: ZooCase, bright: bool) -> Look:
        """One rebuild, and everything that is measured of it."""
        began = time.perf_counter()
        rebuild = self.model.rebuild(case.prepared)
        score = oriented(self.score(case.prepared, rebuild), bright)
        seconds = time.perf_counter() - began
        found = evidence(case.prepared, rebuild) if rebuild.anomaly is not None else {}
        raw = {ANOMALY: found[ANOMALY]} if ANOMALY in found else {}
        if self.by_region:
            raw[RESIDUAL] = oriented(found[RESIDUAL], bright)
        features, patches = None, {}
        if isinstance(self.model, SliceModel):
            family = self.model.family
            if isinstance(family, Embedding):
                features = slice_features(family, case, rebuild)
            if isinstance(family, PatchScores) and rebuild.healthy is not None:
                patches = _own_patches(family, family.size, case.prepared, rebuild.healthy)
        return Look(case, {self.name: score}, seconds, rebuild, raw, patches, features)


@dataclass
class Watch:
    """Looks at cases one by one; no more than `slow_limit` of each list once the first rebuild was slow."""

    contestant: Contestant
    bright: bool
    slow_limit: int | None
    say: Callable[[str], None] = lambda text: None
    seconds: list[float] = field(default_factory=list)

    @property
    def slow(self) -> bool:
        """Whether the first rebuild took longer than `SLOW_SECONDS`."""
        return bool(self.seconds) and self.seconds[0] > SLOW_SECONDS

    def looks(self, cases: Sequence[ZooCase], what: str) -> Iterator[Look]:
        """A look at each case. what: which cases they are, for the line that shows progress."""
        for number, case in enumerate(cases):
            if self.slow and self.slow_limit is not None and number >= self.slow_limit:
                return
            self.say(f"{self.contestant.name}: {what}, {number + 1} of {len(cases)}")
            found = self.contestant.look(case, self.bright)
            self.seconds.append(found.seconds)
            yield found


def oriented(score: FloatArray, bright: bool) -> FloatArray:
    """What counts as unusual: bright alone, or either sign."""
    return score if bright else np.abs(score)


def _own_patches(
    family: PatchScores, size: int, prepared: Prepared, healthy: FloatArray
) -> dict[str, Patches]:
    """The family's scores of every patch of a scan, from its rebuild."""
    image = slices_of(prepared, size)["image"]
    scores = family.patch_scores(image, to_slices(torch.from_numpy(healthy), size))
    return {name: np.asarray(one.numpy()) for name, one in scores.items()}
