"""What the working grid of 2 mm can't carry sharpens the score where the scan is unusual."""

from __future__ import annotations

import numpy as np
import pytest

from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring import detail
from AnomalyDetectLib.volume import FloatArray, Volume


@pytest.fixture(scope="module")
def spot(patient: Volume, prepared_patient: Prepared) -> tuple[int, int, int]:
    """A voxel of the patient's scan deep inside the brain."""
    inside = np.argwhere(prepared_patient.input_brain)
    i, j, k = (int(n) for n in np.median(inside, axis=0))
    return i, j, k


@pytest.fixture(scope="module")
def fine(patient: Volume, prepared_patient: Prepared, spot: tuple[int, int, int]) -> FloatArray:
    """The fine structure of a scan with one more bright voxel, too small for the working grid."""
    scan = patient.array.copy()
    scan[spot] += 0.5 * prepared_patient.scale
    return detail.fine_structure(scan, prepared_patient, prepared_patient.to_input)


def _sharpened(z: float, fine: FloatArray, prepared: Prepared, painted: bool = True) -> FloatArray:
    everywhere = np.full(fine.shape, z, np.float32)
    sd = np.full(prepared.brain.shape, 0.1, np.float32) if painted else None
    return detail.sharpened(everywhere, fine, prepared, sd, prepared.to_input)


def test_a_spot_smaller_than_the_working_grid_stands_out_where_the_scan_is_unusual(
    fine: FloatArray, prepared_patient: Prepared, spot: tuple[int, int, int]
) -> None:
    i, j, k = spot
    bright = _sharpened(4.0, fine, prepared_patient)
    around = bright[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3].copy()
    assert bright[spot] == around.max()
    assert bright[spot] > 6

    dark = _sharpened(-4.0, fine, prepared_patient)
    assert dark[spot] > -2, "a bright spot is no part of a dark lesion"


def test_ordinary_anatomy_gets_no_noise_from_its_detail(fine: FloatArray, prepared_patient: Prepared) -> None:
    assert np.abs(_sharpened(0.0, fine, prepared_patient)).max() == 0
    faint = _sharpened(0.2, fine, prepared_patient) - 0.2
    full = _sharpened(4.0, fine, prepared_patient) - 4
    assert np.allclose(10 * faint, full, atol=1e-3)


def test_a_model_that_paints_no_anatomy_keeps_its_score(fine: FloatArray, prepared_patient: Prepared) -> None:
    assert (_sharpened(4.0, fine, prepared_patient, painted=False) == 4).all()
