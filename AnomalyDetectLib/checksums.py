"""SHA-256 checksums of files, folders and models.

Standard library alone, so that it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"
CARD = "card.json"
BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS for every file below `folder`, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def sum_problems(folder: Path) -> list[str]:
    """What differs between `folder` and its SHA256SUMS, one line for each file; empty when all is well."""
    if not (folder / SUMS).is_file():
        return [f"{SUMS}: missing from {folder}"]
    wanted = {}
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        wanted[name] = digest
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    problems = [f"{name}: missing" for name in sorted(set(wanted) - there)]
    problems += [f"{name}: not in {SUMS}" for name in sorted(there - set(wanted))]
    damaged = (name for name in sorted(there & set(wanted)) if sha256_of(folder / name) != wanted[name])
    return problems + [f"{name}: damaged or changed (SHA-256 differs)" for name in damaged]


def model_problem(folder: Path) -> str:
    """What is wrong with a model folder: its card, a missing file, a wrong checksum; "" when all is well."""
    try:
        sums: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{folder.name}: {CARD} can't be read ({error})"
    for file, digest in sums.items():
        if not (folder / file).is_file():
            return f"{folder.name}: {file} is missing"
        if sha256_of(folder / file) != digest:
            return f"{folder.name}: {file} is damaged or was changed (its SHA-256 is not the card's)"
    return ""
