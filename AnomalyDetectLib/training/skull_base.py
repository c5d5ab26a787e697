"""The base of the skull: where scanners differ more than the healthy scans of one of them tell."""

from __future__ import annotations

from functools import cache

import numpy as np

from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.volume import BoolArray, FloatArray, smooth

NOSE_MM = (18.0, 16.0)  # from the midline; above the lower surface of the frontal lobes
STEM_MM = (8.0, 4.0)  # from the brain stem, and from the midline; in front of the stem's own middle
CIRCLE_MM = (30.0, 8.0, 8.0, 16.0)  # from the midline; below and above; behind and in front
WIDER = 1.5  # how much is added to the SD of one scanner's scans, in units of it


@cache
def scanners_apart() -> FloatArray:
    """By what the SD of healthy T1 scans of one scanner is multiplied (X,Y,Z), 1 nearly everywhere.

    Blood that flows in is bright on some scanners, and the air of the nose brightens or darkens the brain
    above it, each depending on the sequence: along the basilar artery, in the arterial circle and the first
    part of the middle cerebral arteries, and above the nose. Lesions there have to stand out more.
    """
    places = smooth(_places().astype(np.float32), (1.0, 1.0, 1.0))
    return np.asarray(1 + WIDER * places, dtype=np.float32)


def _places() -> BoolArray:
    template = load_template()
    x, y, z = template.coordinates()
    brain = template.brain
    lowest = np.where(brain.any(2), brain.argmax(2), brain.shape[2])[..., None]
    above = (np.arange(brain.shape[2]) - lowest) * template.grid.spacing[2]
    frontal = template.labelled("frontal cortex", "frontal white matter")
    nose = frontal & (np.abs(x) <= NOSE_MM[0]) & (above <= NOSE_MM[1])
    stem = template.labelled("brain stem")
    middle = np.ma.masked_array(np.broadcast_to(y, stem.shape), ~stem).mean((0, 1)).filled(np.inf)
    basilar = template.near(stem, STEM_MM[0]) & (y >= middle + STEM_MM[1])
    basilar &= np.abs(x) <= STEM_MM[0]
    above_it = template.labelled("ventral diencephalon")
    bottom = float(np.broadcast_to(z, stem.shape)[above_it].min())
    front = float(np.percentile(np.broadcast_to(y, stem.shape)[above_it], 90))
    side, height, behind, before = CIRCLE_MM
    circle = (np.abs(x) <= side) & (np.abs(z - bottom) <= height)
    circle = circle & (y >= front - behind) & (y <= front + before)
    return np.asarray(brain & (nose | basilar | circle))
