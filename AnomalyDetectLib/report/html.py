"""report.html: a case on one page, in one file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from AnomalyDetectLib.checksums import CARD
from AnomalyDetectLib.errors import AnomalyDetectError, OutputError
from AnomalyDetectLib.findings.session import Decision
from AnomalyDetectLib.io.write import output_errors
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.resources import resources_folder

TEMPLATE = "case.html.j2"

VERDICTS = {
    "ok": "The scan fits the model.",
    "warn": "The scan fits the model with reservations.",
    "refuse": "The scan does not fit the model: nothing on this page can be relied on.",
}
SIGNS = {"bright": "brighter", "dark": "darker"}

# Settings of the findings that the page names when they are not at rest: title, unit, meaning.
SETTINGS = {
    "hysteresis": ("weak threshold, |z| ≥", "", "a finding extends from the threshold down to this one"),
    "min_volume_mm3": ("minimum volume", "mm³", "smaller findings are left out"),
    "open_mm": ("opening", "mm", "thinner parts are taken away"),
    "close_mm": ("closing", "mm", "nearer parts are joined"),
    "grow_mm": ("grow", "mm", "every finding is enlarged, or shrunk where negative"),
    "max_uncertainty": ("uncertainty limit, z", "", "findings above it count as uncertain"),
}


def write_html(
    report: Mapping[str, Any],
    preview: Path | None,
    path: Path,
    decisions: Mapping[int, Decision] | None = None,
) -> None:
    """Write a case as one HTML page with its picture inside.

    report: as in report.json; volumes in ml, lengths and RAS places in mm, scores in z. preview: a PNG file;
    None leaves the picture out. decisions: the reader's, by finding id; None: those in the report, if any.
    Raises `OutputError` when the picture is not there or the page can't be written; then nothing is left
    behind.
    """
    if preview is not None and not preview.is_file():
        raise OutputError(f"{preview}: there is no such picture; write it first, or leave it out")
    picture = "" if preview is None else data_uri(preview)
    template = resources.files("AnomalyDetectLib.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template).render(preview=picture, **content(report, decisions))
    beside = path.with_name(f".{path.name}.partial")
    try:
        with output_errors(path):
            beside.write_text(page + "\n", encoding="utf-8")
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def data_uri(picture: Path) -> str:
    """A PNG file as the text that stands in for its address."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode('ascii')}"


def content(report: Mapping[str, Any], decisions: Mapping[int, Decision] | None) -> dict[str, Any]:
    """What the template lays out, every number already written with its unit's digits."""
    rows = [finding_row(row, decisions) for row in report.get("findings", ())]
    fit, second = report.get("fit", {}), report.get("also")
    verdict = str(fit.get("verdict", ""))
    return {
        "case": str(report.get("case", "")) or "case",
        "summary": summary(report, rows),
        "notice": NOTICE,
        "findings": rows,
        "decided": any(row["decision"] or row["note"] for row in rows),
        "two_sequences": any(row["sequence"] for row in rows),
        "thresholds": thresholds(report),
        "verdict": verdict,
        "fit": VERDICTS.get(verdict, "It was not examined whether the scan fits the model."),
        "reasons": list(fit.get("reasons", ())),
        "warnings": list(report.get("warnings", ())),
        "model": model_facts(report.get("model", {})),
        "second_model": model_facts(second["model"]) if second else [],
        "about": case_facts(report),
    }


def finding_row(row: Mapping[str, Any], decisions: Mapping[int, Decision] | None) -> dict[str, Any]:
    """One line of the table: its cells as text, and what the reader decided."""
    if decisions is None:
        verdict, note = row.get("verdict"), row.get("note", "")
    else:
        decision = decisions.get(int(row["id"]), Decision())
        verdict, note = decision.verdict, decision.note
    return {
        "id": row["id"],
        "where": " ".join(word for word in (row["side"], row["location"]) if word),
        "numbers": [
            ", ".join(f"{coordinate:.0f}" for coordinate in row["centroid_ras_mm"]),
            f"{row['volume_ml']:.2f}",
            f"{row['longest_diameter_mm']:.0f}",
            f"{row['peak_z']:.1f}",
            f"{row['mean_z']:.1f}",
            number(row["p"], ".3f"),
            number(row["q"], ".3f"),
            number(row["uncertainty"], ".1f"),
        ],
        "sign": SIGNS[row["sign"]],
        "sequence": row.get("sequence", ""),
        "decision": verdict or "",
        "note": note or "",
    }


