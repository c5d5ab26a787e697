"""Feature-space scores of slices, and their hybrid with how much of the residual is left, on one set of
patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.ranking import Interval, Ranked, over_patients
from AnomalyDetectLib.evaluation.zoo_cases import ZooCase
from AnomalyDetectLib.models.slices import Embedding, SliceFamily, embed_scan, examine_scan
from AnomalyDetectLib.scoring.feature_space import FEATURE_SCORES, Hybrid


def feature_figures(
    family: SliceFamily, healthy: Sequence[ZooCase], cases: Sequence[ZooCase]
) -> dict[str, dict[str, Interval]]:
    """Slice AUROC and AP by name of the feature score, and of the hybrid of Mahalanobis and residual.

    healthy: of other patients; densities and the hybrid's weight are fitted to them alone.
    """
    assert isinstance(family, Embedding)
    normal = np.concatenate([embed_scan(family, one.prepared)[list(one.slices)] for one in healthy])
    found = [embed_scan(family, one.prepared)[list(one.slices)] for one in cases]
    figures = {}
    for name, fit in FEATURE_SCORES.items():
        score = fit(normal)
        ranked = [Ranked(score(one), case.ill) for one, case in zip(found, cases, strict=True)]
        figures[name] = over_patients(ranked)
        if name == "Mahalanobis":
            left = [residuals(family, one) for one in healthy]
            hybrid = Hybrid.fit(np.concatenate(left), score(normal))
            figures["hybrid"] = over_patients(
                [
                    Ranked(hybrid.score(residuals(family, case), one.score), case.ill)
                    for one, case in zip(ranked, cases, strict=True)
                ]
            )
    return figures


def residuals(family: SliceFamily, case: ZooCase) -> NDArray[np.float64]:
    """Mean absolute residual of each measured slice (N,); of families without a healthy version the mean
    anomaly.
    """
    rebuild = examine_scan(family, case.prepared)
    brain = case.prepared.brain
    if rebuild.healthy is not None:
        left = np.abs(case.prepared.tensor[0, 0].numpy() - rebuild.healthy) * brain
    else:
        assert rebuild.anomaly is not None
        left = rebuild.anomaly
    total = left.sum((0, 1)) / np.maximum(brain.sum((0, 1)), 1)
    return np.asarray(total[list(case.slices)], dtype=np.float64)
