"""A cube of the patient around a finding, in RAS, with everything that the picture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.explain.explain import Explanation
from AnomalyDetectLib.scoring import detail
from AnomalyDetectLib.scoring.evidence import residual
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, resample, resample_labels

LEAST_MM, AROUND_MM = 72.0, 22.0
STEP_MM = 1.0


@dataclass(frozen=True)
class Crop:
    """All (n,n,n), axes to the right, front and top, `STEP_MM` apart; the centre lies in the finding.

    centre_ras_mm: in the case's scan. scan, healthy: scan units of the sequence that carried the finding.
    score: fused, z. finding, others, brain: bool. gradients, occlusion, grad_cam: as in `Attribution`, None
    where left out; z a ml, z, 0-1. blocks: where the occlusion was tried.
    """

    centre_ras_mm: tuple[float, float, float]
    scan: FloatArray
    healthy: FloatArray
    score: FloatArray
    finding: BoolArray
    others: BoolArray
    brain: BoolArray
    gradients: FloatArray | None
    occlusion: FloatArray | None
    blocks: BoolArray
    grad_cam: FloatArray | None


def crop_of(found: Explanation) -> Crop:
    """Cut everything out and bring it to one grid."""
    case, view = found.case, found.view
    grid = grid_around(case.finding, case.volume.grid)
    volume, prepared = view.scan.volume, view.scan.prepared
    box = detail.brain_box(prepared.input_brain, volume.grid)
    fine = detail.fine_structure(volume.array[box.slices], prepared, prepared.to_input.on(box.grid))
    healthy = detail.healthy_version(volume, prepared, residual(prepared, view.rebuild), view.z, fine, box)

    def own(array: FloatArray) -> FloatArray:
        return resample(array, volume.grid, grid, source_from_target=view.from_case)

    def working(array: FloatArray) -> FloatArray:
        return resample(array, view.way.working, grid, source_from_target=view.way.working_from_input)

    def labels(mask: BoolArray) -> BoolArray:
        return resample_labels(mask.astype(np.uint8), case.volume.grid, grid) > 0

    scores = np.stack([one.score_on(grid) for one in found.views])
    shown = found.attribution
    blocks = np.zeros(grid.shape, np.int32)
    occlusion = None
    if shown.occlusion is not None:
        numbered = resample_labels(
            shown.occlusion.blocks.astype(np.int32),
            view.way.working,
            grid,
            source_from_target=view.way.working_from_input,
        )
        blocks, occlusion = numbered, np.append(0.0, shown.occlusion.falls)[numbered].astype(np.float32)
    half = (grid.shape[0] - 1) / 2
    right, anterior, superior = (grid.affine @ (half, half, half, 1.0))[:3].tolist()
    per_ml = 1000 / view.way.working.voxel_mm3
    return Crop(
        centre_ras_mm=(right, anterior, superior),
        scan=own(volume.array),
        healthy=own(healthy),
        score=np.take_along_axis(scores, np.abs(scores).argmax(0)[None], 0)[0],
        finding=labels(case.finding),
        others=labels(case.others),
        brain=own(prepared.input_brain.astype(np.float32)) > 0.5,
        gradients=None if shown.gradients is None else working(shown.gradients) * np.float32(per_ml),
        occlusion=occlusion,
        blocks=np.asarray(blocks > 0),
        grad_cam=None if shown.grad_cam is None else working(shown.grad_cam),
    )


def grid_around(finding: BoolArray, grid: Grid) -> Grid:
    """A cube along the patient's axes whose centre is the finding's voxel nearest to its centroid."""
    points = placed(np.argwhere(finding), grid.affine)
    centre = points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
    reach = np.abs(points - centre).max() + AROUND_MM
    half = int(np.ceil(max(reach, LEAST_MM / 2) / STEP_MM))
    affine = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    affine[:3, 3] = centre - half * STEP_MM
    side = 2 * half + 1
    return Grid((side, side, side), affine)


def placed(ijk: NDArray[np.int_], affine: Affine) -> NDArray[np.float64]:
    """Voxels (n,3) in mm."""
    return np.asarray(ijk @ affine[:3, :3].T + affine[:3, 3])
