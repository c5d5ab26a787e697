"""Affine maps between subjects and the template from the centroids of labelled structures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.volume import Affine

Points = NDArray[np.float64]


def label_centroids(labels: NDArray[np.integer], affine: Affine, wanted: NDArray[np.integer]) -> Points:
    """Centroid (n,3) in RAS mm of each wanted label; NaN where a label is absent."""
    centroids = np.full((len(wanted), 3), np.nan)
    present = np.isin(wanted, np.unique(labels))
    found = ndimage.center_of_mass(np.ones(labels.shape, np.uint8), labels, wanted[present])
    centroids[present] = np.asarray(found) @ affine[:3, :3].T + affine[:3, 3]
    return centroids


def fit_affine(source: Points, target: Points, weights: NDArray[np.float64] | None = None) -> Affine:
    """4x4 map that takes `source` (n,3) to `target` (n,3) with the least weighted squared error.

    Points with a NaN on either side are left out. Raises ValueError when fewer than four remain.
    """
    valid = np.isfinite(source).all(1) & np.isfinite(target).all(1)
    if valid.sum() < 4:
        raise ValueError(f"{int(valid.sum())} points are not enough for an affine map; 4 are needed")
    root = np.ones(int(valid.sum())) if weights is None else np.sqrt(weights[valid])
    homogeneous = np.c_[source[valid], np.ones(int(valid.sum()))]
    solution, *_ = np.linalg.lstsq(homogeneous * root[:, None], target[valid] * root[:, None], rcond=None)
    affine = np.eye(4)
    affine[:3] = solution.T
    return affine


def apply_affine(affine: Affine, points: Points) -> Points:
    """Points (n,3) in mm mapped by a 4x4 matrix."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def mean_shape(shapes: list[Points], mirror: list[int], rounds: int = 10) -> Points:
    """Left-right symmetric affine mean (n,3) of point sets in the scanner's orientation and the subjects'
    mean size.

    mirror: for each point the index of its counterpart on the other side. Generalised Procrustes analysis
    with affine maps; after each round the mean is symmetrised and brought back to the subjects' average
    affine frame, so that it neither shrinks nor drifts.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    mean = _mean([shape - np.nanmean(shape, 0) for shape in shapes])
    for _ in range(rounds):
        maps = [fit_affine(shape, mean) for shape in shapes]
        aligned = _mean([apply_affine(a, s) for a, s in zip(maps, shapes, strict=True)])
        back = np.mean([np.linalg.inv(a) for a in maps], axis=0)
        aligned = apply_affine(back, aligned)
        aligned -= np.nanmean(aligned, 0)
        mean = (aligned + aligned[mirror] * flip) / 2
    return mean


def _mean(shapes: list[Points]) -> Points:
    """Mean (n,3) over the point sets that have each point; NaN where none has it."""
    stack = np.stack(shapes)
    count = np.isfinite(stack).sum(0)
    return np.where(count > 0, np.nansum(stack, 0) / np.maximum(count, 1), np.nan)
