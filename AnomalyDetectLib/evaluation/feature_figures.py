"""Feature-space scores of slices, and their hybrid with how much of the residual is left, fitted to healthy
slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.zoo_cases import ZooCase
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.models.slices import SliceFamily, embed_scan
from AnomalyDetectLib.scoring.feature_space import FEATURE_SCORES, Hybrid, Scores


@dataclass(frozen=True)
class SliceFeatures:
    """The measured slices of one patient: embedding (N,features), and how much residual is left (N,)."""

    embedding: NDArray[np.float64]
    left: NDArray[np.float64]


SliceScore = Callable[[SliceFeatures], Scores]


def slice_features(family: SliceFamily, case: ZooCase, rebuild: Rebuild) -> SliceFeatures:
    """What an `Embedding` family says of a case's measured slices, beside the rebuild there is already."""
    return SliceFeatures(embed_scan(family, case.prepared)[list(case.slices)], residual_left(case, rebuild))


def residual_left(case: ZooCase, rebuild: Rebuild) -> NDArray[np.float64]:
    """Mean absolute residual of each measured slice (N,); without a healthy version the mean anomaly."""
    brain = case.prepared.brain
    if rebuild.healthy is not None:
        left = np.abs(case.prepared.tensor[0, 0].numpy() - rebuild.healthy) * brain
    else:
        assert rebuild.anomaly is not None
        left = rebuild.anomaly
    total = left.sum((0, 1)) / np.maximum(brain.sum((0, 1)), 1)
    return np.asarray(total[list(case.slices)], dtype=np.float64)


def fit_slice_scores(healthy: Sequence[SliceFeatures]) -> dict[str, SliceScore]:
    """The feature scores by name, and the hybrid of Mahalanobis and residual, as functions of slices (N,).

    healthy: of patients that are not measured; densities and the hybrid's weight are fitted to them alone.
    """
    normal = np.concatenate([one.embedding for one in healthy])
    left = np.concatenate([one.left for one in healthy])
    fitted = {name: fit(normal) for name, fit in FEATURE_SCORES.items()}
    hybrid = Hybrid.fit(left, fitted["Mahalanobis"](normal))
    found: dict[str, SliceScore] = {name: _of_embedding(score) for name, score in fitted.items()}
    return found | {"hybrid": lambda one: hybrid.score(one.left, fitted["Mahalanobis"](one.embedding))}


def _of_embedding(score: Callable[[NDArray[np.float64]], Scores]) -> SliceScore:
    return lambda one: score(one.embedding)
