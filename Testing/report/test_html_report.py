"""The page of a case is one file with everything in it, and says what the findings are worth."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.findings.session import Decision
from AnomalyDetectLib.models.zoo import cards
from AnomalyDetectLib.prepare.prepared import ScanFit
from AnomalyDetectLib.report.html import write_html
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.report.report_json import CaseReport, ModelUsed, SecondUsed
from Testing.report.cases import finding

PIXELS = b"\x89PNG\r\n\x1a\n not really a picture"


class Page(HTMLParser):
    """Addresses, tags, the tables' rows as cells of text, and all text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, head: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == head)


def report(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "case": "Müller",
        "input": "scans/Müller.nii.gz",
        "modality": "T1",
        "model": ModelUsed("restore-t1", "1.0", "ab" * 32),
        "threshold": 3.5,
        "fit": ScanFit("warn", ("slices of 6 mm are thick",)),
        "device": "cpu",
        "expected_false_alarms": 0.5,
        "findings": (finding(), finding(id=2, volume_ml=0.5, sign="dark", p=None)),
    }
    return CaseReport(**(fields | changes)).to_dict()


def page(folder: Path, made: dict[str, Any], **given: Any) -> Page:
    """The page, written without a picture unless one is given."""
    write_html(made, given.pop("preview", None), folder / "report.html", **given)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_picture_is_inside_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "preview.png").write_bytes(PIXELS)
    shown = page(tmp_path, report(), preview=tmp_path / "preview.png")
    assert shown.addresses == [f"data:image/png;base64,{base64.b64encode(PIXELS).decode()}"]
    assert not {"script", "link", "iframe", "object", "embed"} & set(shown.tags)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_page_says_that_it_is_no_medical_device(tmp_path: Path) -> None:
    assert NOTICE in page(tmp_path, report(findings=())).text


def test_every_finding_has_a_row_with_its_numbers(tmp_path: Path) -> None:
    shown = page(tmp_path, report())
    assert shown.row("1")[1:] == [
        "left frontal white matter", "-8, 6, 2", "12.35", "21", "9.1", "4.5", "0.001", "", "0.8", "brighter",
    ]  # fmt: skip
    assert shown.row("2")[7] == ""
    assert shown.row("2")[-1] == "darker"
    assert "2 findings, 12.8 ml" in shown.text


def test_decisions_and_notes_stand_beside_their_findings(tmp_path: Path) -> None:
    decisions = {1: Decision("reject", "vessel <b>\nsee T2"), 7: Decision("keep")}
    shown = page(tmp_path, report(), decisions=decisions)
    assert shown.row("#")[-2:] == ["decision", "note"]
    assert shown.row("1")[-2:] == ["reject", "vessel <b>\nsee T2"]
    assert shown.row("2")[-2:] == ["", ""]
    assert "0 kept, 1 rejected, 1 undecided" in shown.text


def test_a_report_that_holds_decisions_shows_them(tmp_path: Path) -> None:
    made = report()
    made["findings"][1] |= {"verdict": "keep", "note": "check"}
    assert page(tmp_path, made | {"reader": "Ärztin"}).row("2")[-2:] == ["keep", "check"]
    assert "reader: Ärztin" in page(tmp_path, made | {"reader": "Ärztin"}).text


def test_without_decisions_there_are_no_empty_columns_for_them(tmp_path: Path) -> None:
    assert page(tmp_path, report()).row("#")[-1] == "than expected"


def test_a_name_with_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    shown = page(tmp_path, report(case="<script>alert(1)</script>"))
    assert "script" not in shown.tags
    assert "<script>alert(1)</script>" in shown.text


def test_thresholds_come_with_what_they_mean(tmp_path: Path) -> None:
    made = report() | {
        "settings": {"hysteresis": 2.5, "min_volume_mm3": 30.0, "open_mm": 0.0, "sign": "dark"}
    }
    shown = page(tmp_path, made)
    assert shown.row("threshold, |z| ≥")[1] == "3.50"
    assert "standard deviations" in shown.row("threshold, |z| ≥")[2]
    assert shown.row("expected false alarms")[1:] == [
        "0.5", "findings that a healthy brain shows on average at these settings",
    ]  # fmt: skip
    assert shown.row("weak threshold, |z| ≥")[1] == "2.5"
    assert shown.row("minimum volume")[1] == "30 mm³"
    assert shown.row("sign")[1] == "darker"
    assert "opening" not in [row[0] for row in shown.rows]


def test_without_calibration_the_page_says_so(tmp_path: Path) -> None:
    shown = page(tmp_path, report(expected_false_alarms=None))
    assert shown.row("expected false alarms")[1:] == [
        "not known", "the model has no calibration on healthy scans",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("ok", "fits the model."), ("warn", "with reservations"), ("refuse", "nothing on this page")],
)
def test_the_fit_of_the_scan_is_said_with_its_reasons(tmp_path: Path, verdict: Any, words: str) -> None:
    shown = page(tmp_path, report(fit=ScanFit(verdict, ("slices of 6 mm are thick",))))
    assert words in shown.text
    assert "slices of 6 mm are thick" in shown.text


def test_the_models_card_is_told_where_it_is_of_that_version(tmp_path: Path) -> None:
    card = cards()[0]
    shown = page(tmp_path, report(model=ModelUsed(card.name, card.version, "ab" * 32)))
    assert shown.row("model")[1] == f"{card.name} {card.version}"
    assert " ".join(shown.row("licence of the weights")[1].split()) == " ".join(card.licence.split())
    assert shown.row("SHA-256 of the weights")[1] == "ab" * 32
    other = page(tmp_path, report(model=ModelUsed(card.name, "0.0")))
    assert "licence of the weights" not in [row[0] for row in other.rows]


@pytest.mark.parametrize("name", ["", "of-another-tool", "../brain-extraction"])
def test_a_model_without_a_card_here_leaves_its_facts_out(tmp_path: Path, name: str) -> None:
    shown = page(tmp_path, report(model=ModelUsed(name, "1.0")))
    assert shown.row("model")[1] == f"{name} 1.0".strip()
    assert "training" not in [row[0] for row in shown.rows]


def test_no_findings_are_not_called_normal(tmp_path: Path) -> None:
    shown = page(tmp_path, report(findings=()))
    assert "0 findings" in shown.text
    assert "does not mean that the scan is normal" in shown.text


def test_a_missing_picture_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"away\.png: there is no such picture"):
        write_html(report(), tmp_path / "away.png", tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another folder"):
        write_html(report(), None, tmp_path / "no folder" / "report.html")


def test_two_sequences_are_named_with_their_models_and_each_finding_with_the_one_that_saw_it(
    tmp_path: Path,
) -> None:
    alone, both = tmp_path / "alone.html", tmp_path / "both.html"
    write_html(report(), None, alone)
    assert "sequence" not in Page(alone.read_text(encoding="utf-8")).row("#")
    second = SecondUsed(
        "scans/flair.nii.gz", "FLAIR", ModelUsed("restore-flair", "2.0"), ScanFit(), 0.95, ((1.0, 0.0),)
    )
    rows = (finding(sequence="T1"), finding(id=2, sequence="FLAIR"))
    write_html(report(also=second, sequences=("T1", "FLAIR"), findings=rows), None, both)
    page = Page(both.read_text(encoding="utf-8"))
    column = page.row("#").index("sequence")
    assert [page.row(number)[column] for number in ("1", "2")] == ["T1", "FLAIR"]
    assert page.row("second sequence")[1] == "scans/flair.nii.gz"
    assert "restore-flair 2.0" in page.text
    assert "the false alarms of both are added" in page.text
