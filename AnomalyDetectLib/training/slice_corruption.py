"""Corruptions of healthy slices: noise, masked patches and pasted anomalies, each once for all families.

Every function takes a generator, the slice, its brain mask and another healthy slice (X,Y), and returns the
corrupted slice and where it was corrupted, 0-1.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from AnomalyDetectLib.models.slices import BRIGHTEST
from AnomalyDetectLib.volume import BoolArray, FloatArray

Corrupted = tuple[FloatArray, FloatArray]
Corruption = Callable[[np.random.Generator, FloatArray, BoolArray, FloatArray], Corrupted]

NOISE_SIDE, NOISE_SD = 16, 0.2  # Kascenas 2022; working units
EATEN = 3  # pixels that OpenCV erodes a mask by before it blends
VISIBLE = 0.02  # working units: a smaller change isn't an anomaly
HALF_WAY = 0.1  # working units: change at which the graded label of NSA is a half
TISSUE = 0.5  # working units: below is fluid


def nothing(rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray) -> Corrupted:
    """The slice as it is."""
    return image, np.zeros_like(image)


def coarse_noise(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """Gaussian noise on a lattice of 16², enlarged and shifted, inside the brain (Kascenas et al., MIDL
    2022).
    """
    lattice = rng.normal(0, NOISE_SD, (NOISE_SIDE, NOISE_SIDE)).astype(np.float32)
    noise = cv2.resize(lattice, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    shift = rng.integers(0, image.shape[0], 2)
    noise = np.roll(noise, shift, (0, 1)) * brain
    return (image + noise).astype(np.float32), (np.abs(noise) > VISIBLE).astype(np.float32)


def masked_patches(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """One to three rectangles set to zero (context encoding; Zimmerer et al. 2018)."""
    weight = np.zeros_like(image)
    for _ in range(int(rng.integers(1, 4))):
        weight[_patch(rng, brain, (0.1, 0.3))] = 1
    return (image * (1 - weight)).astype(np.float32), weight * brain


def cutpaste(rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray) -> Corrupted:
    """A rectangle, or half of the time a thin turned scar, copied within the slice (Li et al., CVPR 2021)."""
    scar = rng.random() < 0.5
    patch = _patch(rng, brain, (0.02, 0.2) if scar else (0.08, 0.25), thin=scar)
    shape = np.zeros(image.shape, np.float32)
    shape[patch] = 1
    turn = float(rng.uniform(-45, 45)) if scar else 0.0
    moved = shape, image * rng.uniform(0.9, 1.1)
    target = _random_pixel(rng, brain)
    centre = np.array([(s.start + s.stop) / 2 for s in patch])
    matrix = cv2.getRotationMatrix2D((float(centre[1]), float(centre[0])), turn, 1.0)
    matrix[:, 2] += (target - centre)[::-1]
    size = (image.shape[1], image.shape[0])
    weight, pasted = (cv2.warpAffine(one.astype(np.float32), matrix, size) for one in moved)
    weight = ((weight > 0.5) & brain).astype(np.float32)
    return np.where(weight > 0, pasted, image).astype(np.float32), weight


def foreign_patch(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """A patch mixed with the same place of another brain; the label is its share (FPI; Tan et al., MELBA
    2022).
    """
    weight = np.zeros_like(image)
    weight[_patch(rng, brain, (0.1, 0.4))] = rng.uniform(0.05, 0.95)
    weight = weight * brain
    return ((1 - weight) * image + weight * other).astype(np.float32), weight


def foreign_patch_poisson(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """As `foreign_patch`, but the gradients are mixed, so no edge gives it away (PII; Tan et al., MICCAI
    2021).
    """
    shape = np.zeros(image.shape, bool)
    shape[_patch(rng, brain, (0.1, 0.4))] = True
    share = float(rng.uniform(0.05, 0.95))
    blended = poisson_blend((1 - share) * image + share * other, image, shape)
    return np.where(brain, blended, image).astype(np.float32), (share * (shape & brain)).astype(np.float32)


def natural_anomaly(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """One to three resized patches of another brain, blended in (NSA; Schlüter et al., ECCV 2022)."""
    blended = image
    for _ in range(int(rng.integers(1, 4))):
        patch, centre = _patch(rng, brain, (0.06, 0.3)), _random_pixel(rng, brain)
        factor = float(rng.uniform(0.7, 1.3))
        matrix = cv2.getRotationMatrix2D((float(patch[1].start), float(patch[0].start)), 0.0, factor)
        shape = np.zeros(image.shape, bool)
        shape[patch] = True
        middle = np.array([(s.start + s.stop) / 2 for s in patch])
        matrix[:, 2] += (centre - middle)[::-1]
        size = (image.shape[1], image.shape[0])
        source = cv2.warpAffine(other.astype(np.float32), matrix, size)
        moved = cv2.warpAffine(shape.astype(np.float32), matrix, size) > 0.5
        blended = np.where(brain, poisson_blend(source, blended, moved & brain), blended)
    changed = np.abs(blended - image) > VISIBLE
    return blended.astype(np.float32), ndimage.median_filter(changed, 3).astype(np.float32)


def natural_anomaly_graded(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """As `natural_anomaly`, the label rising with the change of intensity (the logistic label of NSA)."""
    blended, changed = natural_anomaly(rng, image, brain, other)
    change = ndimage.median_filter(np.abs(blended - image), 5)
    graded = 1 / (1 + np.exp(-(change - HALF_WAY) / (HALF_WAY / 4)))
    return blended, (changed * graded).astype(np.float32)


def anatomical_paste(
    rng: np.random.Generator, image: FloatArray, brain: BoolArray, other: FloatArray
) -> Corrupted:
    """A patch with other contrast pasted onto tissue alone, fluid kept (AnatPaste; Sato et al., iScience
    2023; there it is the lung that a threshold finds).
    """
    pasted, weight = cutpaste(rng, image, brain, other)
    tissue = ndimage.binary_opening(brain & (image > TISSUE))
    soft = ndimage.gaussian_filter((weight * tissue).astype(np.float32), 1.0) * tissue
    changed = np.clip(pasted * rng.uniform(0.7, 1.3), 0, BRIGHTEST)
    mixed = (1 - soft) * image + soft * changed
    return mixed.astype(np.float32), (soft > 0.5).astype(np.float32)


CORRUPTIONS: dict[str, Corruption] = {
    "nothing": nothing,
    "coarse-noise": coarse_noise,
    "masked-patches": masked_patches,
    "cutpaste": cutpaste,
    "fpi": foreign_patch,
    "fpi-poisson": foreign_patch_poisson,
    "nsa": natural_anomaly,
    "nsa-intensity": natural_anomaly_graded,
    "anatpaste": anatomical_paste,
}


def poisson_blend(source: FloatArray, target: FloatArray, shape: BoolArray) -> FloatArray:
    """`target` (X,Y) with the gradients of `source` inside `shape` (Pérez et al., SIGGRAPH 2003)."""
    grown = ndimage.binary_dilation(shape, iterations=EATEN)
    grown[:1], grown[-1:], grown[:, :1], grown[:, -1:] = False, False, False, False
    rows, columns = np.flatnonzero(grown.any(1)), np.flatnonzero(grown.any(0))
    if len(rows) < 2 * EATEN + 2 or len(columns) < 2 * EATEN + 2:
        return target
    # OpenCV puts the middle of the mask's bounding box there.
    centre = (int(columns[0] + columns[-1] + 1) // 2, int(rows[0] + rows[-1] + 1) // 2)
    whole = 255 / BRIGHTEST
    bytes_of = [np.clip(one * whole, 0, 255).astype(np.uint8) for one in (source, target)]
    coloured = [np.repeat(one[..., None], 3, 2) for one in bytes_of]
    mask = grown.astype(np.uint8) * 255
    blended = cv2.seamlessClone(coloured[0], coloured[1], mask, centre, cv2.NORMAL_CLONE)[..., 0]
    # The change is added, so that pixels that didn't change aren't rounded to bytes.
    change = (blended.astype(np.float32) - bytes_of[1]) / whole
    return np.asarray(np.clip(target + change, 0, BRIGHTEST), dtype=np.float32)


def _random_pixel(rng: np.random.Generator, brain: BoolArray) -> np.ndarray:
    inside = np.argwhere(brain)
    if len(inside) == 0:
        return np.array(brain.shape) // 2
    return np.asarray(inside[int(rng.integers(len(inside)))])


def _patch(
    rng: np.random.Generator, brain: BoolArray, share: tuple[float, float], thin: bool = False
) -> tuple[slice, slice]:
    """A rectangle around a pixel of the brain; its sides are a share of the brain's width."""
    width = max(8.0, float(np.sqrt(brain.sum())))
    sides = rng.uniform(*share, 2) * width
    if thin:
        sides[0] = max(2.0, 0.04 * width)
    centre = _random_pixel(rng, brain)
    low = np.clip(centre - sides / 2, 0, np.array(brain.shape) - 2).astype(int)
    high = np.minimum(low + np.maximum(sides, 2).astype(int), brain.shape)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
