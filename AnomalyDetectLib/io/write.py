"""Write a case's results: beside first, then renamed, so that nothing half written is ever seen."""

from __future__ import annotations

import errno
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import OutputError
from AnomalyDetectLib.io.raw import corner_distance
from AnomalyDetectLib.volume import Grid

RESULT_FILES = (
    "healthy.nii.gz",
    "residual.nii.gz",
    "score.nii.gz",
    "uncertainty.nii.gz",
    "mask.nii.gz",
    "findings.csv",
    "preview.png",
    "report.json",  # last: where it stands, the others stand too
)
# Beside them when a viewer asks, for its own engine: codes of the atlas, not there without alignment, where
# the brain is, and which of two sequences gave the score.
REGIONS, BRAIN, SEQUENCES = "regions.nii.gz", "brain.nii.gz", "sequences.nii.gz"
# Explanations of findings, each in a folder of its own: a new run of the case makes them void.
WHY_FOLDER, WHY_FILES = re.compile(r"why_\d+"), ("why.png", "why.json")
OURS = frozenset((*RESULT_FILES, REGIONS, BRAIN, SEQUENCES, *WHY_FILES))

CHUNK = 1 << 20
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # no name, no time: equal input gives equal bytes


@contextmanager
def results_folder(out: str | os.PathLike[str], case: str) -> Iterator[Path]:
    """A folder to write the results of `case` into; they appear in `out`/`case` when the block ends well.

    What an earlier run of the case left stays until then and is replaced then; files that aren't ours stay.
    A run that is killed leaves only the hidden folder beside, which the next run of the case removes.
    Raises `OutputError`, one line, when the disk is full, the place is not writable, or a file is in the way.
    """
    out = Path(out)
    final, partial, old = out / case, out / f".{case}.partial", out / f".{case}.old"
    made = missing_parents(out)
    try:
        with output_errors(final):
            out.mkdir(parents=True, exist_ok=True)
            settle(final, partial, old)
            partial.mkdir()
            yield partial
            publish(final, partial, old)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # not empty: another case has its results there
                folder.rmdir()
        raise


def settle(final: Path, partial: Path, old: Path) -> None:
    """Clear away what a killed run left beside `final`; bring earlier results back if it had moved them."""
    if final.exists() and not final.is_dir():
        raise OutputError(f"{final}: a file of this name is in the way; move it or choose another folder")
    if old.exists() and not final.exists():
        old.rename(final)
    for left in (partial, old):
        if left.exists():
            shutil.rmtree(left)


def publish(final: Path, partial: Path, old: Path) -> None:
    """Put the new results in the place of the earlier ones."""
    if not final.exists():
        partial.rename(final)
        return
    foreign = [entry.name for entry in final.iterdir() if not is_ours(entry)]
    if final.is_symlink() or foreign:
        replace_files(final, partial)
        return
    final.rename(old)
    try:
        partial.rename(final)
    except OSError:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def replace_files(final: Path, partial: Path) -> None:
    """Move our files one by one into a folder that holds others too; the report goes first and comes last."""
    (final / RESULT_FILES[-1]).unlink(missing_ok=True)
    written = sorted(partial.iterdir(), key=lambda file: (file.name == RESULT_FILES[-1], file.name))
    for old in [entry for entry in final.iterdir() if is_ours(entry)]:
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name not in {file.name for file in written}:
            old.unlink()
    for file in written:
        file.replace(final / file.name)
    partial.rmdir()


def is_ours(entry: Path) -> bool:
    """Whether a run of the case, or an explanation of a finding of it, wrote this."""
    if WHY_FOLDER.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
        return all(file.name in WHY_FILES for file in entry.iterdir())
    return entry.name in OURS


def missing_parents(folder: Path) -> list[Path]:
    """`folder` and those above it that don't exist yet, deepest first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn an `OSError` while writing `target` into one `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = "the disk is full; free some space or choose another folder"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem = "no permission to write here; choose another folder"
        else:
            problem = f"can't be written ({error.strerror or error}); choose another folder"
        raise OutputError(f"{target}: {problem}") from error


def write_nifti(
    array: NDArray[Any], grid: Grid, path: str | os.PathLike[str], *, keep_bits: int = 23
) -> None:
    """Write an array (i,j,k) on `grid` as .nii.gz: maps as float32, masks as uint8, labelmaps as int32.

    The affine is the grid's, in sform and qform with code 1; a sheared one, which no qform can hold, in the
    sform alone. keep_bits: mantissa bits of a float map, 1-23; 10 keeps 3 significant digits and saves a
    quarter of the space. Equal input gives equal bytes. Raises `OutputError` when the array is on another
    grid or can't be written.
    """
    path = Path(path)
    if array.shape != grid.shape:
        raise OutputError(
            f"{path.name}: array {array.shape} is not on the grid {grid.shape}; resample it first"
        )
    data = stored(array, keep_bits)
    # Floats hardly repeat but for runs of zeros: looking for runs alone is up to 4 times as fast.
    strategy = zlib.Z_RLE if data.dtype.kind == "f" else zlib.Z_DEFAULT_STRATEGY
    content = gzip_bytes(nifti_header(data.dtype, grid) + data.tobytes(order="F"), strategy)
    try:
        with output_errors(path):
            path.write_bytes(content)
    except OutputError:
        with suppress(OSError):
            path.unlink()
        raise


def stored(array: NDArray[Any], keep_bits: int) -> NDArray[Any]:
    """The array in the type that it is written in."""
    if array.dtype.kind == "f":
        return round_mantissa(np.asarray(array, dtype="<f4"), keep_bits)
    if array.dtype == np.bool_ or array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    return array.astype("<i4", copy=False)


def round_mantissa(array: NDArray[np.float32], keep_bits: int) -> NDArray[np.float32]:
    """Finite float32 values rounded to `keep_bits` mantissa bits: relative error at most 2^-(keep_bits+1)."""
    drop = 23 - keep_bits
    if drop <= 0:
        return array
    bits = array.view(np.uint32) + np.uint32(1 << (drop - 1))
    bits &= np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    rounded: NDArray[np.float32] = bits.view(np.float32)
    return rounded


def nifti_header(dtype: np.dtype[Any], grid: Grid) -> bytes:
    """The 352 bytes before the voxels of a single-file NIfTI-1."""
    header: Any = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(grid.shape)
    header.set_zooms(grid.spacing)
    header.set_xyzt_units("mm")
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1, strip_shears=True)
    if corner_distance(grid.shape, header.get_qform(), grid.affine) > 0.01:
        header.set_qform(None, code=0)
    header.set_zooms(grid.spacing)
    header.set_slope_inter(1, 0)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)


def gzip_bytes(content: bytes, strategy: int) -> bytes:
    """One gzip member, level 1, no time stamp.

    strategy: one of zlib's. Chunks of fixed size are deflated side by side and joined by empty blocks, as in
    pigz, so that the bytes depend on the content alone and not on the number of threads.
    """
    view = memoryview(content)
    starts = range(0, max(len(view), 1), CHUNK)

    def deflate(start: int) -> bytes:
        compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=strategy)
        block = compressor.compress(view[start : start + CHUNK])
        last = start + CHUNK >= len(view)
        return block + compressor.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        blocks = list(pool.map(deflate, starts))
    return b"".join((GZIP_HEADER, *blocks, struct.pack("<II", zlib.crc32(view), len(view) & 0xFFFFFFFF)))
