"""Intensities are scaled by the white matter, and a lesion doesn't shift them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare import intensity
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import Volume


def ball(shape: tuple[int, ...], centre: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(radius > np.linalg.norm(np.indices(shape).T - centre, axis=-1).T)


@pytest.mark.parametrize("brightness", [1.5, 2.5])
def test_a_large_bright_lesion_moves_the_scale_by_less_than_two_per_cent(
    brightness: float, patient: Volume, prepared_patient: Prepared, head_network: HeadNetwork
) -> None:
    brain = prepared_patient.input_brain
    lesion = brain & ball(patient.array.shape, np.argwhere(brain).mean(0) + np.array([20, 0, 5]), 33)
    assert lesion.sum() * patient.grid.voxel_mm3 > 140_000
    bright = np.where(lesion, brightness * prepared_patient.scale, patient.array).astype(np.float32)
    scale = prepare(patient.with_array(bright), head_network).scale
    assert abs(scale / prepared_patient.scale - 1) < 0.02


def test_a_bias_field_is_divided_out(
    patient: Volume, prepared_patient: Prepared, head_network: HeadNetwork
) -> None:
    ramp = np.linspace(0.8, 1.25, patient.array.shape[1], dtype=np.float32)[None, :, None]
    biased = prepare(patient.with_array(patient.array * ramp), head_network)
    own, other = prepared_patient.tensor[0, 0].numpy(), biased.tensor[0, 0].numpy()
    both = prepared_patient.brain & biased.brain
    assert np.abs(own - other)[both].mean() < 0.05


def test_the_mode_ignores_a_minority_however_uniform() -> None:
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(1, 0.13, 50_000), np.full(9_000, 1.6)].astype(np.float32)
    assert intensity.mode(values) == pytest.approx(1.0, abs=0.01)


def test_too_little_white_matter_is_said() -> None:
    image = np.ones((10, 10, 10), np.float32)
    with pytest.raises(PreparationError, match="white matter"):
        intensity.white_matter_scale(image, np.zeros((10, 10, 10), bool))


def test_grey_matter_of_any_t1_scanner_is_brought_to_one_value_and_white_matter_stays() -> None:
    rng = np.random.default_rng(0)
    grey = np.zeros((20, 20, 20), bool)
    grey[:10] = True
    for found in (0.5, 0.6, 0.85):
        image = np.where(grey, found, 1.0) * rng.normal(1, 0.03, grey.shape)
        exponent = intensity.contrast_exponent(image.astype(np.float32), grey, "T1")
        assert found**exponent == pytest.approx(intensity.GREY_OF_WHITE, abs=0.02)
        assert intensity.contrast_exponent(image.astype(np.float32), grey, "FLAIR") == 1.0


def test_what_preparation_did_to_intensities_can_be_undone(
    patient: Volume, prepared_patient: Prepared
) -> None:
    there = prepared_patient.in_scanner_units(prepared_patient.tensor[0, 0].numpy())
    scan = prepared_patient.to_input.to_working(patient.array)
    inner = ndimage.binary_erosion(prepared_patient.brain, iterations=3)
    assert np.allclose(there[inner], scan[inner], rtol=1e-3, atol=0.5)


def test_a_large_bright_lesion_hardly_moves_the_contrast(
    patient: Volume, prepared_patient: Prepared, head_network: HeadNetwork
) -> None:
    brain = prepared_patient.input_brain
    lesion = brain & ball(patient.array.shape, np.argwhere(brain).mean(0) + np.array([20, 0, 5]), 33)
    bright = np.where(lesion, 1.5 * prepared_patient.scale, patient.array).astype(np.float32)
    ill = prepare(patient.with_array(bright), head_network)
    assert abs(ill.exponent / prepared_patient.exponent - 1) < 0.1
