"""A head is aligned the same, however it was stored and however it lay in the scanner."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.evaluation.preparation_benchmark import posed
from AnomalyDetectLib.prepare import alignment
from AnomalyDetectLib.prepare.brain_extraction import HeadReading, read_head
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared, WayBack
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.volume import Volume, dice


@pytest.mark.parametrize("pose", range(6))
def test_the_same_head_in_another_pose_has_the_same_brain(
    pose: int, patient: Volume, prepared_patient: Prepared, head_network: HeadNetwork
) -> None:
    name, other, moved = list(posed(patient))[pose]
    found = prepare(other, head_network)
    way = WayBack(patient.grid, found.to_input.working, found.to_input.working_from_input @ moved)
    back = way.to_input(found.brain.astype(np.float32)) > 0.5
    own = prepared_patient.to_input.to_input(prepared_patient.brain.astype(np.float32)) > 0.5
    assert dice(back, own) >= 0.95, name


def test_the_way_there_and_back_keeps_the_place(patient: Volume, prepared_patient: Prepared) -> None:
    ball = np.linalg.norm(np.indices(patient.array.shape).T - np.array([100, 130, 110]), axis=-1).T < 12
    way = prepared_patient.to_input
    back = way.to_input(way.to_working(ball.astype(np.float32))) > 0.5
    assert dice(back, ball) > 0.9


def test_a_failed_alignment_is_said(patient: Volume, head_network: HeadNetwork) -> None:
    reading = read_head(patient, head_network)
    lost = HeadReading(
        grid=reading.grid,
        image=reading.image,
        brain=reading.brain,
        tissue=np.full_like(reading.tissue, 1 / 3),
        coordinates=np.random.default_rng(0).normal(0, 60, reading.coordinates.shape).astype(np.float32),
        stripped=False,
    )
    found = alignment.align(lost, load_template())
    assert not found.trusted
    assert found.problem