def number(value: float | None, digits: str) -> str:
    """The value as text; empty where there is none."""
    return "" if value is None else format(value, digits)


def summary(report: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """How many findings, how large, and what the reader said, in one line."""
    total = sum(row["volume_ml"] for row in report.get("findings", ()))
    noun = "finding" if len(rows) == 1 else "findings"
    line = f"{len(rows)} {noun}, {total:.1f} ml"
    verdicts = [row["decision"] for row in rows]
    if any(verdicts):
        kept, rejected = verdicts.count("keep"), verdicts.count("reject")
        line += f"; {kept} kept, {rejected} rejected, {verdicts.count('')} undecided"
    return line + (f"; reader: {report['reader']}" if report.get("reader") else "")


def thresholds(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Every threshold that made the findings: name, value, and what it means."""
    expected = report.get("expected_false_alarms")
    lines = [
        (
            "threshold, |z| ≥",
            number(report.get("threshold"), ".2f"),
            "a voxel belongs to a finding where scan and healthy version differ by at least this many "
            "standard deviations of healthy scans",
        ),
        (
            "expected false alarms",
            "not known" if expected is None else f"{expected:.2g}",
            "the model has no calibration on healthy scans"
            if expected is None
            else "findings that a healthy brain shows on average at these settings"
            + ("; two sequences: the false alarms of both are added" if report.get("also") else ""),
        ),
    ]
    settings = report.get("settings", {})
    for name, (title, unit, meaning) in SETTINGS.items():
        if settings.get(name):
            lines.append((title, f"{settings[name]:g} {unit}".strip(), meaning))
    if settings.get("sign", "both") != "both":
        lines.append(("sign", SIGNS[settings["sign"]], "the only findings that are searched for"))
    for name, title, meaning in (
        ("image_score", "score of the whole scan", "higher is more unusual"),
        ("image_p", "p of the whole scan", "share of healthy scans that are at least as unusual"),
    ):
        if report.get(name) is not None:
            lines.append((title, f"{report[name]:.3g}", meaning))
    return lines


def model_facts(used: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name, version and checksum of the model, and its card's facts where the card is of that version."""
    name, version = str(used.get("name", "")), str(used.get("version", ""))
    facts = [("model", f"{name} {version}".strip() or "not known")]
    card = card_of(name)
    if card.get("version") == version:
        ages = card.get("age_range")
        facts += [
            ("summary", str(card["summary"])),
            ("intended use", str(card["intended_use"])),
            ("contrasts", ", ".join(card["contrasts"])),
            ("ages in training", f"{ages[0]:g}-{ages[1]:g} years" if ages else "not known"),
            ("training", str(card["training"])),
            ("licence of the weights", str(card["licence"])),
            ("credit", str(card["credit"])),
        ]
    if used.get("sha256"):
        facts.append(("SHA-256 of the weights", str(used["sha256"])))
    return facts


def card_of(name: str) -> dict[str, Any]:
    """A model's card as it stands; empty where there is none.

    Not by way of `models.card`, which imports torch: a viewer writes this page too.
    """
    if not name or Path(name).name != name:
        return {}
    try:
        path = resources_folder() / "Models" / name / CARD
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (AnomalyDetectError, OSError, json.JSONDecodeError):
        return {}
    return card


def case_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the scan came from, and what computed the findings when."""
    seconds, second = report.get("seconds", {}), report.get("also") or {}
    facts = [
        ("scan", report.get("input")),
        ("modality", report.get("modality")),
        ("second sequence", second.get("input")),
        ("its modality", second.get("modality")),
        ("AnomalyDetect", report.get("version")),
        ("device", report.get("device")),
        ("time taken", f"{sum(seconds.values()):.0f} s" if seconds else None),
        ("decided", report.get("decided")),
    ]
    return [(name, str(value)) for name, value in facts if value]
