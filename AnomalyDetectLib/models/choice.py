"""What `auto` takes for a contrast, and why: the model with the best measured figure.

Runs without torch, so that a viewer can show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from AnomalyDetectLib.models.card import FALSE_ALARMS, ModelCard

# Where nothing was measured: the first of these whose contrasts include the scan's.
PREFERENCE = ("restore-any", "restore-t1", "atlas-z", "intensity", "ae-u-ct")
# Families without training.
RIVAL = "rival"
UNTRAINED = ("atlas-z", "intensity", RIVAL)
# Folders that serve the preparation and rebuild nothing.
NOT_NORMATIVE = ("brain-extraction",)

# Figures that `benchmark zoo --onto-cards` writes: see `deciding_figure`, and the median seconds of a scan.
SECONDS = "zoo seconds"
# On one core of a slow CPU, where the flagship takes ten: those that search or sample take longer, and are
# had by their names.
SLOWEST = 20.0


@dataclass(frozen=True)
class Choice:
    """A model and why it is the one, in a sentence that begins with its name."""

    card: ModelCard
    reason: str


def deciding_figure(contrast: str) -> str:
    """The name of the figure that decides for a contrast: average precision, 0-1, the mean over the sets of
    `benchmark zoo`; of voxels, of slices for CT, where no lesion is drawn.
    """
    return f"zoo AP {contrast}"


def measured(card: ModelCard, contrast: str) -> float | None:
    """The deciding figure of a model; None where it wasn't measured on the contrast."""
    return _number(card.figures.get(deciding_figure(contrast)))


def quick(card: ModelCard) -> bool:
    """Whether a scan takes the model no longer than `SLOWEST`, as far as that was measured."""
    return (_number(card.figures.get(SECONDS)) or 0.0) <= SLOWEST


def preferred(card: ModelCard) -> tuple[int, str]:
    """Sorts cards by `PREFERENCE`, then by name."""
    return PREFERENCE.index(card.name) if card.name in PREFERENCE else len(PREFERENCE), card.name


def candidates(cards: Iterable[ModelCard], contrast: str) -> list[ModelCard]:
    """The models that `auto` may take for a contrast, the best first: those with a false-alarm calibration
    for it, since the slider must mean something; the measured before all others, slow ones last.
    """
    able = [
        card
        for card in cards
        if contrast in card.contrasts and card.calibration(FALSE_ALARMS, contrast) in card.sha256
    ]

    def place(card: ModelCard) -> tuple[bool, float, tuple[int, str]]:
        figure = measured(card, contrast)
        return not quick(card), math.inf if figure is None else -figure, preferred(card)

    return sorted(able, key=place)


def best(cards: Iterable[ModelCard], contrast: str) -> Choice | None:
    """What `auto` takes for a contrast, and why; None where no calibrated model knows it."""
    able = candidates(cards, contrast)
    if not able:
        return None
    first = able[0]
    figure = measured(first, contrast)
    if not quick(first):
        reason = f"takes {first.figures[SECONDS]:.0f} s a scan, and no quicker model knows {contrast}"
    elif figure is None:
        reason = f"the preferred model for {contrast}; none was measured on it"
    else:
        kind = "slice" if contrast == "CT" else "voxel"
        rivals = [card for card in able if quick(card) and measured(card, contrast) is not None]
        others = "the only one measured"
        if len(rivals) > 1:
            others = (
                f"best of {len(rivals)} measured; next {rivals[1].name} {measured(rivals[1], contrast):.2f}"
            )
        reason = f"{kind} AP {figure:.2f} on {contrast}, {others}"
        if first.family in UNTRAINED:
            reason += "; no trained model beats it"
    return Choice(first, f"{first.name}: {reason}")


def choices(cards: Iterable[ModelCard]) -> dict[str, Choice]:
    """What `auto` takes, by contrast, for all contrasts that it serves."""
    known = list(cards)
    contrasts = dict.fromkeys(contrast for card in known for contrast in card.contrasts)
    found = {contrast: best(known, contrast) for contrast in sorted(contrasts)}
    return {contrast: choice for contrast, choice in found.items() if choice is not None}


def _number(figure: object) -> float | None:
    """A figure that can be compared; None for text, for nothing, and for what couldn't be measured."""
    return float(figure) if isinstance(figure, (int, float)) and math.isfinite(figure) else None
