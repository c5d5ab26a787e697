"""What the finding's score is made of: each evidence map's part in its z, and each voxel's weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AnomalyDetectLib.explain.views import SequenceView
from AnomalyDetectLib.scoring.evidence import SIGMAS, evidence, fuse, fusion_factors, smooth_inside_transposed
from AnomalyDetectLib.volume import FloatArray


@dataclass(frozen=True)
class Part:
    """One evidence map's say in a finding, all in z. peak_z, mean_z: of the map by itself, at the score's
    peak and over the finding. peak_part, mean_part: what it adds to the score there. share: of mean_part in
    the sum of all.
    """

    peak_z: float
    mean_z: float
    peak_part: float
    mean_part: float
    share: float


@dataclass(frozen=True)
class Parts:
    """The finding's score taken apart.

    by_name: of each evidence map. peak: voxel (X,Y,Z) of the largest score. peak_z, mean_z: the score there
    and over the finding on the working grid. weights: (X,Y,Z) by name: with the evidence as it was before
    smoothing, the sum of weight times evidence, and `offset`, is mean_z.
    """

    by_name: dict[str, Part]
    peak: tuple[int, int, int]
    peak_z: float
    mean_z: float
    weights: dict[str, FloatArray]
    offset: float


def take_apart(view: SequenceView, sign: int) -> Parts:
    """Take the score of a finding apart, exactly: standardising is linear, smoothing is linear, and the
    choices that the fusion makes in each voxel are held as they were made.

    sign: of the finding, 1 or -1.
    """
    scorer, prepared = view.scan.detector.scorer, view.scan.prepared
    brain, share = prepared.brain, view.share
    raw = evidence(prepared, view.rebuild)
    statistics = scorer.of_scan(raw, brain)
    standardised = {name: one.standardise(raw[name], brain) for name, one in statistics.items()}
    factors = fusion_factors(standardised)
    fused = scorer.fused.standardise(fuse(standardised), brain)
    unit = scorer.fused.sd * scorer.widening(fused, brain)
    at = np.unravel_index(np.where(view.inside, sign * view.z, -np.inf).argmax(), brain.shape)
    peak = (int(at[0]), int(at[1]), int(at[2]))
    weights: dict[str, FloatArray] = {}
    parts: dict[str, FloatArray] = {}
    offset = -float((share * scorer.fused.mean / unit).sum())
    for name, factor in factors.items():
        parts[name] = factor * standardised[name] / unit
        weight = share * factor / unit / statistics[name].sd
        offset -= float((weight * statistics[name].mean).sum())
        weights[name] = smooth_inside_transposed(weight.astype(np.float32), brain, SIGMAS[name])
    means = {name: float((share * part).sum()) for name, part in parts.items()}
    total = sum(means.values())
    by_name = {
        name: Part(
            peak_z=float(z[peak]),
            mean_z=float((share * z).sum()),
            peak_part=float(parts[name][peak]) if name in parts else 0.0,
            mean_part=means.get(name, 0.0) + 0.0,
            share=means.get(name, 0.0) / total + 0.0 if total else 0.0,  # never -0
        )
        for name, z in standardised.items()
    }
    return Parts(by_name, peak, float(view.z[peak]), float((share * view.z).sum()), weights, offset)
