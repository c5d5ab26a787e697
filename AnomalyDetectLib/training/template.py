"""The template: a symmetric affine average of the training brains, its tissue priors, region consensus and
affines.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.training import affines, labels
from AnomalyDetectLib.volume import Affine, FloatArray, Grid, resample, resample_labels

log = logging.getLogger(__name__)

TEMPLATE_SHAPE = (80, 96, 80)
TEMPLATE_SPACING = 2.0


@dataclass(frozen=True)
class Subject:
    """One healthy training scan on disk, reoriented to RAS when read."""

    name: str
    scan: Path
    regions: Path
    split: str
    age: float | None
    sides_ok: bool

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], Grid]:
        """Scan and MUSE regions (i,j,k) in RAS order and their common grid."""
        image = nib.as_closest_canonical(nib.load(self.scan))
        regions = nib.as_closest_canonical(nib.load(self.regions))
        array = np.asarray(image.dataobj, dtype=np.float32)
        return array, np.asarray(regions.dataobj).astype(np.uint8), Grid(array.shape, image.affine)


def ixi_subjects(data: Path, split: str | None = None) -> list[Subject]:
    """The IXI subjects of `data`/ixi_t1_2mm, of one split ("train", "val") or all, in the order of their
    names.
    """
    folder = data / "ixi_t1_2mm"
    subjects = []
    with (folder / "participants.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name = row["participant_id"]
            subjects.append(
                Subject(
                    name=name,
                    scan=folder / "t1" / f"{name}_T1.nii.gz",
                    regions=folder / "dlmuse" / f"{name}_T1_DLMUSE.nii.gz",
                    split=row["split"],
                    age=None if row["age"] == "n/a" else float(row["age"]),
                    sides_ok=row["dlmuse_sides_ok"] == "1",
                )
            )
    return sorted((s for s in subjects if split in (None, s.split)), key=lambda subject: subject.name)


def head_label_maps(data: Path) -> Iterator[tuple[str, NDArray[np.uint16], Grid]]:
    """Name, labels (i,j,k) and grid of each 1-mm whole-head label map of `data`/labelmaps_1mm."""
    for path in sorted((data / "labelmaps_1mm").glob("*.nii.gz")):
        image = nib.load(path)
        array = np.asarray(image.dataobj).astype(np.uint16)
        yield path.name.split(".")[0], array, Grid(array.shape, image.affine)


def build_affines(data: Path) -> dict[str, Affine]:
    """template-from-subject affines (RAS mm) of every IXI scan and every head label map.

    The mean shape comes from the training subjects whose sides are right; its centre is moved so that the
    average brain lies in the middle of the working grid.
    """
    regions = np.array(sorted(set(np.flatnonzero(labels.MUSE_TISSUE)) - {1, 46, 69}), dtype=np.uint8)
    partner = labels.mirror_muse(regions)
    mirror = [int(np.flatnonzero(regions == p)[0]) for p in partner]
    shapes, extents, wanted = {}, [], {}
    for subject in ixi_subjects(data):
        _, array, grid = subject.read()
        if not subject.sides_ok:
            continue  # unpaired structures alone don't fix an affine
        shapes[subject.name] = affines.label_centroids(array, grid.affine, regions)
        if subject.split == "train":
            wanted[subject.name] = shapes[subject.name]
            inside = np.argwhere(array > 0)
            extents.append((subject.name, inside.min(0), inside.max(0), grid.affine))
    mean = affines.mean_shape(list(wanted.values()), mirror)
    maps = {name: affines.fit_affine(shape, mean) for name, shape in shapes.items()}
    centres = []
    for name, low, high, affine in extents:
        corners = np.array(
            [[(low, high)[b][axis] for axis, b in enumerate(bits)] for bits in np.ndindex(2, 2, 2)]
        )
        box = affines.apply_affine(maps[name], affines.apply_affine(affine, corners.astype(float)))
        centres.append((box.min(0) + box.max(0)) / 2)
    shift = -np.mean(centres, axis=0) * [0, 1, 1]
    mean = mean + shift
    maps = {name: affines.fit_affine(shape, mean) for name, shape in shapes.items()}
    rows = [int(np.flatnonzero(regions == muse)[0]) for muse, _ in labels.SHARED_STRUCTURES]
    target = np.mean(
        [_extent(labels.MUSE_TISSUE[r], g, maps[n]) for n, r, g in _some_regions(data, maps)], axis=0
    )
    for name, codes, grid in head_label_maps(data):
        numbers = np.array([pair[1] for pair in labels.SHARED_STRUCTURES])
        deep = affines.fit_affine(affines.label_centroids(codes, grid.affine, numbers), mean[rows])
        # deep structures say little of the size of the whole brain: match its extent along each axis
        low, high = _extent(labels.FREESURFER_TISSUE[codes], grid, deep)
        scale = (target[1] - target[0]) / (high - low)
        match = np.diag([*scale, 1.0])
        match[:3, 3] = target[0] - scale * low
        maps[name] = match @ deep
    return maps


def _some_regions(data: Path, maps: dict[str, Affine]) -> Iterator[tuple[str, NDArray[np.uint8], Grid]]:
    for subject in ixi_subjects(data, "train")[:24]:
        if subject.name in maps:
            _, regions, grid = subject.read()
            yield subject.name, regions, grid


def _extent(tissue: NDArray[np.uint8], grid: Grid, affine: Affine) -> NDArray[np.float64]:
    """2nd and 98th percentile (2,3), mm in template space, of the cerebrum's and cerebellum's voxels along
    each axis.
    """
    brain = np.isin(tissue, (labels.CORTEX, labels.WHITE, labels.CEREBELLUM_GREY, labels.CEREBELLUM_WHITE))
    points = np.argwhere(brain)[::7].astype(float)
    return np.percentile(affines.apply_affine(affine @ grid.affine, points), [2, 98], axis=0)


def template_grid() -> Grid:
    """The working grid: 80 x 96 x 80 voxels of 2 mm, RAS, its centre at the origin."""
    affine = np.diag([TEMPLATE_SPACING] * 3 + [1.0])
    affine[:3, 3] = -(np.array(TEMPLATE_SHAPE) - 1) * TEMPLATE_SPACING / 2
    return Grid(TEMPLATE_SHAPE, affine)


def cached_affines(data: Path, cache: Path) -> dict[str, Affine]:
    """`build_affines`, built once and kept in `cache`/affines.json."""
    path = cache / "affines.json"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        built = build_affines(data)
        path.write_text(json.dumps({name: np.round(a, 6).tolist() for name, a in built.items()}, indent=0))
    return {name: np.array(a) for name, a in json.loads(path.read_text()).items()}


def to_template(array: FloatArray, grid: Grid, affine: Affine) -> FloatArray:
    """`array` on `grid` resampled to the working grid by its template-from-subject affine, linear."""
    return resample(array, grid, template_grid(), source_from_target=np.linalg.inv(affine))


def labels_to_template(labels: NDArray[np.uint8], grid: Grid, affine: Affine) -> NDArray[np.uint8]:
    """Labels on `grid` resampled to the working grid by their template-from-subject affine, nearest
    neighbour.
    """
    return resample_labels(labels, grid, template_grid(), source_from_target=np.linalg.inv(affine))
