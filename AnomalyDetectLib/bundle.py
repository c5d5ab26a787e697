"""An offline bundle: the wheels and models of a first run in one folder, with the checksum of each file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from AnomalyDetectLib.checksums import CARD, write_sums
from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.preflight import PACKAGES, PROTECTED, TORCH, WHEELS, name_of
from AnomalyDetectLib.resources import resource

Download = Callable[[list[str]], None]


def build_bundle(
    folder: Path,
    *,
    python_version: str | None = None,
    platforms: Sequence[str] = (),
    index: str | None = None,
    download: Download | None = None,
) -> Path:
    """Write wheels, models and SHA256SUMS into `folder`, which appears when all of it is there.

    python_version: of the Slicer that it is for, such as "3.12"; None: this Python's. platforms: pip's
    platform tags, such as "win_amd64"; none: this system's. index: one more package index, such as PyTorch's
    for CUDA. download: calls `pip download` with arguments. Raises `OutputError` when the folder exists or
    pip fails.
    """
    if folder.exists():
        raise OutputError(f"{folder}: exists; give a new folder")
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        wheels = beside / WHEELS
        wheels.mkdir(parents=True)
        (download or pip_download)(arguments(wheels, python_version, platforms, index))
        protected = {name_of(needed).lower() for needed in PROTECTED}
        for wheel in wheels.iterdir():
            # Slicer's own are never replaced; left out, they can't be by mistake.
            if wheel.name.split("-")[0].lower() in protected:
                wheel.unlink()
        for card in sorted(resource("Models").glob(f"*/{CARD}")):
            shutil.copytree(card.parent, beside / "Models" / card.parent.name)
        write_sums(beside)
        beside.replace(folder)
    except subprocess.CalledProcessError as error:
        raise OutputError(
            f"{folder}: pip download failed (exit code {error.returncode}), see above"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: can't be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def arguments(
    wheels: Path, python_version: str | None, platforms: Sequence[str], index: str | None
) -> list[str]:
    """pip's arguments after `download`."""
    chosen = ["--dest", str(wheels), "--only-binary", ":all:"]
    if python_version:
        chosen += ["--python-version", python_version, "--implementation", "cp"]
    for platform in platforms:
        chosen += ["--platform", platform]
    if index:
        chosen += ["--extra-index-url", index]
    return [*chosen, TORCH, *PACKAGES]


def pip_download(options: list[str]) -> None:
    """Run `pip download`; its progress goes to the terminal."""
    subprocess.run([sys.executable, "-m", "pip", "download", *options], check=True)
