"""CT of the head from 8-bit brain-window slices: brain mask from the skull, scale from the brain's median.

The grey values are no Hounsfield units and bone is saturated. The three windows of the CT literature are
emulated from the one 8-bit brain window there is (see `models.windows`): nothing outside of it can be shown.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models.slices import SIZE
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid

BONE = 245  # grey value: the window saturates at 255
SOFT = 40  # grey value: below is air
MEDIAN = 0.9  # working units of the median of the brain, as in T1


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


def inside_skull(image: FloatArray) -> BoolArray:
    """What the skull encloses (i,j,k), slice by slice, without the bone."""
    brain = np.zeros(image.shape, bool)
    for k in range(image.shape[2]):
        bone = ndimage.binary_closing(image[:, :, k] >= BONE, iterations=3)
        inside = ndimage.binary_fill_holes(bone) & ~ndimage.binary_dilation(bone) & (image[:, :, k] > SOFT)
        labels, count = ndimage.label(ndimage.binary_opening(inside, iterations=2))
        if count:
            largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
            brain[:, :, k] = ndimage.binary_fill_holes(labels == largest)
    return brain


def prepare_ct(path: Path, size: int = SIZE) -> Prepared:
    """A CT stack as a model takes it, slices resampled to `size`² pixels; its own slices are kept.

    It isn't aligned to the template: the spacing of the set is an assumption.
    """
    volume = read_volume(path)
    zoom = size / volume.array.shape[0]
    brain = ndimage.zoom(inside_skull(volume.array).astype(np.float32), (zoom, zoom, 1), order=1) > 0.5
    smooth = ndimage.gaussian_filter(volume.array, (0.4 / zoom, 0.4 / zoom, 0))
    image = ndimage.zoom(smooth, (zoom, zoom, 1), order=1)
    scale = float(np.median(image[brain])) / MEDIAN if brain.any() else 1.0
    step = np.diag([1 / zoom, 1 / zoom, 1.0, 1.0])
    grid = Grid((image.shape[0], image.shape[1], image.shape[2]), nib.load(path).affine @ step)
    working = np.where(brain, image / scale, 0).astype(np.float32)
    return Prepared(
        tensor=torch.from_numpy(working)[None, None],
        brain=brain,
        input_brain=brain,
        to_input=WayBack(grid, grid, np.eye(4)),
        modality="CT",
        fit=ScanFit(),
        scale=scale,
        bias=np.ones_like(working),
        observations=Observations(
            float(brain.sum()) * grid.voxel_mm3 / 1000, max(grid.spacing), 0.0, 0.0, "CT"
        ),
        alignment_overlap=0.0,
        stripped=False,
    )
