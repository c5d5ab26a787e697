"""What a user of Slicer sees on a first run: what is missing, one question, nothing of Slicer's replaced."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from AnomalyDetectLib import doctor, preflight
from AnomalyDetectLib.preflight import (
    PACKAGES,
    PROTECTED,
    TORCH,
    Installers,
    Plan,
    PreflightError,
    diagnosis,
    examine,
    install,
    name_of,
    shortage,
)
from AnomalyDetectLib.resources import resource

Site = dict[str, str]


@pytest.fixture
def site() -> Site:
    """Slicer's Python as it comes: distributions by name."""
    return {"numpy": "2.1.0", "SimpleITK": "2.5.0", "pydicom": "3.0.1", "scipy": "1.9.0"}


@pytest.fixture
def plan(site: Site) -> Plan:
    """What is missing there."""
    return examine(site.get)


def pip(site: Site, also: Site | None = None) -> Callable[..., None]:
    """A stand-in for the functions that install; `also`: what it changes besides."""

    def run(requirements: list[str], **_: Any) -> None:
        for requirement in requirements:
            if ">=" in requirement:
                name, _, version = requirement.partition(">=")
                site[name] = version
        site.update(also or {})

    return run


def torch_into(site: Site) -> Callable[[str], object]:
    """A stand-in for the PyTorch extension."""

    def run(version: str) -> object:
        assert version == ">=2.3"
        site["torch"] = "2.9.0+cu126"
        return object()

    return run


def yes(_: str) -> bool:
    return True


def test_the_list_is_that_of_the_project() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert set(re.findall(r'"([^";]+)",', block.group(1))) == {TORCH, *PROTECTED, *PACKAGES}


def test_nothing_is_missing_where_everything_is_installed() -> None:
    plan = examine()
    assert plan.complete, plan.text()
    assert plan.text() == "Everything that is needed is there."
    assert not install(plan, Installers(), lambda _: pytest.fail("nothing to ask")).cancelled


def test_the_question_names_what_is_missing_its_size_and_where_it_goes(plan: Plan) -> None:
    text = plan.text()
    assert "PyTorch: missing (200 MB for the CPU, up to 3 GB for a GPU)" in text
    assert "scipy: 1.9.0 is older than 1.11 (36 MB)" in text
    assert str(plan.folder) in text
    assert "GB free" in text
    assert "pydicom" not in text
    assert "NumPy and SimpleITK stay as they are" in text
    assert f"{sum(part.megabytes for part in plan.parts):.0f} MB" in text


def test_no_is_a_cancel_and_nothing_is_installed(plan: Plan, site: Site) -> None:
    before = dict(site)
    by = Installers(torch_into(site), pip(site), pip(site))
    outcome = install(plan, by, lambda _: False, site.get)
    assert outcome.cancelled
    assert site == before


@pytest.mark.parametrize("ensure", [True, False], ids=["pip_ensure", "pip_install"])
def test_yes_installs_torch_through_its_extension_and_the_rest(plan: Plan, site: Site, ensure: bool) -> None:
    by = Installers(torch_into(site), pip(site) if ensure else None, None if ensure else pip(site))
    questions: list[str] = []
    outcome = install(plan, by, lambda text: not questions.append(text), site.get)
    assert not outcome.cancelled
    assert "PyTorch" in outcome.installed
    assert len(questions) == 1
    assert examine(site.get).complete


@pytest.mark.parametrize("ensure", [True, False], ids=["pip_ensure", "pip_install"])
def test_pip_is_told_to_leave_numpy_and_simpleitk_alone(plan: Plan, site: Site, ensure: bool) -> None:
    seen: dict[str, Any] = {}

    def note(requirements: list[str], **options: Any) -> None:
        file = Path(options["constraints"] if ensure else requirements[requirements.index("-c") + 1])
        seen["pins"] = file.read_text(encoding="utf-8").split()
        seen["names"] = {name_of(one) for one in requirements}
        seen["options"] = options
        pip(site)(requirements)

    by = Installers(torch_into(site), note if ensure else None, note)
    install(plan, by, yes, site.get)
    assert seen["pins"] == ["numpy==2.1.0", "SimpleITK==2.5.0"]
    assert not seen["names"] & {"numpy", "SimpleITK", "torch"}
    assert seen["options"].get("prompt_install", False) is False


def test_a_numpy_that_was_replaced_all_the_same_is_told_with_the_way_back(plan: Plan, site: Site) -> None:
    by = Installers(torch_into(site), pip(site, {"numpy": "2.4.0"}))
    with pytest.raises(
        PreflightError, match=r'changed from 2\.1\.0 to 2\.4\.0.*pip_install\("numpy==2\.1\.0"\)'
    ):
        install(plan, by, yes, site.get)


