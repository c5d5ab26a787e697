"""The trivial rivals: maps that need no network, which every model has to beat on the same voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from skimage.exposure import equalize_hist

from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.evidence import smooth_inside
from AnomalyDetectLib.volume import FloatArray

SPACING_MM = 2.0
SMOOTHINGS_MM = (2.0, 4.0)
BINS = 256
UNTRAINED = ("intensity", "atlas-z")  # models without training; intensity fits every contrast


def rival_maps(prepared: Prepared, atlas: Mapping[str, FloatArray] | None = None) -> dict[str, FloatArray]:
    """Signed maps (X,Y,Z) by name, bright > 0.

    intensity, plain, smoothed (Gaussian of that SD in mm) and histogram-equalised; mirror: difference to the
    other side; intensity + mirror; with the atlas of T1 (mean, sd): atlas-z, and its difference + mirror,
    both counting as they darken.
    """
    brain = prepared.brain
    image = prepared.tensor[0, 0].numpy()
    smoothed = {mm: smooth_inside(image, brain, mm / SPACING_MM) for mm in SMOOTHINGS_MM}
    mirror = _mirror_difference(smoothed[4.0], brain)
    maps = {
        "intensity": image,
        **{f"intensity, {mm:g} mm": one for mm, one in smoothed.items()},
        "intensity, equalised": _equalised(image, brain),
        "mirror": mirror,
        "intensity + mirror": smoothed[4.0] + mirror,
    }
    if atlas is not None:
        difference = np.where(brain, image - atlas["mean"], 0).astype(np.float32)
        maps["atlas-z"] = difference / atlas["sd"]
        maps["atlas difference + mirror"] = smooth_inside(difference, brain, 2.0) + mirror
    return maps


def _mirror_difference(image: FloatArray, brain: np.ndarray[Any, Any]) -> FloatArray:
    """Scan minus its mirror image where both sides are brain; the template is symmetric."""
    return np.where(brain & brain[::-1], image - image[::-1], 0).astype(np.float32)


def _equalised(image: FloatArray, brain: np.ndarray[Any, Any]) -> FloatArray:
    return np.asarray(equalize_hist(image, nbins=BINS, mask=brain) * brain, dtype=np.float32)
