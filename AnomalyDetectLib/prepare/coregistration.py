"""Coregistration: where the voxels of one scan lie in another scan of the same patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid, Volume, dice, resample, resample_mask

GRID_MM = 2.0
MARGIN_MM = 12.0
BINS = 32
SAMPLED_SHARE, SEED = 0.25, 1  # a regular sample is jittered, by the clock unless there is a seed
GREY_PERCENTILES = (0.5, 99.5)  # of the brain: fat and vessels would take most of the histogram's bins
SHRINKING, SMOOTHING_MM = (2, 1), (4.0, 0.0)
STEPS, FIRST_STEP, SMALLEST_STEP = 150, 1.0, 1e-3
# Both scans were aligned to the template before, so that a rigid correction beyond these is no correction.
LARGEST_SHIFT_MM, LARGEST_TURN_DEGREES = 15.0, 15.0
WORST_OVERLAP = 0.85
# Brains of two adults can meet better than that, so that there is a doubt before the refusal.
DOUBTFUL_OVERLAP, DOUBTFUL_STRETCH = 0.9, 1.08


@dataclass(frozen=True)
class Coregistration:
    """second_from_first: 4x4 rigid, RAS mm of the first scan to RAS mm of the second. overlap: Dice of both
    brains where both scans have voxels. shift_mm, turn_degrees: how far it lies from where the alignments
    to the template had put it; the shift is the brain's centre's. stretch: the largest factor by which the
    alignments to the template make one head longer than the other, at least 1.
    """

    second_from_first: Affine
    overlap: float
    shift_mm: float
    turn_degrees: float
    stretch: float = 1.0

    @property
    def problem(self) -> str | None:
        """What speaks against the two scans showing one head; None when nothing does."""
        if self.shift_mm > LARGEST_SHIFT_MM or self.turn_degrees > LARGEST_TURN_DEGREES:
            return f"it would have to be moved by {self.shift_mm:.0f} mm and {self.turn_degrees:.0f} degrees"
        if self.overlap < WORST_OVERLAP:
            return f"the brains meet only with Dice {self.overlap:.2f}, less than {WORST_OVERLAP}"
        return None

    @property
    def doubt(self) -> str:
        """What the reader should look at; "" for nothing."""
        if self.overlap < DOUBTFUL_OVERLAP:
            seen = f"its brain meets the scan's only with Dice {self.overlap:.2f}"
        elif self.stretch > DOUBTFUL_STRETCH:
            seen = f"its head seems to differ in size by {100 * (self.stretch - 1):.0f} %"
        else:
            return ""
        return f"{seen}: are both of the same patient?"


def coregister(first: Volume, one: Prepared, second: Volume, two: Prepared) -> Coregistration:
    """Find the rigid map between two scans of one patient, of any contrasts and grids.

    one, two: the scans as they were prepared; their alignments to the template give the start. Mattes mutual
    information inside the first scan's brain at 2 mm (Mattes et al., IEEE TMI 2003), sampled regularly and
    in one thread: the same scans give the same map. Raises `PreparationError` when the scans don't show the
    same head.
    """
    by_template = np.linalg.inv(two.to_input.working_from_input) @ one.to_input.working_from_input
    start = rigid_part(by_template, _centre(one))
    grid = _grid_around(one)
    brain = resample_mask(one.input_brain, first.grid, grid)
    fixed = _grey(resample(first.array, first.grid, grid), brain)
    beside = resample_mask(two.input_brain, second.grid, grid, source_from_target=start)
    moving = _grey(resample(second.array, second.grid, grid, source_from_target=start), beside)
    change = _registered(fixed, brain, moving, grid)
    second_from_first = np.asarray(start @ change)
    centre = np.append(_centre(one), 1)
    found = Coregistration(
        second_from_first,
        _overlap(one, two, grid, second_from_first),
        shift_mm=float(np.linalg.norm((change @ centre - centre)[:3])),
        turn_degrees=_turn_degrees(change),
        stretch=_stretch(by_template),
    )
    if found.problem:
        raise PreparationError(
            f"{second.name}: not the same head as {first.name}: {found.problem}; give one of the same patient"
        )
    return found


def rigid_part(affine: Affine, centre: NDArray[np.float64]) -> Affine:
    """The rotation nearest to a 4x4 affine (polar decomposition), with its shift at `centre` (3,), mm."""
    left, _, right = np.linalg.svd(affine[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    rigid[:3, 3] = affine[:3, :3] @ centre + affine[:3, 3] - rigid[:3, :3] @ centre
    return rigid


def _centre(prepared: Prepared) -> NDArray[np.float64]:
    """The brain's centre in the scan's RAS mm (3,)."""
    affine = prepared.to_input.input.affine
    voxel = np.argwhere(prepared.input_brain).mean(axis=0)
    return np.asarray(affine[:3, :3] @ voxel + affine[:3, 3])


def _grid_around(prepared: Prepared) -> Grid:
    """A 2-mm RAS lattice around the brain, with a margin in which a moved brain finds its edge."""
    affine = prepared.to_input.input.affine
    points = np.argwhere(prepared.input_brain) @ affine[:3, :3].T + affine[:3, 3]
    low, high = points.min(axis=0) - MARGIN_MM, points.max(axis=0) + MARGIN_MM
    i, j, k = (int(size) for size in np.ceil((high - low) / GRID_MM) + 1)
    placed = np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0])
    placed[:3, 3] = low
    return Grid((i, j, k), placed)


def _grey(image: FloatArray, brain: BoolArray) -> FloatArray:
    """The image with its grey values clipped to the brain's."""
    inside = image[brain] if brain.any() else image.ravel()
    return np.asarray(np.clip(image, *np.percentile(inside, GREY_PERCENTILES)), dtype=np.float32)


