"""Feature-space scores put strangers last, and the hybrid weighs by healthy scans alone."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.scoring.feature_space import FEATURE_SCORES, Hybrid

RNG = np.random.default_rng(0)
HEALTHY = RNG.normal(0, [1.0, 0.1, 1.0, 1.0], (200, 4)) + np.array([3.0, 0, 0, 0])


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_a_stranger_scores_above_healthy_embeddings(name: str) -> None:
    score = FEATURE_SCORES[name](HEALTHY)
    stranger = np.array([[-3.0, 1.0, 0, 0]])
    assert score(stranger)[0] > np.quantile(score(HEALTHY), 0.99)


def test_mahalanobis_knows_which_direction_varies_little() -> None:
    along, across = (HEALTHY.mean(0) + np.array(one) for one in ([2.0, 0, 0, 0], [0, 1.0, 0, 0]))
    score = FEATURE_SCORES["Mahalanobis"](HEALTHY)(np.stack([along, across]))
    assert score[1] > score[0]
    euclid = FEATURE_SCORES["Euclid"](HEALTHY)(np.stack([along, across]))
    assert euclid[1] < euclid[0]


def test_both_parts_of_the_hybrid_give_the_same_false_alarms_on_healthy_scans() -> None:
    residual, features = RNG.gamma(2, 1, 1000), 40 * RNG.normal(5, 1, 1000)
    hybrid = Hybrid.fit(residual, features, false_alarms=0.05)
    flat = np.full(1000, hybrid.features[0]), np.full(1000, hybrid.residual[0])
    assert (hybrid.score(residual, flat[0]) > 0.5).mean() == pytest.approx(0.05, abs=0.005)
    assert (hybrid.score(flat[1], features) > 0.5).mean() == pytest.approx(0.05, abs=0.005)
