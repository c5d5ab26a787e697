"""What a first run needs: what is missing, how large it is, where it goes, and how it gets there.

Runs in Slicer's own Python before anything is installed: standard library alone, Python 3.9 and newer.
Slicer's functions are handed in (`Installers`), so that this file imports neither slicer nor qt.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

from AnomalyDetectLib.checksums import CARD, model_problem, sum_problems
from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.resources import PACKAGE
from AnomalyDetectLib.worker_client import worker_environment

REQUESTER = "AnomalyDetect"
OLDEST_PYTHON = (3, 10)
TORCH = "torch>=2.3"
# Slicer is built with these: another version of them breaks it. They are checked, and never installed.
PROTECTED = ("numpy>=1.26", "SimpleITK>=2.3")
# With the size of the wheel in MB (Linux, Python 3.12), rounded up.
PACKAGES = {
    "scipy>=1.11": 36,
    "nibabel>=5.2": 4,
    "pydicom>=2.4": 3,
    "safetensors>=0.4.2": 1,
    "connected-components-3d>=3.12": 5,
    "edt>=2.4": 3,
    "fill-voids>=2.0.6": 2,
    "fastremap>=1.14": 1,
    "typer>=0.12": 1,
    "rich>=13.7": 1,
    "matplotlib>=3.8": 10,
    "jinja2>=3.1": 1,
    "captum>=0.7": 1,
}
TORCH_MEGABYTES = 200
TORCH_SIZE = "200 MB for the CPU, up to 3 GB for a GPU"
# Models that the road can't do without; the others are as many as there are folders.
MODELS = ("brain-extraction",)
WHEELS = "wheels"
DIAGNOSIS_SECONDS = 180

Installed = Callable[[str], Optional[str]]  # noqa: UP045 - evaluated, by Python 3.9 too


class PreflightError(AnomalyDetectError):
    """Something that is needed can't be installed; what to do about it."""


@dataclass(frozen=True)
class Part:
    """One thing that is missing: what it is called, why it is needed anew, its size in MB.

    requirement: for pip; "" for a model.
    """

    name: str
    reason: str
    megabytes: float
    requirement: str = ""


