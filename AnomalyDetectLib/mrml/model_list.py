"""The models and their cards for the panel, read without importing torch into the viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def model_choices() -> list[dict[str, Any]]:
    """The cards of all models that can be chosen, by name; empty where none is installed."""
    from AnomalyDetectLib.models.choice import NOT_NORMATIVE

    found = [json.loads(path.read_text(encoding="utf-8")) for path in _card_files()]
    return [card for card in found if card["name"] not in NOT_NORMATIVE]


def card_text(name: str) -> str:
    """A model's card in a few lines; for "auto" what it takes for each contrast and why, then the names of
    all models with their contrasts.
    """
    cards = model_choices()
    if name == "auto":
        every = [f"{card['name']}: {', '.join(card['contrasts'])}" for card in cards]
        return "\n".join([*_automatic(), "", *every])
    card = next(card for card in cards if card["name"] == name)
    figures = [f"{what}: {value}" for what, value in card["figures"].items() if not isinstance(value, dict)]
    lines = [
        card["summary"],
        f"{', '.join(card['contrasts'])}. {card['training']}",
        *figures,
        f"{card['licence']}. {card['credit']}",
        card["intended_use"],
    ]
    return "\n".join(lines)


def _automatic() -> list[str]:
    from AnomalyDetectLib.models.card import read_card
    from AnomalyDetectLib.models.choice import choices

    cards = [read_card(path.parent) for path in _card_files()]
    return [f"{contrast}: {choice.reason}" for contrast, choice in choices(cards).items()]


def _card_files() -> list[Path]:
    from AnomalyDetectLib.errors import AnomalyDetectError
    from AnomalyDetectLib.resources import resources_folder

    try:
        return sorted((resources_folder() / "Models").glob("*/card.json"))
    except AnomalyDetectError:
        return []
