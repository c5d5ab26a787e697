"""From shipped, measured models to the folder of an ensemble: members, rank tables, calibration, card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import save_file
from scipy import stats

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import WEIGHTS, ModelCard, read_card, write_card
from AnomalyDetectLib.models.choice import measured, preferred, quick
from AnomalyDetectLib.models.ensemble import (
    FAMILY,
    RankTable,
    fingerprint,
    scorer_of_member,
    tells_sides,
)
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS
from AnomalyDetectLib.training import cards
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.config import TrainingConfig
from AnomalyDetectLib.training.ship_slices import Calibrate, flair_scorer, healthy_t1, lesion_free, staged
from AnomalyDetectLib.volume import BoolArray

MEMBERS = 3
# |Spearman| of healthy z with a model that is in already: above it the newcomer repeats what is known.
ALIKE = 0.7
EVERY = 20  # voxels: neighbours say the same, and correlations need no more
# A prepared scan, and where (X,Y,Z) it is healthy.
Healthy = tuple[Prepared, BoolArray]


@dataclass(frozen=True)
class Asked:
    """What a model says of all healthy voxels: z (N,). signed: whether it tells bright from dark."""

    card: ModelCard
    z: NDArray[np.float32]
    signed: bool


@dataclass(frozen=True)
class Members:
    """The models that were taken, and the rank correlation of each pair by both names."""

    asked: list[Asked]
    correlations: dict[tuple[str, str], float]


def ship_ensemble(
    config: TrainingConfig, data: Path, runs: Path, console: Console, calibrate: Calibrate
) -> None:
    """Write the folder of an ensemble; nothing is left in the zoo unless all of it was made.

    The configuration's options give the contrast, and "members" by name where they aren't to be chosen.
    calibrate: what writes statistics and false-alarm table. FLAIR ensembles get statistics from lesion-free
    slices and no false-alarm table, as single models do. Raises `AnomalyDetectError` for another contrast,
    and where fewer than two models fit together.
    """
    contrast = config.options.get("contrast", "T1")
    if contrast not in ("T1", "FLAIR"):
        raise AnomalyDetectError(
            f"{config.name}: no healthy scans to rank {contrast} with; ensembles are for T1 or FLAIR"
        )
    chosen, named = candidates(config, contrast), "members" in config.options
    sets: dict[str, list[HealthyCase]] = {}
    if contrast == "T1":
        sets = healthy_t1(data, runs)
        scans = [(case.prepared, case.prepared.brain) for case in sets["train"]]
    else:
        scans = lesion_free(data, runs)
    console.print(f"{config.name}: asking models about {len(scans)} healthy scans")
    answers = (asked(card, contrast, scans) for card in chosen)
    members = together(answers, len(chosen), alike=2.0) if named else together(answers)
    if len(members.asked) < 2:
        raise AnomalyDetectError(
            f"{config.name}: every model measured on {contrast} says the same as {chosen[0].name} (rank "
            f"correlation {ALIKE} or more on healthy scans); name members in its options, or use it alone"
        )
    with staged(config.name, runs) as folder:
        tables = {
            one.card.name: torch.from_numpy(RankTable.of(one.z, one.signed).numbers())
            for one in members.asked
        }
        save_file(tables, folder / WEIGHTS)
        write_card(ensemble_card(config, contrast, members, folder))
        model = zoo.load(read_card(folder))
        if contrast == "T1":
            calibrate(model, contrast, sets, console)
        else:
            flair_scorer(model, data, runs).save(folder / STATISTICS, folder / IMAGE_SCORES)
            write_card(model.card)  # with the checksums of the statistics
    console.print(f"{config.name}: {model.card.summary}")


def candidates(config: TrainingConfig, contrast: str) -> list[ModelCard]:
    """The models that may join, in the order in which they are asked: those that the configuration names, or
    all quick ones that were measured on the contrast, the best first.

    Raises `AnomalyDetectError` for a name that isn't a single model of the contrast, and for fewer than two.
    """
    known = [
        card
        for card in zoo.cards()
        if contrast in card.contrasts
        and card.family != FAMILY
        and card.calibration(STATISTICS, contrast) in card.sha256
    ]
    if "members" in config.options:
        by_name = {card.name: card for card in known}
        for name in config.options["members"]:
            if name not in by_name:
                raise AnomalyDetectError(
                    f"{config.name}: {name!r} is no single model with statistics for {contrast}; there are "
                    f"{', '.join(by_name) or 'none'}"
                )
        found = [by_name[name] for name in dict.fromkeys(config.options["members"])]
    else:
        fit = [card for card in known if quick(card) and measured(card, contrast) is not None]
        found = sorted(fit, key=lambda card: (-(measured(card, contrast) or 0.0), preferred(card)))
    if len(found) < 2:
        there = ", ".join(card.name for card in found) or "none"
        raise AnomalyDetectError(
            f"{config.name}: an ensemble needs two models measured on {contrast}, and there is {there}; run "
            "`anomalydetect benchmark zoo --onto-cards`, or name members in its options"
        )
    return found


def together(ordered: Iterable[Asked], most: int = MEMBERS, alike: float = ALIKE) -> Members:
    """Take the first, then each that is not alike any that is in, up to `most`.

    Greedy by accuracy and diversity, after Schubert et al., "On evaluation of outlier rankings and outlier
    scores" (SDM 2012). Models after the last that is taken are not asked.
    """
    found: list[Asked] = []
    correlations: dict[tuple[str, str], float] = {}
    for one in ordered:
        own = {(other.card.name, one.card.name): correlation(other, one) for other in found}
        if all(abs(value) < alike for value in own.values()):
            found.append(one)
            correlations |= own
        if len(found) == most:
            break
    return Members(found, correlations)


def correlation(one: Asked, other: Asked) -> float:
    """Spearman's rank correlation of two models on healthy voxels; beside a model that doesn't tell bright
    from dark, of how far out the other's are.
    """
    x, y = one.z[::EVERY], other.z[::EVERY]
    if one.signed != other.signed:
        x, y = (np.abs(x) if one.signed else x), (np.abs(y) if other.signed else y)
    return float(stats.spearmanr(x, y).statistic)


def asked(card: ModelCard, contrast: str, scans: Sequence[Healthy]) -> Asked:
    """What a model says of healthy scans."""
    model, scorer = zoo.load(card), scorer_of_member(card, contrast)
    parts = [scorer.z(prepared, model.rebuild(prepared))[healthy] for prepared, healthy in scans]
    return Asked(card, np.concatenate(parts), tells_sides(scorer))


def ensemble_card(config: TrainingConfig, contrast: str, members: Members, folder: Path) -> ModelCard:
    """The card before it is measured: what its members' cards say, together."""
    own = [one.card for one in members.asked]
    names = [card.name for card in own]
    ranges = [card.age_range for card in own if card.age_range is not None]
    pairs = ", ".join(f"{a} and {b} {value:.2f}" for (a, b), value in members.correlations.items())
    return ModelCard(
        name=config.name,
        version="1.0",
        family=FAMILY,
        contrasts=(contrast,),
        summary=f"{config.summary} Members: {', '.join(names)}; rank correlation on healthy voxels: {pairs}.",
        licence="; ".join(dict.fromkeys(card.licence for card in own)),
        credit=" ".join(dict.fromkeys(card.credit for card in own)),
        training="None of its own; healthy training scans say how rare what its members find is. "
        + " ".join(f"{card.name}: {card.training}" for card in own),
        intended_use=cards.USE,
        age_range=(max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None,
        options={
            "members": names,
            "fingerprints": {card.name: fingerprint(card, contrast) for card in own},
        },
        folder=folder,
    )
