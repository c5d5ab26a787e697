"""Healthy axial slices to train the 2-D families on: T1 of healthy volunteers, FLAIR between lesions, CT
without haemorrhage.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models.slices import BRIGHTEST, Batch, age_code, brain_slices, heights, to_slices
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.training.calibration import prepared_cases
from AnomalyDetectLib.training.ct_heads import healthy_heads
from AnomalyDetectLib.training.restoration import load_healthy_scans
from AnomalyDetectLib.volume import BoolArray, FloatArray

LEAST_BRAIN = 500  # voxels in a slice: 20 cm² at 2 mm
LESION_MARGIN_SLICES = 4  # of 2 mm: a thick slice and its neighbour
HELD_OUT_FLAIR = (1, 3)  # of every five patients, in the order of their names
SEX = {"F": -1.0, "M": 1.0}


@dataclass(frozen=True)
class SliceScan:
    """One scan to take slices from.

    image: fp16 (X,Y,Z) in working units, 0 outside the brain. brain: bool (X,Y,Z). usable: which k are
    healthy and show enough brain. age: years or None. sex: -1 woman, 1 man, 0 unknown.
    """

    name: str
    image: Tensor
    brain: Tensor
    usable: tuple[int, ...]
    age: float | None = None
    sex: float = 0.0

    def batch(self, chosen: list[int], size: int) -> Batch:
        """The slices `chosen` as a batch without corruption."""
        inside = self.brain[:, :, chosen].float()
        condition = torch.tensor([[age_code(self.age), self.sex, 0.0]]).repeat(len(chosen), 1)
        condition[:, 2] = heights(self.brain)[chosen]
        image = to_slices(self.image[:, :, chosen].float().clamp(0, BRIGHTEST) * inside, size)
        return {"image": image, "brain": to_slices(inside, size), "condition": condition}


def load_slice_scans(data: Path, cache: Path, contrast: str, split: str) -> list[SliceScan]:
    """The healthy scans of one contrast, split "train" or "val" by patient.

    Raises `AnomalyDetectError` for a contrast without training data.
    """
    loaders: dict[str, Callable[[Path, Path, str], Iterator[SliceScan]]] = {
        "T1": t1_scans, "FLAIR": flair_scans, "CT": ct_scans,
    }  # fmt: skip
    if contrast not in loaders:
        raise AnomalyDetectError(f"no slices of {contrast}; there are {', '.join(loaders)}")
    return [scan for scan in loaders[contrast](data, cache, split) if scan.usable]


def t1_scans(data: Path, cache: Path, split: str) -> Iterator[SliceScan]:
    """IXI T1, aligned and scaled as for the restoration models, with age and sex."""
    with (data / "ixi_t1_2mm" / "participants.tsv").open() as file:
        people = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    for scan in load_healthy_scans(data, cache, split):
        person = people[scan.name]
        age = None if person["age"] == "n/a" else float(person["age"])
        usable = brain_slices(scan.brain.numpy(), LEAST_BRAIN)
        sex = SEX.get(person["sex"], 0.0)
        yield SliceScan(scan.name, scan.image * scan.brain, scan.brain, tuple(usable), age, sex)


def glioma_patients(data: Path, split: str | None = None) -> list[Path]:
    """Folders of glioma patients: whose lesion-free slices train ("train"), held out ("val"), or all."""
    folders = sorted(path.parent for path in (data / "lgg_flair_dev").glob("*/flair.nii.gz"))
    if split is None:
        return folders
    return [f for n, f in enumerate(folders) if (n % 5 in HELD_OUT_FLAIR) == (split == "val")]


def flair_scans(data: Path, cache: Path, split: str) -> Iterator[SliceScan]:
    """FLAIR of glioma patients, prepared as the product does: slices away from the drawn lesion."""
    for folder in glioma_patients(data, split):
        yield prepared_flair_case(folder, cache)[1]


def prepared_flair_case(folder: Path, cache: Path) -> tuple[Prepared, SliceScan]:
    """One glioma patient on the working grid, and the slices that are away from the lesion.

    The preparation is kept in `cache`, keyed by the head network's weights.
    """
    prepared, lesion = prepared_glioma(folder / "flair.nii.gz", "FLAIR", load_head_network(), cache)
    ill = ndimage.binary_dilation(lesion.any((0, 1)), iterations=LESION_MARGIN_SLICES)
    usable = set(brain_slices(prepared.brain, LEAST_BRAIN)) - {int(k) for k in np.flatnonzero(ill)}
    image, brain = prepared.tensor[0, 0].half(), torch.from_numpy(prepared.brain)
    return prepared, SliceScan(folder.name, image, brain, tuple(sorted(usable)))


def prepared_glioma(
    scan: Path, contrast: str, network: HeadNetwork, cache: Path
) -> tuple[Prepared, BoolArray]:
    """One scan of a glioma patient on the working grid, and where (X,Y,Z) the drawn lesion or its rim is.

    Raises `PreparationError` as `prepare` does.
    """
    # The set's files share their names, and the cache goes by names: a folder for each patient.
    folder = scan.parent
    prepared = next(prepared_cases([scan], network, cache / "flair" / folder.name, contrast)).prepared
    return prepared, on_working_grid(read_volume(folder / "mask.nii.gz").array, prepared, share=0.25)


def on_working_grid(mask: FloatArray, prepared: Prepared, share: float = 0.5) -> BoolArray:
    """A drawn mask of the scan's grid (i,j,k) on the working grid (X,Y,Z): voxels with at least `share` of
    it. A low share where healthy slices are sought, since a lesion's rim isn't healthy either.
    """
    return np.asarray(prepared.to_input.to_working((mask > 0).astype(np.float32)) >= share)


def ct_scans(data: Path, cache: Path, split: str) -> Iterator[SliceScan]:
    """CT of patients without haemorrhage and fracture, prepared as the product does."""
    for case in healthy_heads(data, cache, split):
        prepared = case.prepared
        image, usable = prepared.tensor[0, 0].half(), brain_slices(prepared.brain, LEAST_BRAIN)
        yield SliceScan(case.volume.name, image, torch.from_numpy(prepared.brain), tuple(usable))
