"""The shipped template: the working grid, the average brain and the coarse regions on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import BoolArray, Grid

INSIDE = 100  # of 200: at least half of the training brains


@dataclass(frozen=True)
class Template:
    """grid: the working grid. brain: bool (X,Y,Z). regions: uint8 codes (X,Y,Z) of regions.tsv."""

    grid: Grid
    brain: BoolArray
    regions: NDArray[np.uint8]


@functools.cache
def load_template() -> Template:
    """Read the template once per process."""
    brain = nib.load(resource("Template", "brain.nii.gz"))
    regions = nib.load(resource("Template", "regions.nii.gz"))
    array = np.asarray(brain.dataobj)
    return Template(
        grid=Grid(array.shape, brain.affine),
        brain=array >= INSIDE,
        regions=np.asarray(regions.dataobj, dtype=np.uint8),
    )
