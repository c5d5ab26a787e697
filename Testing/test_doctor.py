"""`anomalydetect doctor` says what is missing and what to do about it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from AnomalyDetectLib import doctor


def shown(found: dict) -> str:
    stream = io.StringIO()
    doctor.show(found, Console(file=stream, width=200))
    return stream.getvalue()


def test_it_looks_for_every_package_that_is_needed() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert tuple(re.findall(r'"([\w.-]+)>=[\d.]+"', block.group(1))) == doctor.NEEDED


def test_what_it_finds_is_plain_json_and_can_be_shown() -> None:
    found = doctor.diagnose()
    assert json.loads(json.dumps(found)) == found
    text = shown(found)
    assert found["packages"]["numpy"] in text
    for problem in found["problems"]:
        assert problem in text


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "edt" else known(name))
    found = doctor.diagnose()
    assert "missing packages: edt; run: python -m pip install edt" in found["problems"]
    assert "python -m pip install edt" in shown(found)


def test_missing_rendering_libraries_come_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "missing_rendering", lambda: ["libegl1", "libgl1"])
    (line,) = [line for line in doctor.diagnose()["problems"] if "rendering" in line]
    assert line.endswith("apt-get install libegl1 libgl1")


@pytest.mark.skipif(sys.platform != "linux", reason="asks for Debian packages")
def test_a_driver_that_ends_the_process_is_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(-11, "python")

    monkeypatch.setattr(subprocess, "run", crash)
    assert doctor.missing_rendering() == list(doctor.RENDERING_PACKAGES)


def test_a_damaged_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "Models" / "restore-x"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"other")
    card = {
        "name": "restore-x", "version": "1", "family": "restoration", "contrasts": ["T1"], "summary": "",
        "licence": "", "credit": "", "training": "", "intended_use": "",
        "sha256": {"weights.safetensors": "0" * 64},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr("AnomalyDetectLib.resources.resources_folder", lambda: tmp_path)
    (row,) = doctor.models()
    assert "SHA-256" in row["problem"]
    assert row["problem"] in doctor.diagnose()["problems"]
