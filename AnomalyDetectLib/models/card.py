"""The model card: what a model is, what it was trained on, what it is worth, and the checksums of its
files.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AnomalyDetectLib.checksums import CARD, sha256_of
from AnomalyDetectLib.errors import ModelError

if TYPE_CHECKING:  # a viewer reads cards without torch
    from torch import Tensor

README = "README.md"
FALSE_ALARMS = "false_alarms.json"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What stands in a model folder's card.json.

    family: the file of `models/` that runs it. contrasts: modalities it was trained for. licence: of the
    weights, the strictest of their data's. sha256: checksum of every other file that the model loads.
    figures: measured results by name.
    options: what the family needs to rebuild the network.
    """

    name: str
    version: str
    family: str
    contrasts: tuple[str, ...]
    summary: str
    licence: str
    credit: str
    training: str
    intended_use: str
    age_range: tuple[float, float] | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def path(self, file: str) -> Path:
        """The path of one of the model's files, its checksum verified.

        Raises `ModelError` when it is missing or its SHA-256 is not the card's.
        """
        path = self.folder / file
        if not path.is_file():
            raise ModelError(f"{self.name}: {file} is missing from {self.folder}; install the model again")
        if file not in self.sha256:
            raise ModelError(f"{self.name}: {file} has no checksum in {CARD}; install the model again")
        found = sha256_of(path)
        if found != self.sha256[file]:
            raise ModelError(
                f"{self.name}: {file} has SHA-256 {found[:12]}…, the card says {self.sha256[file][:12]}…; "
                "the file is damaged or was changed: install the model again"
            )
        return path

    def tensors(self, file: str = WEIGHTS) -> dict[str, Tensor]:
        """Verified tensors of a safetensors file as float32."""
        from safetensors.torch import load_file

        return {name: value.float() for name, value in load_file(self.path(file)).items()}

    def calibration(self, file: str, contrast: str) -> str:
        """The name of a calibration file for a contrast: the first one's is plain, `name-T2.json` is
        another's.
        """
        if contrast == self.contrasts[0]:
            return file
        stem, dot, ending = file.partition(".")
        return f"{stem}-{contrast}{dot}{ending}"

    @property
    def megabytes(self) -> float:
        """Size of the model's files on disk in MB."""
        return (
            sum((self.folder / file).stat().st_size for file in self.sha256 if (self.folder / file).exists())
            / 1e6
        )


def read_card(folder: Path) -> ModelCard:
    """Read a model folder's card. Raises `ModelError` when there is none or it can't be understood."""
    path = folder / CARD
    if not path.is_file():
        raise ModelError(f"{folder.name}: no {CARD} in {folder}; install the model again")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["contrasts"] = tuple(raw["contrasts"])
        raw["age_range"] = tuple(raw["age_range"]) if raw.get("age_range") else None
        return ModelCard(**raw, folder=folder)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"{folder.name}: {CARD} can't be read ({error}); install the model again") from error


def write_card(card: ModelCard) -> None:
    """Write card.json and README.md beside the model's files, with the checksums of all files there."""
    files = sorted(p for p in card.folder.iterdir() if p.is_file() and p.name not in (CARD, README))
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card) if f.name != "folder"}
    fields["sha256"] = {file.name: sha256_of(file) for file in files}
    (card.folder / CARD).write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (card.folder / README).write_text(markdown(card), encoding="utf-8")


def markdown(card: ModelCard) -> str:
    """The card as a page to read."""
    ages = "not known" if card.age_range is None else f"{card.age_range[0]:g}-{card.age_range[1]:g} years"
    lines = [
        f"# {card.name} {card.version}",
        card.summary,
        f"**Intended use.** {card.intended_use}",
        f"**Contrasts.** {', '.join(card.contrasts)}. **Ages of the training set.** {ages}.",
        f"**Training.** {card.training}",
        f"**Licence of the weights.** {card.licence}. The code is Apache-2.0.",
        f"**Credit.** {card.credit}",
    ]
    for title, values in (("figure", card.figures), ("training run", card.options)):
        if values:
            rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
            lines.append(f"| {title} | |\n|---|---|\n{rows}")
    return "\n\n".join(lines) + "\n"