def test_declining_in_slicers_own_dialogs_is_a_cancel_too(plan: Plan, site: Site) -> None:
    def decline(*_: Any, **__: Any) -> None:
        raise RuntimeError("User declined package installation")

    assert install(plan, Installers(lambda _: None, pip(site)), yes, site.get).cancelled
    assert install(plan, Installers(torch_into(site), decline), yes, site.get).cancelled


def test_without_the_pytorch_extension_the_user_is_sent_to_the_extensions_manager(
    plan: Plan, site: Site
) -> None:
    with pytest.raises(PreflightError, match="install the extension PyTorch in the Extensions Manager"):
        install(plan, Installers(None, pip(site)), yes, site.get)


def test_a_pip_that_fails_is_one_line_with_the_usual_causes(plan: Plan, site: Site) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    with pytest.raises(PreflightError, match=r"exit code 1.*offline bundle.*disk") as caught:
        install(plan, Installers(torch_into(site), fail), yes, site.get)
    assert "\n" not in str(caught.value)


def test_what_is_still_missing_afterwards_is_named(plan: Plan, site: Site) -> None:
    with pytest.raises(PreflightError, match=r"still missing.*matplotlib"):
        install(plan, Installers(torch_into(site), lambda *_, **__: None), yes, site.get)


def test_an_error_of_the_pytorch_extension_is_one_line_with_the_next_step(plan: Plan, site: Site) -> None:
    def fail(_: str) -> None:
        raise ValueError("no wheel for this driver")

    with pytest.raises(PreflightError, match=r"no wheel for this driver; try it in the module PyTorch Utils"):
        install(plan, Installers(fail, pip(site)), yes, site.get)


def test_a_pytorch_that_leaves_the_gpu_idle_is_mentioned(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site["torch"] = "2.9.0+cpu"
    monkeypatch.setattr(preflight.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "can't use the NVIDIA GPU" in examine(site.get).text()
    site["torch"] = "2.9.0+cu126"
    assert "GPU of this computer" not in examine(site.get).text()


def test_a_slicer_with_an_old_python_is_told_to_be_updated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "OLDEST_PYTHON", (99, 0))
    plan = examine(site.get)
    with pytest.raises(PreflightError, match=r"is older than 99\.0: install a newer Slicer"):
        install(plan, Installers(torch_into(site), pip(site)), yes, site.get)


def test_an_old_numpy_is_never_upgraded_but_a_newer_slicer_asked_for(site: Site) -> None:
    site["numpy"] = "1.20.1"
    plan = examine(site.get)
    assert not plan.complete
    with pytest.raises(PreflightError, match=r"numpy: 1\.20\.1 is older than 1\.26.*install a newer Slicer"):
        install(plan, Installers(torch_into(site), pip(site)), yes, site.get)
    assert site["numpy"] == "1.20.1"


def test_a_full_disk_is_told_before_anything_is_downloaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 50e6})
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PreflightError, match="50 MB free"):
        install(examine(site.get), Installers(torch_into(site), pip(site)), yes, site.get)


def test_a_damaged_model_is_found_before_the_first_run(tmp_path: Path) -> None:
    models = tmp_path / "Models"
    shutil.copytree(resource("Models"), models)
    (models / "brain-extraction" / "weights.safetensors").write_bytes(b"other")
    plan = examine(models=models)
    (part,) = plan.models
    assert part.name == "brain-extraction"
    assert "SHA-256" in part.reason
    with pytest.raises(PreflightError, match=r"brain-extraction.*offline bundle"):
        install(plan, Installers(), yes)
    shutil.rmtree(models / "brain-extraction")
    assert [part.reason for part in examine(models=models).models] == ["missing"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.10.0", ""),
        ("2.2", ""),
        ("2.2.0rc1", ""),
        ("2.13.0+cpu", ""),
        ("2.1.9", "2.1.9 is older than 2.2"),
        (None, "missing"),
    ],
)
def test_versions_are_compared_as_numbers(version: str | None, expected: str) -> None:
    assert shortage("torch>=2.2", lambda _: version) == expected


def test_the_copied_diagnosis_is_the_doctors() -> None:
    text = diagnosis(sys.executable)
    # In a process of its own, too: this one has other threads, and Slicer's libraries, after other tests.
    program = "from AnomalyDetectLib import doctor; print(doctor.as_text(doctor.diagnose()), end='')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert text == done.stdout
    for name in doctor.NEEDED:
        assert f"{name} {doctor.installed(name)}" in text


def test_a_diagnosis_of_a_python_that_is_not_there_is_still_a_text(tmp_path: Path) -> None:
    assert "no such python" in diagnosis(str(tmp_path / "no such python"))
