"""What is installed, what is missing, what to do."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AnomalyDetectLib import __version__
from AnomalyDetectLib.checksums import CARD, model_problem
from AnomalyDetectLib.errors import AnomalyDetectError

if TYPE_CHECKING:
    from rich.console import Console

NEEDED = (
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "torch",
    "safetensors",
    "connected-components-3d",
    "edt",
    "fill-voids",
    "fastremap",
    "typer",
    "rich",
    "matplotlib",
    "jinja2",
    "captum",
)
# Distribution, what it is for, and how to get it.
OPTIONAL = (
    ("slicer-core", "Slicer's scene and views without the application", "slicer"),
    ("highdicom", "DICOM SEG without Slicer's plugin for it", "dicom"),
    ("monai", "training of further model families", "train"),
    ("scikit-learn", "density scores", "train"),
    ("scikit-image", "SSIM in benchmarks", "train"),
    ("psutil", "peak memory in benchmarks", "train"),
)

# Run in a process of its own: a missing or broken driver ends the process, not an exception.
RENDERING_PROBE = """
import ctypes, json, os
os.environ.setdefault("EGL_PLATFORM", "surfaceless")
missing = []
libraries = {}
needed = {"libegl1": "libEGL.so.1", "libegl-mesa0": "libEGL_mesa.so.0", "libgl1": "libGL.so.1"}
for package, library in needed.items():
    try:
        libraries[package] = ctypes.CDLL(library)
    except OSError:
        missing.append(package)
if "libegl1" in libraries and "libegl-mesa0" in libraries:
    egl = libraries["libegl1"]
    egl.eglGetDisplay.restype = ctypes.c_void_p
    egl.eglGetDisplay.argtypes = egl.eglInitialize.argtypes = None
    display = ctypes.c_void_p(egl.eglGetDisplay(ctypes.c_void_p(0)))
    if not egl.eglInitialize(display, None, None):
        missing.append("libgl1-mesa-dri")
else:
    missing.append("libgl1-mesa-dri")
print(json.dumps(missing))
"""
RENDERING_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1", "libgl1-mesa-dri")


def diagnose() -> dict[str, Any]:
    """Everything that the software stands on, as plain JSON values.

    Keys: version, python, system, cores, packages and optional (distribution: version or None), torch
    (version, devices, threads), models (name, version, problem), sample_data (problem), rendering (missing
    apt packages, or None where the question doesn't arise), problems (one line each, with the remedy; empty
    when all is well).
    """
    packages = {name: installed(name) for name in NEEDED}
    optional = {name: installed(name) for name, _, _ in OPTIONAL}
    found: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "packages": packages,
        "optional": optional,
        "torch": torch_devices() if packages["torch"] else None,
        "models": models(),
        "sample_data": sample_data(),
        "rendering": missing_rendering(),
    }
    found["problems"] = problems(found)
    return found


def problems(found: dict[str, Any]) -> list[str]:
    """What is wrong in what was found, one line each, with the remedy."""
    lines = list[str]()
    absent = [name for name, version in found["packages"].items() if version is None]
    if absent:
        lines.append(f"missing packages: {', '.join(absent)}; run: python -m pip install {' '.join(absent)}")
    lines += [model["problem"] for model in found["models"] if model["problem"]]
    if not found["models"]:
        lines.append("no models in Resources/Models; install anomalydetect again")
    if found["sample_data"]:
        lines.append(found["sample_data"])
    if found["rendering"]:
        needed = " ".join(found["rendering"])
        lines.append(f"no offscreen rendering (only 3-D pictures need it); run: apt-get install {needed}")
    return lines


def installed(distribution: str) -> str | None:
    """The version of an installed distribution; None when it isn't there."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def torch_devices() -> dict[str, Any]:
    """torch's version, the devices it can use here, and its number of threads."""
    import torch

    devices = ["cpu"]
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if names:
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "version": torch.__version__,
        "devices": devices,
        "cuda": names,
        "threads": torch.get_num_threads(),
    }


