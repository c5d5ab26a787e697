"""The trivial rivals: maps that need no network, which every model has to beat on the same voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from skimage.exposure import equalize_hist

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.intensity import robust_variance
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray, mirror_difference, smooth_inside

SPACING_MM = 2.0
BINS = 256
MIRROR_MM = 4.0


class Seen(NamedTuple):
    """What a rival looks at: scan (X,Y,Z) in working units, brain, and mean and SD of healthy T1 brains."""

    image: FloatArray
    brain: BoolArray
    atlas: Mapping[str, FloatArray] | None


def rival_maps(prepared: Prepared, atlas: Mapping[str, FloatArray] | None = None) -> dict[str, FloatArray]:
    """Signed maps (X,Y,Z) by name, bright > 0: all of `MAPS`, and with an atlas those of `ATLAS_MAPS`."""
    seen = Seen(prepared.tensor[0, 0].numpy(), prepared.brain, atlas)
    return {name: draw(seen) for name, draw in (MAPS | (ATLAS_MAPS if atlas else {})).items()}


class Rival:
    """A trivial rival as a model: its map is its own score, in units of healthy brains as a whole."""

    def __init__(self, card: ModelCard, atlas: Mapping[str, FloatArray] | None = None) -> None:
        """atlas: for the maps that need one."""
        self.card, self.atlas = card, atlas
        self.map: str = card.options["map"]

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """The other side of the brain where the map compares with it, else the brain's median; the squared
        robust SD of what is left as variance. The device makes no difference.
        """
        image, brain = prepared.tensor[0, 0].numpy(), prepared.brain
        healthy = np.full_like(image, np.median(image[brain]))
        if "mirror" in self.map:
            healthy = image - mirror_difference(image, brain)
        return Rebuild(
            healthy=np.where(brain, healthy, 0).astype(np.float32),
            variance=robust_variance(image - healthy, brain),
            score=(MAPS | ATLAS_MAPS)[self.map](Seen(image, brain, self.atlas)),
        )


def _intensity(seen: Seen) -> FloatArray:
    return seen.image


def _smoothed(seen: Seen, mm: float) -> FloatArray:
    """Gaussian of that SD."""
    return smooth_inside(seen.image, seen.brain, mm / SPACING_MM)


def _equalised(seen: Seen) -> FloatArray:
    equal = equalize_hist(seen.image, nbins=BINS, mask=seen.brain)
    return np.asarray(equal * seen.brain, dtype=np.float32)


def _mirror(seen: Seen) -> FloatArray:
    return mirror_difference(_smoothed(seen, MIRROR_MM), seen.brain)


def _intensity_and_mirror(seen: Seen) -> FloatArray:
    return _smoothed(seen, MIRROR_MM) + _mirror(seen)


def _atlas_difference(seen: Seen) -> FloatArray:
    assert seen.atlas is not None, "a map of an atlas has one"
    return np.where(seen.brain, seen.image - seen.atlas["mean"], 0).astype(np.float32)


def _atlas_z(seen: Seen) -> FloatArray:
    assert seen.atlas is not None, "a map of an atlas has one"
    return _atlas_difference(seen) / seen.atlas["sd"]


def _atlas_and_mirror(seen: Seen) -> FloatArray:
    """Both count as they darken on T1."""
    return smooth_inside(_atlas_difference(seen), seen.brain, MIRROR_MM / SPACING_MM) + _mirror(seen)


MAPS: dict[str, Callable[[Seen], FloatArray]] = {
    "intensity": _intensity,
    "intensity, 2 mm": partial(_smoothed, mm=2.0),
    "intensity, 4 mm": partial(_smoothed, mm=4.0),
    "intensity, equalised": _equalised,
    "mirror": _mirror,
    "intensity + mirror": _intensity_and_mirror,
}
ATLAS_MAPS: dict[str, Callable[[Seen], FloatArray]] = {
    "atlas-z": _atlas_z,
    "atlas difference + mirror": _atlas_and_mirror,
}