@dataclass(frozen=True)
class Plan:
    """What is missing for a run.

    torch: None when it is there. packages, models: missing or damaged. obstacles: what can't be installed
    from here, one line each with the remedy. hints: what works but could be better. folder: where packages
    go. free_megabytes: there.
    """

    torch: Part | None
    packages: tuple[Part, ...]
    models: tuple[Part, ...]
    obstacles: tuple[str, ...]
    hints: tuple[str, ...]
    folder: Path
    free_megabytes: float

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that is missing."""
        return (*((self.torch,) if self.torch else ()), *self.packages, *self.models)

    @property
    def complete(self) -> bool:
        """Whether a detection can run."""
        return not self.parts and not self.obstacles

    @property
    def megabytes(self) -> float:
        """What is to be fetched at least, MB."""
        return sum(part.megabytes for part in self.parts)

    def text(self) -> str:
        """What is missing, its size and where it goes, for the question to the user."""
        if self.complete:
            return "\n".join(["Everything that is needed is there.", *self.hints])
        lines = [*self.obstacles, *self.hints]
        for part in self.parts:
            size = TORCH_SIZE if part is self.torch else f"{part.megabytes:.0f} MB"
            lines.append(f"{part.name}: {part.reason} ({size})")
        if self.parts:
            lines.append(
                f"In all about {self.megabytes:.0f} MB, into {self.folder} "
                f"({self.free_megabytes / 1000:.1f} GB free). NumPy and SimpleITK stay as they are."
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Installers:
    """The functions of Slicer that install; each may be missing in some Slicer.

    torch: the PyTorch extension's `installTorch` with the version as argument, such as ">=2.3"; gives None
    when the user declined. pip_ensure: `slicer.packaging.pip_ensure`. pip_install: `slicer.util.pip_install`,
    which takes pip's arguments as a list.
    """

    torch: Callable[[str], Any] | None = None
    pip_ensure: Callable[..., Any] | None = None
    pip_install: Callable[[list[str]], Any] | None = None


@dataclass
class Outcome:
    """How an installation went. cancelled: the user said no, and nothing is wrong with that."""

    cancelled: bool = False
    installed: list[str] = field(default_factory=list)


def examine(installed: Installed | None = None, models: Path | None = None) -> Plan:
    """What is missing for a run, without importing or changing anything.

    installed: the version of a distribution, or None. models: the folder with one sub-folder a model.
    """
    known = installed or installed_version
    folder = Path(sysconfig.get_paths()["purelib"])
    obstacles = [
        f"{name_of(needed)}: {reason}; it is Slicer's own and is never replaced: install a newer Slicer"
        for needed in PROTECTED
        if (reason := shortage(needed, known))
    ]
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        obstacles.append(f"Python {sys.version.split()[0]} is older than {wanted}: install a newer Slicer")
    torch = shortage(TORCH, known)
    return Plan(
        torch=Part("PyTorch", torch, TORCH_MEGABYTES, TORCH) if torch else None,
        packages=tuple(
            Part(name_of(needed), reason, size, needed)
            for needed, size in PACKAGES.items()
            if (reason := shortage(needed, known))
        ),
        models=damaged_models(models or models_folder()),
        obstacles=tuple(obstacles),
        hints=torch_hints(known),
        folder=folder,
        free_megabytes=shutil.disk_usage(existing(folder)).free / 1e6,
    )


def install(
    plan: Plan, by: Installers, ask: Callable[[str], bool], installed: Installed | None = None
) -> Outcome:
    """Install what is missing, after one question.

    ask: shows a text and gives the answer. Raises `PreflightError` when something can't be installed, or when
    NumPy or SimpleITK was changed by it.
    """
    if plan.complete:
        return Outcome()
    refuse_obstacles(plan)
    if plan.models:
        names = ", ".join(part.name for part in plan.models)
        raise PreflightError(
            f"models missing or damaged: {names}; install the extension again, or use an offline bundle"
        )
    if plan.torch is not None and by.torch is None:
        raise PreflightError(
            "PyTorch is missing and so is the extension that installs the right one for this computer; "
            "install the extension PyTorch in the Extensions Manager, restart Slicer, and try again"
        )
    if not ask(plan.text()):
        return Outcome(cancelled=True)
    with unchanged(installed or installed_version) as constraints, installation_errors():
        if (
            plan.torch is not None
            and by.torch is not None
            and install_torch(plan.torch.requirement[len("torch") :], by.torch) is None
        ):
            return Outcome(cancelled=True)
        if plan.packages and not install_packages(plan, by, constraints):
            return Outcome(cancelled=True)
    return finished(plan, installed)


def install_torch(version: str, installer: Callable[[str], Any]) -> Any:
    """Let the PyTorch extension install PyTorch; None when the user declined there."""
    try:
        return installer(version)
    except (subprocess.CalledProcessError, OSError):
        raise
    except Exception as error:  # the extension has errors of its own
        raise PreflightError(
            f"PyTorch could not be installed: {error}; try it in the module PyTorch Utils, which says more"
        ) from error


def install_packages(plan: Plan, by: Installers, constraints: Path) -> bool:
    """Install the missing packages with whichever function this Slicer has; False when the user declined."""
    requirements = [part.requirement for part in plan.packages]
    if by.pip_ensure is not None:
        try:
            by.pip_ensure(
                requirements, constraints=str(constraints), prompt_install=False, requester=REQUESTER
            )
        except RuntimeError as error:
            if "declined" in str(error).lower():
                return False
            raise
        return True
    if by.pip_install is None:
        raise PreflightError("this Slicer can't install Python packages; install Slicer 5.8 or newer")
    by.pip_install(["-c", str(constraints), *requirements])
    return True


def install_bundle(
    folder: Path,
    plan: Plan,
    pip_install: Callable[[list[str]], Any],
    ask: Callable[[str], bool],
    installed: Installed | None = None,
    models: Path | None = None,
) -> Outcome:
    """Install what is missing from an offline bundle (see `bundle`), every file checked, no network used.

    Raises `PreflightError` when a file of the bundle is damaged, missing or foreign, or when it lacks one.
    """
    if plan.complete:
        return Outcome()
    refuse_obstacles(plan)
    problems = sum_problems(folder)
    if problems:
        shown = "; ".join(problems[:5]) + ("; …" if len(problems) > 5 else "")
        raise PreflightError(f"{folder}: {shown}; copy the whole bundle again")
    if not ask(f"{plan.text()}\nFrom {folder}, without a network."):
        return Outcome(cancelled=True)
    requirements = [part.requirement for part in plan.parts if part.requirement]
    with unchanged(installed or installed_version) as constraints, installation_errors():
        if requirements:
            source = ["--no-index", "--find-links", str(folder / WHEELS)]
            pip_install([*source, "-c", str(constraints), *requirements])
        for part in plan.models:
            install_model(folder / "Models" / part.name, (models or models_folder()) / part.name)
    return finished(plan, installed, models)


def install_model(source: Path, target: Path) -> None:
    """Copy a model of the bundle to its place: beside first, then renamed."""
    if not source.is_dir():
        raise PreflightError(f"{source.name}: not in the bundle; build the bundle with this version again")
    beside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside)
    problem = model_problem(beside)
    if problem:
        shutil.rmtree(beside)
        raise PreflightError(f"{source.name}: the bundle holds another version; build it again ({problem})")
    shutil.rmtree(target, ignore_errors=True)
    beside.replace(target)


def finished(plan: Plan, installed: Installed | None = None, models: Path | None = None) -> Outcome:
    """Look again. Raises `PreflightError` when something is still missing."""
    left = examine(installed, models)
    if not left.complete:
        names = ", ".join(part.name for part in left.parts) or "; ".join(left.obstacles)
        raise PreflightError(f"still missing after the installation: {names}; restart Slicer and try again")
    return Outcome(installed=[part.name for part in plan.parts])


def refuse_obstacles(plan: Plan) -> None:
    """Raise `PreflightError` for what no installation from here can help."""
    if plan.obstacles:
        raise PreflightError("; ".join(plan.obstacles))
    if plan.free_megabytes < 2 * plan.megabytes:
        raise PreflightError(
            f"{plan.folder}: {plan.free_megabytes:.0f} MB free, about {2 * plan.megabytes:.0f} MB needed; "
            "free some space"
        )


@contextlib.contextmanager
def unchanged(installed: Installed) -> Iterator[Path]:
    """A constraints file for pip that pins NumPy and SimpleITK to what is there.

    Raises `PreflightError` with the remedy when one of them was changed all the same.
    """
    before = {name_of(needed): installed(name_of(needed)) for needed in PROTECTED}
    with tempfile.TemporaryDirectory(prefix="anomalydetect-") as folder:
        constraints = Path(folder) / "constraints.txt"
        pins = [f"{name}=={version}\n" for name, version in before.items() if version]
        constraints.write_text("".join(pins), encoding="utf-8")
        yield constraints
    for name, version in before.items():
        now = installed(name)
        if version and now != version:
            raise PreflightError(
                f"{name} was changed from {version} to {now or 'nothing'}; bring it back in the Python "
                f'console with slicer.util.pip_install("{name}=={version}"), then restart Slicer'
            )


@contextlib.contextmanager
def installation_errors() -> Iterator[None]:
    """Turn what pip leaves behind into one line with the remedy."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        raise PreflightError(
            f"pip ended with exit code {error.returncode}; the Python console shows its last lines. Usual "
            "causes: no network or a proxy (use an offline bundle), no permission to write to Slicer's "
            "folder (start Slicer as the user who installed it), a full disk"
        ) from error
    except OSError as error:
        raise PreflightError(f"could not install: {error}; check the network and the disk") from error