def _registered(fixed: FloatArray, brain: BoolArray, moving: FloatArray, grid: Grid) -> Affine:
    """The rigid change, 4x4 RAS mm, after which `moving` looks like `fixed` in the brain; all on `grid`."""
    transform = sitk.VersorRigid3DTransform()
    middle = np.argwhere(brain).mean(axis=0) * GRID_MM + grid.affine[:3, 3]
    transform.SetCenter([float(value) for value in middle])
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # sums in another order would give another map
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(_image(brain.astype(np.uint8), grid))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(FIRST_STEP, SMALLEST_STEP, STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(SHRINKING))
    method.SetSmoothingSigmasPerLevel(list(SMOOTHING_MM))
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(_image(fixed, grid), _image(moving, grid))
    change = np.eye(4)
    change[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    change[:3, 3] = transform.TransformPoint([0.0, 0.0, 0.0])
    return change


def _image(array: NDArray[np.float32] | NDArray[np.uint8], grid: Grid) -> sitk.Image:
    """An array (i,j,k) as an image whose physical space is RAS mm: both images are, so the map is too."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(grid.spacing)
    image.SetOrigin([float(value) for value in grid.affine[:3, 3]])
    return image


def _overlap(one: Prepared, two: Prepared, grid: Grid, second_from_first: Affine) -> float:
    """Dice of both brains on `grid`, where both scans have voxels: a slab is no other head."""

    def carried(mask: BoolArray, source: Grid, way: Affine | None) -> BoolArray:
        return resample_mask(mask, source, grid, source_from_target=way)

    first, second = one.to_input.input, two.to_input.input
    seen = carried(np.ones(first.shape, np.bool_), first, None)
    seen &= carried(np.ones(second.shape, np.bool_), second, second_from_first)
    return dice(
        carried(one.input_brain, first, None) & seen,
        carried(two.input_brain, second, second_from_first) & seen,
    )


def _stretch(affine: Affine) -> float:
    """The largest factor by which a map makes something longer or shorter, at least 1."""
    factors = np.linalg.svd(affine[:3, :3], compute_uv=False)
    return float(max(factors.max(), 1 / factors.min()))


def _turn_degrees(rigid: Affine) -> float:
    """The angle of a rigid map."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rigid[:3, :3]) - 1) / 2, -1, 1))))
