"""Two sequences become one score, in which the more unusual of both speaks."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.sequences import SecondScore, distinct_names, fused
from AnomalyDetectLib.volume import Grid

SHAPE = (4, 4, 4)


def first_maps(**values: float | None) -> AnomalyMaps:
    """A brain of all voxels but those of the last slice, with z of 2 everywhere."""
    brain = np.ones(SHAPE, bool)
    brain[:, :, 3] = False
    full = np.full(SHAPE, 1, np.float32)
    return AnomalyMaps(
        grid=Grid(SHAPE, np.eye(4)), brain=brain, healthy=full, residual=full,
        score=np.where(brain, 2, 0).astype(np.float32), uncertainty=full, **values,
    )  # fmt: skip


def second_score(score: np.ndarray, image_p: float | None = None) -> SecondScore:
    """A second sequence that sees no brain in the first slice."""
    brain = first_maps().brain.copy()
    brain[:, :, 0] = False
    uncertainty = np.full(SHAPE, 3, np.float32)
    return SecondScore(score.astype(np.float32), uncertainty, brain, image_score=4.0, image_p=image_p)


def test_the_larger_deviation_speaks_with_its_own_sign_and_uncertainty() -> None:
    score = np.full(SHAPE, 1.0)
    score[0, 0, 1], score[1, 0, 1], score[2, 0, 1] = -5, 2, -2
    maps = fused(first_maps(), second_score(score), ("T1", "FLAIR"))
    assert maps.score[:4, 0, 1].tolist() == [-5, 2, 2, 2]
    assert maps.uncertainty[:4, 0, 1].tolist() == [3, 1, 1, 1]
    assert maps.sequence is not None
    assert maps.sequence[:4, 0, 1].tolist() == [2, 1, 1, 1]


def test_where_only_the_first_sees_brain_it_speaks_and_outside_nobody_does() -> None:
    maps = fused(first_maps(), second_score(np.full(SHAPE, 9.0)), ("T1", "FLAIR"))
    assert maps.sequence is not None
    assert maps.sequence[1, 1].tolist() == [1, 2, 2, 0]
    assert maps.score[1, 1].tolist() == [2, 9, 9, 0]


def test_healthy_version_and_residual_stay_those_of_the_first() -> None:
    first = first_maps()
    maps = fused(first, second_score(np.full(SHAPE, 9.0)), ("T1", "FLAIR"))
    assert maps.healthy is first.healthy
    assert maps.residual is first.residual


def test_the_whole_scans_p_pays_for_the_second_look() -> None:
    maps = fused(first_maps(image_score=5.0, image_p=0.2), second_score(np.zeros(SHAPE), 0.03), ("a", "b"))
    assert (maps.image_score, maps.image_p) == (5.0, pytest.approx(0.06))
    assert fused(first_maps(image_p=0.2), second_score(np.zeros(SHAPE)), ("a", "b")).image_p is None


def test_two_scans_of_one_contrast_are_told_apart_by_number() -> None:
    assert distinct_names("T1", "FLAIR") == ("T1", "FLAIR")
    assert distinct_names("T1", "T1") == ("T1 1", "T1 2")
