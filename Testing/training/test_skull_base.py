"""Where a scanner's healthy scans don't tell what another scanner's look like."""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training.skull_base import WIDER, scanners_apart


def test_arteries_and_the_air_of_the_nose_are_trusted_less_and_nothing_else() -> None:
    template, factor = load_template(), scanners_apart()
    x, y, z = template.coordinates()
    chiasm = template.labelled("optic chiasm")
    assert factor[chiasm].mean() > 1 + 0.4 * WIDER  # the arterial circle lies around it
    stem = template.labelled("brain stem")
    front = stem & (y >= np.broadcast_to(y, stem.shape)[stem].max())
    assert factor[front].max() > 1 + 0.5 * WIDER  # the basilar artery runs before it
    frontal = template.labelled("frontal white matter")
    low = frontal & (np.abs(x) <= 10) & (z <= np.broadcast_to(z, stem.shape)[frontal].min() + 8)
    assert factor[low].mean() > 1 + 0.8 * WIDER  # above the nose
    for elsewhere in ("parietal cortex", "occipital cortex", "thalamus", "cerebellum", "insula"):
        assert factor[template.labelled(elsewhere)].mean() < 1.05
    inside = template.brain
    assert 0.02 < (factor[inside] > 1.5).mean() < 0.06
    assert np.abs(factor - factor[::-1])[inside].mean() < 0.02  # as much on either side
