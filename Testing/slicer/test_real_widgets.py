"""The panels use only what the real widgets have, and import nothing heavy before they must."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from Testing.slicer.widget_names import PROPERTIES, SIGNALS

ROOT = Path(__file__).parents[2]
UI_FILES = sorted((ROOT / "AnomalyDetect" / "Resources" / "UI").glob("*.ui"))
SOURCES = sorted((ROOT / "AnomalyDetect").rglob("*.py"))
# Dynamic: the parameter that a widget shows.
PARAMETER = "SlicerParameterName"
HEAVY = ("torch", "scipy", "cc3d", "nibabel", "matplotlib", "SimpleITK", "typer", "pydicom", "safetensors")


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.stem)
def test_every_property_in_a_ui_file_is_the_real_widgets_own(path: Path) -> None:
    for widget in ElementTree.parse(path).iter("widget"):
        known = PROPERTIES[str(widget.get("class"))] | {PARAMETER}
        for name in (str(found.get("name")) for found in widget.findall("property")):
            assert name in known, f"{path.name}: {widget.get('class')} {widget.get('name')} has no {name}"


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.stem)
def test_every_control_says_in_its_tool_tip_what_it_does(path: Path) -> None:
    silent = ("QLabel", "qMRMLWidget", "ctkCollapsibleButton")
    for widget in ElementTree.parse(path).iter("widget"):
        if widget.get("class") not in silent:
            assert widget.find("./property[@name='toolTip']") is not None, widget.get("name")


def test_every_parameter_in_a_ui_file_is_one_of_the_parameter_node(module: Any) -> None:
    known = set(module.AnomalyDetectParameterNode.__annotations__)
    named = [
        found.findtext("string")
        for path in UI_FILES
        for found in ElementTree.parse(path).iter("property")
        if found.get("name") == PARAMETER
    ]
    assert named
    assert set(named) <= known


def test_every_connected_signal_is_the_real_widgets_own(panel: Any, monkeypatch: Any) -> None:
    from Testing.slicer_host.python_qt import _CONNECTIONS, PythonQtObject

    connected = []
    original = PythonQtObject.connect

    def connect(self: Any, signature: str, slot: Any) -> None:
        connected.append((type(self).__name__, signature))
        original(self, signature, slot)

    monkeypatch.setattr(PythonQtObject, "connect", connect)
    from Testing.slicer_host.module import open_widget

    module = sys.modules["AnomalyDetect"]
    widget = open_widget(module, "AnomalyDetect")
    widget.exit()
    widget.cleanup()
    assert len(connected) > 40
    assert _CONNECTIONS
    for kind, signature in connected:
        assert signature in SIGNALS.get(kind, ()), f"{kind} has no signal {signature}"


def test_no_icon_or_style_is_assigned_that_the_real_widgets_lack() -> None:
    """Attributes that panels assign to widgets are properties of some real widget, never a mistyped one."""
    known = set().union(*PROPERTIES.values()) | {"text", "icon"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Assign):
                continue
            for target in node.targets:
                through_ui = isinstance(target, ast.Attribute) and ".ui." in ast.unparse(target)
                if through_ui:
                    assert target.attr in known, f"{path.name}:{node.lineno}: {ast.unparse(target)}"


def run_in_a_process_of_its_own(script: str, **environment: str) -> Any:
    """A script that starts with nothing imported."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


OPEN_PANEL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from Testing.slicer_host.boot import boot
boot()
from Testing.slicer_host import python_qt, scripted_module
python_qt.install(); scripted_module.install()
from Testing.slicer_host.module import load_module, open_widget
module = load_module(Path({str(ROOT / "AnomalyDetect" / "AnomalyDetect.py")!r}))
widget = open_widget(module, "AnomalyDetect")
print("made", widget.panels["hand_over"].ui.reportButton.toolTip)
widget.cleanup()
"""


def test_slicers_own_python_files_go_before_the_stand_ins(booted: Any, tmp_path: Path) -> None:
    (tmp_path / "slicer").mkdir()
    own = "def tr(text):\n    return text.upper()\n\ndef translate(context, text):\n    return text\n"
    (tmp_path / "slicer" / "i18n.py").write_text(own, encoding="utf-8")
    done = run_in_a_process_of_its_own(OPEN_PANEL, SLICER_PYTHON_DIR=str(tmp_path))
    assert "made DETECT ANOMALIES FIRST" in done.stdout, done.stderr[-2000:]


def test_loading_the_module_imports_nothing_but_slicers_own_modules(booted: Any) -> None:
    refuse = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError("not at file scope: " + name)
sys.meta_path.insert(0, Refuse())
"""
    done = run_in_a_process_of_its_own(refuse + OPEN_PANEL)
    assert "made detect anomalies first" in done.stdout, done.stderr[-2000:]
