"""The zoo: every model folder, and the one function that turns a name into a model that can rebuild."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from AnomalyDetectLib.checksums import CARD
from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models import (
    anatomy,
    atlas_z,
    choice,
    ensemble,
    intensity,
    masked_rebuild,
    restoration,
    rivals,
    slices,
)
from AnomalyDetectLib.models.card import ModelCard, read_card
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import FloatArray


class NormativeModel(Protocol):
    """A model of healthy brains."""

    card: ModelCard

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """A healthy version of the scan."""


_FAMILIES: dict[str, Callable[[ModelCard], NormativeModel]] = {
    "anatomy": anatomy.Anatomy,
    "masked-rebuild": masked_rebuild.MaskedRebuild,
    "restoration": restoration.Restoration,
    "atlas-z": atlas_z.AtlasZ,
    "intensity": intensity.Intensity,
}


ATLAS = "atlas-z"  # the model whose mean and SD of healthy brains others look at, too


def models_folder() -> Path:
    """The folder of the shipped models."""
    return resource("Models")


def cards() -> list[ModelCard]:
    """The cards of all normative models, the preferred first."""
    found = [read_card(path.parent) for path in sorted(models_folder().glob(f"*/{CARD}"))]
    return sorted((card for card in found if card.name not in choice.NOT_NORMATIVE), key=choice.preferred)


def preferred_cards(contrast: str) -> list[ModelCard]:
    """The models of `choice.PREFERENCE` that know a contrast. The many 2-D families beside them are measured
    by `benchmark zoo` alone.
    """
    return [card for card in cards() if card.name in choice.PREFERENCE and contrast in card.contrasts]


def choose(name: str, modality: str | None) -> ModelCard:
    """The card of a model by name; "auto": what `automatic` takes for `modality`, the preferred one where
    that is None.

    Raises `ModelError` naming what there is when nothing fits.
    """
    known = cards()
    if name != "auto":
        for card in known:
            if card.name == name:
                return card
        raise ModelError(
            f"model {name!r} is unknown; there are: {', '.join(card.name for card in known) or 'none'}"
        )
    if modality is None and known:
        return known[0]
    return automatic(modality or "any").card


def automatic(modality: str) -> choice.Choice:
    """The calibrated model with the best measured figure for `modality`, and why (see `choice.best`).

    Raises `ModelError` naming the contrasts that there are models for.
    """
    known = cards()
    found = choice.best(known, modality)
    if found is None:
        contrasts = ", ".join(choice.choices(known)) or "nothing"
        raise ModelError(f"no calibrated model for {modality} scans; there are models for {contrasts}")
    return found


def load(card: ModelCard) -> NormativeModel:
    """The model of a card, its weights verified. Raises `ModelError` for a family that this version doesn't
    know, and for an ensemble whose members aren't there.
    """
    if card.family in slices.FAMILIES:
        return slices.SliceModel(card)
    if card.family == ensemble.FAMILY:
        return ensemble.Ensemble(card, [load(member) for member in ensemble.members_of(card, cards())])
    if card.family == choice.RIVAL:
        return rivals.Rival(card, _atlas_for(card))
    if card.family not in _FAMILIES:
        raise ModelError(
            f"{card.name}: family {card.family!r} is unknown to this version; update anomalydetect"
        )
    return _FAMILIES[card.family](card)


def atlas_of(contrast: str) -> dict[str, FloatArray] | None:
    """Mean and SD (X,Y,Z) of healthy brains from the model atlas-z, None where it isn't or has no such
    contrast.
    """
    for card in cards():
        if card.name == ATLAS and contrast in card.contrasts:
            return {name: value.numpy() for name, value in card.tensors().items()}
    return None


def _atlas_for(card: ModelCard) -> dict[str, FloatArray] | None:
    """What a rival's map looks at. Raises `ModelError` where it needs an atlas and there is none."""
    if card.options["map"] not in rivals.ATLAS_MAPS:
        return None
    found = atlas_of(card.contrasts[0])
    if found is None:
        raise ModelError(f"{card.name}: the model {ATLAS} that it looks at isn't there; install it again")
    return found
