"""AnomalyMaps: everything that findings are made from, on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, check_affine


@dataclass(frozen=True)
class AnomalyMaps:
    """Maps of one case, all (i,j,k) on the scan's grid.

    grid: where the voxels lie. brain: bool. healthy: float32, scan units. residual: float32, scan minus
    healthy, signed, scan units.
    score: float32, signed standardised residual z (bright > 0, dark < 0), 0 outside the brain.
    uncertainty: float32 >= 0, standard deviation of the score, z. region: uint8, coarse location (see
    `findings.atlas`), 0 where unknown; None when the scan isn't aligned to the template.
    image_score: one number for the whole scan; image_p: its p-value among healthy scans; None without
    calibration. sequence: uint8, which of two sequences gave the score, 1 or 2, 0 outside the brain; None
    for one scan alone. sequence_names: what the table calls them, such as T1 and FLAIR.
    """

    grid: Grid
    brain: BoolArray
    healthy: FloatArray
    residual: FloatArray
    score: FloatArray
    uncertainty: FloatArray
    region: np.ndarray | None = None
    image_score: float | None = None
    image_p: float | None = None
    sequence: NDArray[np.uint8] | None = None
    sequence_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("brain", "healthy", "residual", "score", "uncertainty"):
            if getattr(self, name).shape != self.grid.shape:
                raise VolumeError(
                    f"{name}: shape {getattr(self, name).shape} is not the grid's {self.grid.shape}"
                )
        if self.sequence is not None and self.sequence.shape != self.grid.shape:
            raise VolumeError(f"sequence: shape {self.sequence.shape} is not the grid's {self.grid.shape}")

    @classmethod
    def from_score(
        cls, score: FloatArray, *, brain: BoolArray | None = None, affine: Affine | None = None
    ) -> AnomalyMaps:
        """Maps from a score array (i,j,k) alone, so that a map of another tool can be read with the engine.

        brain: where to look; None: where the score is not 0. affine: 4x4 IJK to RAS mm; None: 1-mm voxels.
        Raises `VolumeError` when the score isn't 3-D or the mask lies on another grid.
        """
        score = np.nan_to_num(np.asarray(score, dtype=np.float32))
        if score.ndim != 3:
            raise VolumeError(f"score: {score.ndim} dimensions {score.shape}; give one 3-D map")
        inside = score != 0 if brain is None else np.asarray(brain, dtype=bool)
        i, j, k = score.shape
        grid = Grid((i, j, k), check_affine(np.eye(4) if affine is None else affine, "score"))
        zero = np.zeros_like(score)
        return cls(grid=grid, brain=inside, healthy=zero, residual=zero, score=score, uncertainty=zero)