def models() -> list[dict[str, str]]:
    """Name and version of every model folder, and what is wrong with it ("" when its checksums hold)."""
    from AnomalyDetectLib.resources import resources_folder

    try:
        folders = sorted(path.parent for path in (resources_folder() / "Models").glob(f"*/{CARD}"))
    except AnomalyDetectError:
        return []
    rows = list[dict[str, str]]()
    for folder in folders:
        problem = model_problem(folder)
        remedy = f"{problem}; install the model again" if problem else ""
        rows.append({"name": folder.name, "version": version_of(folder), "problem": remedy})
    return rows


def version_of(model: Path) -> str:
    """The version that a model's card gives; "" when the card can't be read."""
    try:
        return str(json.loads((model / CARD).read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def sample_data() -> str:
    """What is wrong with the simulated patient; "" when it is there."""
    from AnomalyDetectLib.resources import resource

    try:
        for name in ("demo_t1.nii.gz", "demo_truth.nii.gz", "demo.json"):
            resource("SampleData", name)
    except AnomalyDetectError as error:
        return str(error)
    return ""


def missing_rendering() -> list[str] | None:
    """The Debian packages that offscreen rendering lacks; None where the system has its own."""
    if sys.platform != "linux":
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-c", RENDERING_PROBE], capture_output=True, timeout=60, check=True, text=True
        )
        return list(json.loads(done.stdout))
    except (subprocess.SubprocessError, OSError, json.JSONDecodeError):
        return list(RENDERING_PACKAGES)


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What `diagnose` found, as pairs of part and finding."""
    pairs = [
        ("system", f"{found['system']}, {found['cores']} cores, Python {found['python']}"),
        ("packages", listed(found["packages"])),
        ("optional", listed(found["optional"])),
    ]
    if found["torch"]:
        devices = ", ".join([*found["torch"]["devices"], *found["torch"]["cuda"]])
        pairs.append(("devices", f"{devices} ({found['torch']['threads']} threads)"))
    names = [
        f"{row['name']} {row['version']} {'damaged' if row['problem'] else 'verified'}"
        for row in found["models"]
    ]
    missing = found["rendering"]
    rendering = "works" if missing == [] else f"missing: {', '.join(missing or [])}"
    return [
        *pairs,
        ("models", "\n".join(names) or "none"),
        ("simulated patient", "missing" if found["sample_data"] else "there"),
        ("offscreen rendering", "the system's own" if missing is None else rendering),
    ]


def closing(found: dict[str, Any]) -> list[str]:
    """The problems, one line each, or that there are none."""
    lines = [f"• {problem}" for problem in found["problems"]]
    return lines or ["Everything that is needed is there."]


def show(found: dict[str, Any], console: Console) -> None:
    """Print what `diagnose` found as a table, the problems last."""
    from rich.table import Table

    table = Table("part", "found", title=f"anomalydetect {found['version']}")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    for line in closing(found):
        style = "yellow" if found["problems"] else "green"
        console.print(line, style=style, soft_wrap=True, markup=False, highlight=False)
    absent = [(use, extra) for name, use, extra in OPTIONAL if found["optional"][name] is None]
    for use, extra in absent:
        hint = f"for {use}: python -m pip install 'anomalydetect[{extra}]'"
        console.print(hint, style="dim", soft_wrap=True, markup=False, highlight=False)


def as_text(found: dict[str, Any]) -> str:
    """What `diagnose` found as plain lines, for a clipboard or a report; needs no package."""
    lines = [f"anomalydetect {found['version']}"]
    lines += [f"{part}: {finding}".replace("\n", "; ") for part, finding in rows(found)]
    return "\n".join([*lines, *closing(found)]) + "\n"


def listed(packages: dict[str, str | None]) -> str:
    """Names and versions in one string."""
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())


if __name__ == "__main__":
    print(as_text(diagnose()), end="")
