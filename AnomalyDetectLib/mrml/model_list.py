"""The models and their cards for the panel, read without importing torch into the viewer."""

from __future__ import annotations

import json
from typing import Any

# As in the zoo: serves the preparation and rebuilds nothing.
NOT_NORMATIVE = ("brain-extraction",)


def model_choices() -> list[dict[str, Any]]:
    """The cards of all models that can be chosen, by name; empty where none is installed."""
    from AnomalyDetectLib.errors import AnomalyDetectError
    from AnomalyDetectLib.resources import resources_folder

    try:
        folder = resources_folder() / "Models"
    except AnomalyDetectError:
        return []
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/card.json"))]
    return [card for card in found if card["name"] not in NOT_NORMATIVE]


def card_text(name: str) -> str:
    """A model's card in a few lines; for "auto" the names of all models with their contrasts."""
    cards = model_choices()
    if name == "auto":
        return "\n".join(f"{card['name']}: {', '.join(card['contrasts'])}" for card in cards)
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
