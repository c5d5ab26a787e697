"""Prepared: what every model receives, and the way back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, resample

Verdict = Literal["ok", "warn", "refuse"]


@dataclass(frozen=True)
class ScanFit:
    """Whether the scan fits the model: `verdict` and the reasons for it, one plain sentence each."""

    verdict: Verdict = "ok"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observations:
    """What the scan-fit gate looks at.

    brain_ml: volume of the mask. spacing_mm: the coarsest voxel side. cut_share: fraction of the template's
    brain that lies outside the field of view. noise: noise SD in white matter over its mean. guessed: the
    modality that the image looks like. asked: the modality that the caller gave, or None. age: years, None
    when unknown.
    """

    brain_ml: float
    spacing_mm: float
    cut_share: float
    noise: float
    guessed: str
    asked: str | None = None
    age: float | None = None


@dataclass(frozen=True)
class WayBack:
    """The map between a scan's grid and the working grid.

    input: the scan's grid. working: the working grid. working_from_input: 4x4, RAS mm of the scan to RAS mm
    of the working (template) space.
    """

    input: Grid
    working: Grid
    working_from_input: Affine

    def on(self, grid: Grid) -> WayBack:
        """The same way to another lattice in the scan's space, such as a part of its grid."""
        return WayBack(grid, self.working, self.working_from_input)

    def to_input(self, array: FloatArray, *, outside: float = 0.0) -> FloatArray:
        """A working-grid array (X,Y,Z) at the scan's voxels (i,j,k), linear."""
        return resample(
            array, self.working, self.input, source_from_target=self.working_from_input, outside=outside
        )

    def to_working(self, array: FloatArray) -> FloatArray:
        """A scan-grid array (i,j,k) at the voxels of the working grid (X,Y,Z), linear."""
        back = np.linalg.inv(self.working_from_input)
        return resample(array, self.input, self.working, source_from_target=back)


@dataclass(frozen=True)
class Prepared:
    """A scan ready for a model.

    tensor: float32 (1,1,X,Y,Z) on the working grid, white matter near 1, 0 outside the brain; of CT the
    brain's median is 0.9, and one unit about 40 HU.
    brain: bool (X,Y,Z). input_brain: bool (i,j,k), the brain on the scan's grid.
    to_input: the way back. modality: T1, T2, FLAIR, PD or CT, as given or guessed. fit: the gate's verdict.
    scale: scanner units of one working unit. bias: float32 (X,Y,Z), multiplicative field divided out.
    exponent: power that was taken after that, so that T1 contrast is alike on all scanners.
    observations: what the gate looked at. alignment_overlap: Dice of the aligned brain with the template's.
    stripped: the scan came without a skull. seconds: wall time of each stage.
    """

    tensor: torch.Tensor
    brain: BoolArray
    input_brain: BoolArray
    to_input: WayBack
    modality: str
    fit: ScanFit
    scale: float
    bias: FloatArray
    observations: Observations
    alignment_overlap: float
    stripped: bool
    exponent: float = 1.0
    seconds: dict[str, float] = field(default_factory=dict)

    def in_scanner_units(self, working: FloatArray) -> FloatArray:
        """An image in working units (X,Y,Z) in the scanner's: what `prepare` did to intensities, undone."""
        power = np.maximum(working, 0) ** np.float32(1 / self.exponent)
        return np.asarray(power * self.bias * self.scale, dtype=np.float32)
