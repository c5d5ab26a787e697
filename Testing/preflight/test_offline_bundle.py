"""An installation without a network: a folder of wheels and models, every file checked."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from AnomalyDetectLib import bundle
from AnomalyDetectLib.bundle import arguments, build_bundle
from AnomalyDetectLib.checksums import SUMS, sum_problems
from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.preflight import PACKAGES, TORCH, PreflightError, examine, install_bundle, name_of
from AnomalyDetectLib.resources import resource

STAND_INS = {name_of(needed): "99.0" for needed in (TORCH, *PACKAGES)}


def write_wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """The smallest wheel that pip installs."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    files = {
        f"{stem}_stand_in.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    file = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(path, text)
    return file


def download(options: list[str]) -> None:
    """A stand-in for `pip download`: small wheels of the right names, one of which wants a newer NumPy."""
    folder = Path(options[options.index("--dest") + 1])
    for name, version in STAND_INS.items():
        write_wheel(folder, name, version, "numpy" if name == "edt" else "")
    write_wheel(folder, "numpy", "99.0")
    write_wheel(folder, "SimpleITK", "99.0")


def nothing(name: str) -> str | None:
    """A Slicer that has only what it comes with."""
    return {"numpy": "2.1.0", "SimpleITK": "2.5.0"}.get(name)


def yes(_: str) -> bool:
    return True


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A bundle in a folder whose name holds a blank and an umlaut."""
    return build_bundle(tmp_path / "Bündel eins", download=download)


def test_a_bundle_holds_wheels_models_and_sums_but_nothing_that_slicer_brings(built: Path) -> None:
    wheels = {path.name.split("-")[0] for path in (built / "wheels").iterdir()}
    assert wheels == {name.replace("-", "_") for name in STAND_INS}
    assert (built / "Models" / "brain-extraction" / "weights.safetensors").is_file()
    assert sum_problems(built) == []
    assert not list(built.parent.glob(".*.partial"))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_itself_agrees(built: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=built, check=True)


def test_another_system_and_index_can_be_asked_for() -> None:
    options = arguments(Path("w"), "3.12", ["win_amd64"], "https://index")
    text = " ".join(options)
    assert "--python-version 3.12 --implementation cp" in text
    assert "--platform win_amd64 --extra-index-url https://index" in text
    assert "--only-binary :all:" in text
    assert not {"numpy>=1.26", "SimpleITK>=2.3"} & set(options)


def test_a_failed_download_leaves_nothing_and_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    def fail(_: list[str]) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    with pytest.raises(OutputError, match="pip download failed"):
        build_bundle(tmp_path / "b", download=fail)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="exists"):
        build_bundle(tmp_path, download=download)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: next((folder / "wheels").iterdir()).write_bytes(b"x"), "damaged or changed"),
        (lambda folder: next((folder / "wheels").iterdir()).unlink(), "missing"),
        (lambda folder: write_wheel(folder / "wheels", "evil", "1.0"), "evil-1.0-py3-none-any.whl: not in"),
        (lambda folder: (folder / SUMS).unlink(), f"{SUMS}: missing"),
    ],
    ids=["damaged", "missing", "foreign", "no sums"],
)
def test_a_bundle_with_one_wrong_file_installs_nothing(
    built: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(built)
    with pytest.raises(PreflightError, match=message):
        install_bundle(built, examine(nothing), lambda _: pytest.fail("ran pip"), yes, nothing)


def test_no_is_a_cancel_offline_too(built: Path) -> None:
    outcome = install_bundle(
        built, examine(nothing), lambda _: pytest.fail("ran pip"), lambda _: False, nothing
    )
    assert outcome.cancelled


def test_damaged_models_are_replaced_from_the_bundle(built: Path, tmp_path: Path) -> None:
    models = tmp_path / "Models"
    shutil.copytree(resource("Models"), models)
    (models / "atlas-z" / "weights.safetensors").write_bytes(b"other")
    shutil.rmtree(models / "brain-extraction")
    plan = examine(models=models)
    assert [part.name for part in plan.models] == ["atlas-z", "brain-extraction"]
    install_bundle(built, plan, lambda _: pytest.fail("no packages are missing"), yes, models=models)
    assert examine(models=models).complete
    assert not list(models.glob(".*"))


def test_pip_installs_from_the_bundle_without_a_network_and_keeps_numpy(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real pip, into a Python of its own that has an older NumPy."""
    home = tmp_path / "Python 3"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    for name, version in (("numpy", "2.1.0"), ("SimpleITK", "2.5.0")):
        with zipfile.ZipFile(write_wheel(tmp_path, name, version)) as wheel:
            wheel.extractall(site)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # whoever asks the network fails
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # nor does this computer's own store of wheels help
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")

    def pip_install(options: list[str]) -> None:
        program = [sys.executable, "-m", "pip", "--python", str(home), "install", "--quiet", "--no-compile"]
        subprocess.run([*program, *options], check=True)

    def installed(name: str) -> str | None:
        return {one.name: one.version for one in metadata.distributions(path=[str(site)])}.get(name)

    outcome = install_bundle(built, examine(installed), pip_install, yes, installed)
    assert "PyTorch" in outcome.installed
    assert [installed(name) for name in ("numpy", "SimpleITK", "edt")] == ["2.1.0", "2.5.0", "99.0"]


def test_the_command_line_builds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from AnomalyDetectLib.cli import app

    monkeypatch.setattr(bundle, "pip_download", download)
    result = CliRunner().invoke(app, ["bundle", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    assert sum_problems(tmp_path / "new") == []
    assert CliRunner().invoke(app, ["bundle", str(tmp_path / "new")]).exit_code == 2
