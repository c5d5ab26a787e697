"""Keep CMake's lists of packaged files equal to the tree: `make cmake-lists` rewrites them, sorted.

A file that isn't listed isn't packaged, and then it is missing in Slicer alone. Standard library only.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "make cmake-lists"
# Folders of Resources/ that the library reads; screenshots are for the README.
DATA = ("Models", "SampleData", "Template")


def files(folder: Path, *parts: str) -> list[str]:
    """Every file below `folder`/`parts`, relative to `folder`, without caches, hidden and CMake files."""
    found = (path.relative_to(folder) for path in folder.joinpath(*parts).rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in found
        if path.name != "CMakeLists.txt"
        and not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    )


def wanted(root: Path = ROOT) -> dict[tuple[str, str], list[str]]:
    """What each list should hold: {(CMake file, variable): files relative to the CMake file}."""
    library, module, resources = root / "AnomalyDetectLib", root / "AnomalyDetect", root / "Resources"
    in_library = files(library)
    in_module = [file for file in files(module) if not file.startswith("Testing/")]
    return {
        ("AnomalyDetectLib/CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS"): python(in_library),
        ("AnomalyDetectLib/CMakeLists.txt", "LIBRARY_RESOURCES"): others(in_library),
        ("AnomalyDetect/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS"): python(in_module),
        ("AnomalyDetect/CMakeLists.txt", "MODULE_PYTHON_RESOURCES"): others(in_module),
        ("Resources/CMakeLists.txt", "LIBRARY_DATA"): [
            file for part in DATA for file in files(resources, part)
        ],
    }


def python(names: list[str]) -> list[str]:
    """The Python files among them."""
    return [name for name in names if name.endswith(".py")]


def others(names: list[str]) -> list[str]:
    """The rest."""
    return [name for name in names if not name.endswith(".py")]


def block(variable: str) -> re.Pattern[str]:
    """Where a CMake file sets a list."""
    return re.compile(rf"^set\({variable}\n(.*?)^  \)", re.MULTILINE | re.DOTALL)


def listed(text: str, variable: str) -> list[str]:
    """The entries of a list in the text of a CMake file. Raises `ValueError` when it isn't set there."""
    found = block(variable).search(text)
    if found is None:
        raise ValueError(f"no list {variable}")
    return found.group(1).split()


def rewritten(text: str, variable: str, names: list[str]) -> str:
    """The text with other entries in a list."""
    body = "".join(f"  {name}\n" for name in names)
    return block(variable).sub(lambda _: f"set({variable}\n{body}  )", text, count=1)


def differences(root: Path = ROOT) -> list[str]:
    """One line for each file that is in the tree or in a list, but not in both."""
    lines = []
    for (file, variable), names in wanted(root).items():
        there = listed((root / file).read_text(encoding="utf-8"), variable)
        folder = Path(file).parent.as_posix()
        lines += [f"{folder}/{name}: not listed in {file}" for name in names if name not in there]
        lines += [f"{folder}/{name}: listed in {file} but not there" for name in there if name not in names]
    return lines


def rewrite(root: Path = ROOT) -> None:
    """Make every list equal to the tree."""
    for (file, variable), names in wanted(root).items():
        path = root / file
        path.write_text(rewritten(path.read_text(encoding="utf-8"), variable, names), encoding="utf-8")


if __name__ == "__main__":
    for line in differences():
        sys.stdout.write(f"{line}\n")
    rewrite()
