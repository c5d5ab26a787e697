"""Volume: one scalar 3-D image and where it lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from AnomalyDetectLib.errors import SingularAffineError, VolumeError

MODALITIES = ("T1", "T2", "FLAIR", "PD", "CT")

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Affine = NDArray[np.floating[Any]]
LabelType = TypeVar("LabelType", bound=np.integer[Any])


def voxel_sizes(affine: Affine) -> NDArray[np.float64]:
    """Length in mm of a step along each of i, j, k."""
    return np.asarray(np.sqrt((np.asarray(affine, float)[:3, :3] ** 2).sum(0)))


def check_affine(affine: Affine, name: str = "volume") -> Affine:
    """Return the affine as float64, or raise `SingularAffineError` when it can't place voxels in space."""
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise SingularAffineError(f"{name}: the affine is not a finite 4x4 matrix; re-export the scan")
    determinant = float(np.linalg.det(affine[:3, :3]))
    scale = float(np.prod(voxel_sizes(affine)))
    if scale == 0 or abs(determinant) < 1e-3 * scale:
        raise SingularAffineError(
            f"{name}: the affine has determinant {determinant:.3g}; its axes span no volume: re-export it"
        )
    return affine


@dataclass(frozen=True)
class Grid:
    """A lattice of voxels in patient space: `shape` (i,j,k) and `affine`, 4x4 IJK to RAS in mm."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j, k."""
        i, j, k = (float(v) for v in voxel_sizes(self.affine))
        return (i, j, k)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def same_as(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether both lattices have the same shape and their corners lie within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners[:, :3] *= np.array(self.shape) - 1
        shift = corners @ (self.affine - other.affine).T
        return bool(np.abs(shift).max() <= tolerance_mm)


@dataclass(frozen=True)
class Volume:
    """One scalar image.

    array: float32 (i,j,k), finite. affine: 4x4 IJK to RAS, mm. modality: one of `MODALITIES` or None when it
    is not known. name: what messages call it. warnings: what the reader noticed while loading.
    """

    array: FloatArray
    affine: Affine
    modality: str | None = None
    name: str = "volume"
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise VolumeError(
                f"{self.name}: {self.array.ndim} dimensions {self.array.shape}; give one 3-D volume"
            )
        if self.modality is not None and self.modality not in MODALITIES:
            raise VolumeError(
                f"{self.name}: modality {self.modality!r} is not one of {', '.join(MODALITIES)}"
            )
        object.__setattr__(self, "array", np.asarray(self.array, dtype=np.float32))
        object.__setattr__(self, "affine", check_affine(self.affine, self.name))

    @property
    def grid(self) -> Grid:
        """The lattice that the voxels lie on."""
        i, j, k = self.array.shape
        return Grid((i, j, k), self.affine)

    def with_array(self, array: FloatArray) -> Volume:
        """The same place in space with other values."""
        return replace(self, array=array)


def smooth(array: FloatArray, sigma_voxels: tuple[float, float, float]) -> FloatArray:
    """Gaussian smoothing (i,j,k) with a standard deviation in voxels for each axis; 0 leaves an axis
    alone.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    for direction, sigma in enumerate(reversed(sigma_voxels)):
        if sigma > 0.05 and image.GetSize()[direction] >= 4:
            gaussian = sitk.RecursiveGaussianImageFilter()
            gaussian.SetDirection(direction)
            gaussian.SetSigma(float(sigma))
            image = gaussian.Execute(image)
    return np.asarray(sitk.GetArrayFromImage(image))


def mirror_difference(array: FloatArray, brain: BoolArray) -> FloatArray:
    """A map on the working grid (X,Y,Z) minus its mirror image, 0 where the other side isn't brain."""
    return np.where(brain & brain[::-1], array - array[::-1], 0).astype(np.float32)


def smooth_inside(array: FloatArray, brain: BoolArray, sigma: float) -> FloatArray:
    """Gaussian smoothing (X,Y,Z) that doesn't mix in what lies outside the brain; 0 there."""
    sigmas = (sigma, sigma, sigma)
    share = smooth(brain.astype(np.float32), sigmas)
    inside = smooth(np.where(brain, array, 0).astype(np.float32), sigmas)
    return np.where(brain, inside / np.maximum(share, 0.05), 0).astype(np.float32)


def resample(
    array: NDArray[Any],
    source: Grid,
    target: Grid,
    *,
    source_from_target: Affine | None = None,
    outside: float = 0.0,
) -> FloatArray:
    """Values of `array` (i,j,k on `source`) at the voxels of `target`, linear.

    source_from_target: 4x4, RAS mm of the target's space to RAS mm of the source's space; None when both are
    the same space. The source is smoothed first along axes that the target samples more coarsely
    (sigma² = (t² - s²) / (8 ln 2) with the two spacings as FWHM), so that nothing aliases. Works in index
    space: shears and left-handed affines are as good as any.
    """
    index_map = _index_map(source, target, source_from_target)
    steps = np.abs(index_map[:3, :3]).max(1)  # source voxels that one target step crosses, per source axis
    sigma = np.sqrt(np.maximum(steps**2 - 1.0, 0.0) / (8 * np.log(2)))
    data = np.ascontiguousarray(array, dtype=np.float32)
    if sigma.max() > 0.2:
        data = smooth(data, (float(sigma[0]), float(sigma[1]), float(sigma[2])))
    return np.asarray(_sample(data, index_map, target, sitk.sitkLinear, outside), dtype=np.float32)


def resample_labels(
    labels: NDArray[LabelType], source: Grid, target: Grid, *, source_from_target: Affine | None = None
) -> NDArray[LabelType]:
    """Labels (i,j,k on `source`) at the voxels of `target`, nearest neighbour, 0 outside; else as
    `resample`.
    """
    index_map = _index_map(source, target, source_from_target)
    sampled = _sample(np.ascontiguousarray(labels), index_map, target, sitk.sitkNearestNeighbor, 0)
    return sampled.astype(labels.dtype, copy=False)


def resample_mask(
    mask: NDArray[np.bool_], source: Grid, target: Grid, *, source_from_target: Affine | None = None
) -> BoolArray:
    """A mask (i,j,k on `source`) at the voxels of `target`: where more than half is inside."""
    share = resample(mask.astype(np.float32), source, target, source_from_target=source_from_target)
    return np.asarray(share > 0.5)


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Dice of two masks on the same grid, 0 when both are empty."""
    return float(2 * (one & two).sum() / max(1, int(one.sum() + two.sum())))


def _index_map(source: Grid, target: Grid, source_from_target: Affine | None) -> Affine:
    """Voxel indices of the target to voxel indices of the source."""
    world = np.eye(4) if source_from_target is None else source_from_target
    return np.asarray(np.linalg.inv(source.affine) @ world @ target.affine)


def _sample(
    data: NDArray[Any], index_map: Affine, target: Grid, interpolator: int, outside: float
) -> NDArray[Any]:
    image = sitk.GetImageFromArray(data)  # SimpleITK's x is k: reverse the axes of the map
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(index_map[:3, :3][::-1, ::-1].ravel().tolist())
    transform.SetTranslation(index_map[:3, 3][::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(target.shape)])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(outside)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))
