"""The shipped template: the working grid, the average brain and the coarse regions on it."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import edt
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid

WHOLE = 200  # stored value of probability 1
DEEP = 0.8
USUAL = 0.5
INSIDE = 100  # at least half of the training brains


@dataclass(frozen=True)
class Template:
    """grid: the working grid. brain: bool (X,Y,Z). regions: uint8 codes (X,Y,Z) of regions.tsv.

    names: of the regions, by code. tissue: float32 (3,X,Y,Z), share of healthy brains with fluid, grey and
    white matter there.
    """

    grid: Grid
    brain: BoolArray
    tissue: FloatArray
    regions: NDArray[np.uint8]
    names: Mapping[int, str]

    def labelled(self, *names: str) -> BoolArray:
        """Where the regions of these names are (X,Y,Z), on both sides."""
        return np.isin(self.regions, [code for code, name in self.names.items() if name in names])

    def near(self, mask: BoolArray, mm: float) -> BoolArray:
        """Voxels (X,Y,Z) whose centre is within `mm` of the mask's nearest voxel's centre."""
        return np.asarray(edt.edt(~mask, anisotropy=self.grid.spacing) <= mm)

    def coordinates(self) -> list[NDArray[np.float64]]:
        """RAS mm along each axis of the working grid, which is not turned: (X,1,1), (1,Y,1), (1,1,Z)."""
        affine, shape = self.grid.affine, self.grid.shape
        axes = [np.arange(shape[axis]) * affine[axis, axis] + affine[axis, 3] for axis in range(3)]
        return list(np.meshgrid(*axes, indexing="ij", sparse=True))

    @property
    def fluid(self) -> BoolArray:
        """Where most healthy brains have fluid."""
        return np.asarray(self.tissue[0] >= USUAL)

    @property
    def cortex(self) -> BoolArray:
        """Where most healthy brains have cortex."""
        cortical = [code for code, name in self.names.items() if name.endswith("cortex")]
        return np.asarray((self.tissue[1] >= USUAL) & np.isin(self.regions, cortical))

    @property
    def deep_white(self) -> BoolArray:
        """Where at least 80 % of healthy brains have white matter."""
        return np.asarray(self.tissue[2] >= DEEP)


@functools.cache
def load_template() -> Template:
    """Read the template once per process."""
    brain = nib.load(resource("Template", "brain.nii.gz"))
    regions = nib.load(resource("Template", "regions.nii.gz"))
    tissue = nib.load(resource("Template", "tissue.nii.gz"))
    with resource("Template", "regions.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    array = np.asarray(brain.dataobj)
    return Template(
        grid=Grid(array.shape, brain.affine),
        brain=array >= INSIDE,
        tissue=np.moveaxis(np.asarray(tissue.dataobj, dtype=np.float32), -1, 0) / np.float32(WHOLE),
        regions=np.asarray(regions.dataobj, dtype=np.uint8),
        names={int(row["id"]): row["name"] for row in rows},
    )
