"""A second scan of the same patient is found where it lies, and another patient's is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare.coregistration import Coregistration, coregister
from AnomalyDetectLib.prepare.prepared import Prepared, WayBack
from AnomalyDetectLib.volume import Volume
from Testing.conftest import SecondScan


@pytest.fixture(scope="module")
def inverted(second_scan: SecondScan) -> Volume:
    """The second scan with dark where it is bright, as fluid is from T1 to T2; air stays dark."""
    array, brain = second_scan.volume.array, second_scan.prepared.input_brain
    bright = float(np.percentile(array[brain], 99))
    values = np.where(array > 0.1 * bright, 1.2 * bright - np.minimum(array, bright), 0)
    return second_scan.volume.with_array(values.astype(np.float32))


@pytest.fixture(scope="module")
def found(
    patient: Volume, prepared_patient: Prepared, inverted: Volume, second_scan: SecondScan
) -> Coregistration:
    return coregister(patient, prepared_patient, inverted, second_scan.prepared)


@pytest.fixture
def another_number_of_threads() -> Iterator[None]:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3 if before != 3 else 2)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_another_contrast_on_another_grid_is_laid_on_the_scan_within_two_millimetres(
    found: Coregistration, patient: Volume, prepared_patient: Prepared, second_scan: SecondScan
) -> None:
    voxels = np.argwhere(prepared_patient.input_brain)[::97]
    ras = np.c_[voxels, np.ones(len(voxels))] @ patient.affine.T
    distance = np.linalg.norm((ras @ (found.second_from_first - second_scan.second_from_first).T), axis=1)
    assert distance.max() < 2.0
    assert found.overlap > 0.9
    assert found.doubt == ""


def test_the_map_neither_stretches_nor_mirrors(found: Coregistration) -> None:
    turn = found.second_from_first[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) > 0


@pytest.mark.usefixtures("another_number_of_threads")
def test_the_same_scans_give_the_same_map_with_any_number_of_threads(
    found: Coregistration,
    patient: Volume,
    prepared_patient: Prepared,
    inverted: Volume,
    second_scan: SecondScan,
) -> None:
    again = coregister(patient, prepared_patient, inverted, second_scan.prepared)
    assert np.array_equal(again.second_from_first, found.second_from_first)


def test_another_head_is_refused_in_one_line(patient: Volume, prepared_patient: Prepared) -> None:
    stretch = np.diag([1.2, 1.15, 1.1, 1.0])
    other = Volume(patient.array, stretch @ patient.affine, name="other.nii.gz")
    way = prepared_patient.to_input
    placed = WayBack(other.grid, way.working, way.working_from_input @ np.linalg.inv(stretch))
    with pytest.raises(PreparationError, match=r"other.nii.gz: not the same head as .*same patient") as said:
        coregister(patient, prepared_patient, other, replace(prepared_patient, to_input=placed))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("values", "problem", "doubt"),
    [
        ((0.95, 3, 3, 1.03), "", ""),
        ((0.88, 3, 3, 1.03), "", "0.88"),
        ((0.95, 3, 3, 1.12), "", "12 %"),
        ((0.84, 3, 3, 1.03), "0.84", "0.84"),
        ((0.95, 16, 3, 1.03), "16 mm", ""),
        ((0.95, 3, 16, 1.03), "16 degrees", ""),
    ],
)
def test_brains_that_hardly_meet_and_maps_far_from_the_templates_are_not_believed(
    values: tuple[float, ...], problem: str, doubt: str
) -> None:
    found = Coregistration(np.eye(4), *values)
    assert problem in (found.problem or "")
    assert bool(found.problem) == bool(problem)
    assert doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)
