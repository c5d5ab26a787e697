"""The ranks that an ensemble fuses."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.models.ensemble import RankTable, with_signs

HEALTHY = np.random.default_rng(0).normal(0.5, 1, 400_000).astype(np.float32)


def test_a_rank_is_the_power_of_ten_of_the_healthy_voxels_of_its_side_that_are_as_far_out() -> None:
    table = RankTable.of(HEALTHY, signed=True)
    # One voxel in ten, in a hundred and in a thousand of a normal distribution's half.
    distances = np.array([0.0, 1.645, 2.576, 3.291])
    np.testing.assert_allclose(table.rank((0.5 + distances).astype(np.float32)), [0, 1, 2, 3], atol=0.05)
    np.testing.assert_allclose(table.rank((0.5 - distances).astype(np.float32)), [0, -1, -2, -3], atol=0.05)


def test_stronger_is_rarer_beyond_all_that_healthy_scans_show() -> None:
    for table in (RankTable.of(HEALTHY, True), RankTable.from_numbers(RankTable.of(HEALTHY, True).numbers())):
        ranks = table.rank(np.array([4.0, 6.0, 10.0, 20.0, 40.0], np.float32))
        assert (np.diff(ranks) > 1).all()
        assert ranks[-1] > 20


def test_z_that_is_the_same_everywhere_is_not_rare() -> None:
    table = RankTable.of(np.zeros(1000, np.float32), signed=True)
    assert table.rank(np.zeros(3, np.float32)) == pytest.approx(np.zeros(3))


def test_a_model_without_signs_takes_the_side_of_the_others() -> None:
    table = RankTable.of(np.abs(HEALTHY), signed=False)
    again = RankTable.from_numbers(table.numbers())
    assert again.below is None
    assert again.rank(np.array([-3.0], np.float32)) == 0
    alone = np.array([2.0, 2.0], np.float32)
    signed = np.array([-1.0, 1.0], np.float32)
    assert with_signs([signed, alone], [True, False])[1].tolist() == [-2.0, 2.0]
    assert with_signs([alone], [False])[0].tolist() == [2.0, 2.0]
