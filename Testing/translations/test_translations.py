"""A reader who works in another language sees no English left over: every shown string goes through `_()`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "AnomalyDetect"

specification = importlib.util.spec_from_file_location(
    "untranslated", Path(__file__).with_name("untranslated.py")
)
assert specification is not None
assert specification.loader is not None
untranslated = importlib.util.module_from_spec(specification)
specification.loader.exec_module(untranslated)


def test_no_string_of_the_module_and_its_panels_escapes_translation() -> None:
    if not list(MODULE.rglob("*.py")):
        pytest.skip("AnomalyDetect/ holds no Python files yet")
    lines = untranslated.problems_below(MODULE)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "line",
    [
        'button.text = "Detect"',
        'button.setToolTip("Finds anomalies")',
        'self.ui.label.text = f"{count} findings"',
        'combo.addItems(["axial", "sagittal"])',
        'slicer.util.errorDisplay("Failed to run")',
        'self.parent.title = "AnomalyDetect"',
        'box.text = "on it" if on else "off"',
        'raise ValueError("no volume is selected")',
        'LABELS = {"score": "Anomaly score of the scan"}',
        'message = f"finding {number} was rejected by {reader}"',
        'qt.QLabel("Threshold")',
        'table.setHorizontalHeaderLabels(("where", "peak"))',
    ],
)
def test_a_shown_string_without_translation_is_found(line: str) -> None:
    found = untranslated.problems(f"import qt\n{line}\n")[0]
    assert found.startswith("source:2: ")
    assert "not translated" in found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('button.text = _(f"{count} findings")', "an f-string inside _()"),
        ('button.text = _("{n} findings".format(n=3))', "no plain literal inside _()"),
        ("button.text = _(text)", "no plain literal inside _()"),
        ('button.text = translate("AnomalyDetect", f"{n} findings")', "an f-string inside translate()"),
    ],
)
def test_what_no_translator_could_see_is_found(line: str, message: str) -> None:
    (found,) = untranslated.problems(line)
    assert message in found


@pytest.mark.parametrize(
    "line",
    [
        'button.text = _("Detect")',
        'button.setToolTip(_("{n} findings").format(n=3))',
        'box.text = _("on") if on else _("off")',
        'self.parent.title = translate("AnomalyDetect", "AnomalyDetect")',
        'button.text = "▲"',
        'label.text = f"{z:.1f}"',
        'label.text = ""',
        'self.parent.contributors = ["Ada Lovelace (London)"]',
        'class ATest(ModuleTest):\n    def run(self):\n        self.delayDisplay("Test passed")',
        'combo.addItem(_("score"), "score")',
        'logging.info("the worker has started")',
        '"""A docstring of the module."""',
        'node.SetAttribute("AnomalyDetect.Role", "score")',
        'name: Annotated[str, "two words"] = ""',
        'category = "SCT^49755003^Morphologically Altered Structure"  # not shown',
    ],
)
def test_what_is_translated_or_not_shown_is_left_alone(line: str) -> None:
    assert untranslated.problems(line) == []
