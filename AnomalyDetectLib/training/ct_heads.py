"""CT of the head: the patients of the CT set and their slice labels, and how the product prepares them.

The grey values are no Hounsfield units and bone is saturated. The three windows of the CT literature are
emulated from the one 8-bit brain window there is (see `models.windows`): nothing outside of it can be shown.
The spacing of the set is an assumption; the alignment to the template makes up for a wrong one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.computed_tomography import CT
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.training.calibration import HealthyCase, prepared_cases

LEAST_OWN_BRAIN = 1280  # voxels of 1.25 mm in a slice of the set: 20 cm²


@dataclass(frozen=True)
class CtPatient:
    """One patient of the CT set. ill: any haemorrhage or fracture. bleeding: haemorrhage label of each slice
    k.
    """

    name: str
    path: Path
    ill: bool
    bleeding: tuple[bool, ...]


def ct_patients(data: Path, split: str) -> list[CtPatient]:
    """The patients of one split, "train" or "val", in the order of their numbers."""
    folder = data / "ct_ich_dev"
    with (folder / "slices.tsv").open() as file:
        slices = list(csv.DictReader(file, delimiter="\t"))
    patients = []
    with (folder / "patients.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["split"] != split:
                continue
            own = sorted((s for s in slices if s["patient"] == row["patient"]), key=lambda s: int(s["z"]))
            path = folder / f"patient_{int(row['patient']):03d}.nii.gz"
            ill = "1" in (row["any_ich"], row["any_fracture"])
            patients.append(CtPatient(path.name[:11], path, ill, tuple(s["hemorrhage"] == "1" for s in own)))
    return patients


def prepared_heads(patients: list[CtPatient], cache: Path) -> Iterator[HealthyCase]:
    """The patients' scans, prepared as the product does; kept in `cache`."""
    yield from prepared_cases([one.path for one in patients], load_head_network(), cache / "ct", CT)


def healthy_heads(data: Path, cache: Path, split: str) -> Iterator[HealthyCase]:
    """The patients of one split without haemorrhage and fracture."""
    yield from prepared_heads([one for one in ct_patients(data, split) if not one.ill], cache)


def healthy_sets(data: Path, cache: Path) -> dict[str, list[HealthyCase]]:
    """The healthy sets that a model of CT is calibrated on: "train" and "val"."""
    return {which: list(healthy_heads(data, cache, which)) for which in ("train", "val")}


def own_slices(prepared: Prepared) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slices of the scan's own grid that show enough brain, and for each the working slice that is
    nearest to it, at the middle of its brain.

    Labels belong to a scan's own slices; a tilted head's cross many of the working grid.
    """
    brain, way = prepared.input_brain, prepared.to_input
    own = [int(k) for k in np.flatnonzero(brain.sum((0, 1)) >= LEAST_OWN_BRAIN)]
    to_working = np.linalg.inv(way.working.affine) @ way.working_from_input @ way.input.affine
    nearest = []
    for k in own:
        middle = (*np.argwhere(brain[:, :, k]).mean(0), k, 1)
        nearest.append(int(np.clip(np.rint((to_working @ middle)[2]), 0, way.working.shape[2] - 1)))
    return tuple(own), tuple(nearest)