def torch_hints(installed: Installed) -> tuple[str, ...]:
    """Whether the PyTorch that is there leaves a GPU idle."""
    version = installed("torch") or ""
    if "+cpu" in version and shutil.which("nvidia-smi"):
        return (
            f"PyTorch {version} can't use the NVIDIA GPU of this computer; the module PyTorch Utils installs "
            "the version that can",
        )
    return ()


def damaged_models(folder: Path) -> tuple[Part, ...]:
    """Models that are missing or whose files don't have the checksums of their card."""
    found = {path.parent.name for path in folder.glob(f"*/{CARD}")}
    names = sorted(found | set(MODELS))
    problems = {name: model_problem(folder / name) if name in found else "missing" for name in names}
    return tuple(Part(name, problem, 10) for name, problem in problems.items() if problem)


def models_folder() -> Path:
    """Where models are, or, when there are none, where they belong."""
    inside, beside = PACKAGE / "Resources" / "Models", PACKAGE.parent / "Resources" / "Models"
    return beside if beside.is_dir() and not inside.is_dir() else inside


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, also one that was installed a moment ago."""
    importlib.invalidate_caches()
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def shortage(requirement: str, installed: Installed) -> str:
    """Why a requirement ("name>=version") isn't met; "" when it is."""
    name, _, least = requirement.partition(">=")
    version = installed(name)
    if version is None:
        return "missing"
    return "" if numbers(version) >= numbers(least) else f"{version} is older than {least}"


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 2.3.1rc1+cpu is (2, 3, 1)."""
    begin = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in begin.group().split(".")) if begin else ()


def name_of(requirement: str) -> str:
    """The distribution's name in "name>=version"."""
    return requirement.partition(">=")[0]


def existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def diagnosis(python: str) -> str:
    """What `anomalydetect doctor` says of a Python, for the clipboard; a sentence when even that fails.

    Takes seconds: torch is asked for its devices in a process of its own.
    """
    command = [python, "-m", "AnomalyDetectLib.doctor"]
    options: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)} if os.name == "nt" else {}
    )
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=DIAGNOSIS_SECONDS,
            check=False,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=worker_environment(python),
            **options,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(command)}: {error}"
    return done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"
