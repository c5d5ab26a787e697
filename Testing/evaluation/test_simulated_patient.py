"""The bundled simulated patient is whole, says what it is, and its truth is what demo.json says."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.resources import resource


@pytest.fixture(scope="module")
def described() -> dict:
    return json.loads(resource("SampleData", "demo.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def truth() -> nib.Nifti1Image:
    return nib.load(resource("SampleData", "demo_truth.nii.gz"))


def test_the_scan_is_read_without_a_warning_and_is_small(truth: nib.Nifti1Image) -> None:
    volume = read_volume(resource("SampleData", "demo_t1.nii.gz"))
    assert volume.warnings == ()
    assert volume.array.shape == truth.shape
    np.testing.assert_allclose(volume.affine, truth.affine)
    assert resource("SampleData", "demo_t1.nii.gz").stat().st_size <= 4_000_000


def test_it_says_everywhere_that_it_is_simulated(described: dict) -> None:
    assert "SIMULATED" in described["statement"]
    header = nib.load(resource("SampleData", "demo_t1.nii.gz")).header
    assert b"simulated" in header["descrip"].item()
    notice = resource("SampleData", "README.md").read_text(encoding="utf-8")
    assert "No person was scanned" in notice
    assert "Louis Collins, McConnell Brain Imaging Centre" in notice


def test_every_lesion_is_where_and_as_large_as_it_is_said_to_be(
    described: dict, truth: nib.Nifti1Image
) -> None:
    labels = np.asarray(truth.dataobj)
    lesions = described["lesions"]
    assert 3 <= len(lesions) <= 5
    assert sorted(np.unique(labels)) == list(range(len(lesions) + 1))
    for lesion in lesions:
        voxels = np.argwhere(labels == lesion["label"])
        centre = truth.affine[:3, :3] @ voxels.mean(0) + truth.affine[:3, 3]
        np.testing.assert_allclose(centre, lesion["centre_ras_mm"], atol=0.1)
        assert len(voxels) / 1000 == pytest.approx(lesion["volume_ml"], abs=0.002)
        side = lesion["location"].split()[0]
        assert (centre[0] < 0) == (side == "left")


def test_every_lesion_stands_out_from_its_surroundings_as_it_is_said_to(
    described: dict, truth: nib.Nifti1Image
) -> None:
    scan, labels = read_volume(resource("SampleData", "demo_t1.nii.gz")).array, np.asarray(truth.dataobj)
    for lesion in described["lesions"]:
        inside = labels == lesion["label"]
        values = np.median(scan[inside]), np.percentile(scan[inside], 75)
        white = 123.0  # white matter of the scan
        assert (values[1] > white) if lesion["sign"] == "bright" else (values[0] < 0.85 * white)
