"""Figures are what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.evaluation import metrics, overlap
from AnomalyDetectLib.evaluation.simulated_lesions import LesionPlan, add_lesions
from AnomalyDetectLib.volume import Volume


def test_average_precision_of_a_perfect_score_is_one() -> None:
    truth = np.zeros((5, 5, 5), bool)
    truth[2, 2, 2:4] = True
    assert metrics.average_precision(truth.astype(np.float32), truth, np.ones_like(truth)) == pytest.approx(
        1.0
    )


def test_average_precision_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.6], np.float32).reshape(1, 2, 2)
    truth = np.array([True, False, True, False]).reshape(1, 2, 2)
    expected = 0.5 * 1.0 + 0.5 * (2 / 3)
    assert metrics.average_precision(score, truth, np.ones_like(truth)) == pytest.approx(expected)


def test_average_precision_of_a_constant_score_is_the_share_of_truth() -> None:
    truth = np.zeros((4, 4, 4), bool)
    truth[0] = True
    assert metrics.average_precision(
        np.ones((4, 4, 4), np.float32), truth, np.ones_like(truth)
    ) == pytest.approx(0.25)


def test_a_finding_beside_a_lesion_is_false() -> None:
    truth = np.zeros((20, 20, 20), np.int32)
    truth[3:6, 3:6, 3:6] = 1
    found = np.zeros_like(truth)
    found[4:7, 4:7, 4:7] = 1
    found[14:16, 14:16, 14:16] = 2
    assert overlap.false_findings(found, truth) == 1
    assert overlap.lesion_cover(found, truth)[1] == pytest.approx(8 / 27)


def test_the_interval_holds_the_mean() -> None:
    mean, low, high = metrics.bootstrap([1.0, 2.0, 3.0, 4.0])
    assert low <= mean <= high
    assert mean == pytest.approx(2.5)


def test_a_simulated_lesion_has_the_contrast_and_volume_that_it_says() -> None:
    image = np.full((80, 80, 80), 100, np.float32)
    brain = np.zeros(image.shape, bool)
    brain[8:72, 8:72, 8:72] = True
    plan = LesionPlan(volume_ml=(4, 4.001), contrast=(0.5, 0.5001), count=(1, 1), edge_mm=(0.5, 0.51))
    case = add_lesions(Volume(image, np.eye(4)), brain, 40.0, np.random.default_rng(1), plan)
    (lesion,) = case.lesions
    inside = case.truth == 1
    assert lesion.volume_ml == pytest.approx(4.0, rel=0.1)
    assert (case.scan.array - image)[inside].max() * np.sign(lesion.contrast) <= 20.5
    assert np.abs(case.scan.array - image)[inside].max() == pytest.approx(20, rel=0.02)
    assert np.array_equal(case.scan.array[~brain], image[~brain])
