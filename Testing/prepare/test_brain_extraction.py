"""The brain is found whatever the scan looks like."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.evaluation.preparation_benchmark import on_grid
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.prepare.brain_extraction import read_head, stripped_outline
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.training import heads, template
from AnomalyDetectLib.volume import Volume, dice


def test_the_mask_of_a_healthy_head_agrees_with_its_labels(data: Path, head_network: HeadNetwork) -> None:
    for subject in template.ixi_subjects(data, "val")[::7]:
        array, regions, grid = subject.read()
        found = on_grid(read_head(Volume(array, grid.affine), head_network), grid)
        assert dice(found, heads.intracranial_mask(regions, 2.0)) > 0.95


def test_a_tumour_stays_in_the_brain(data: Path, head_network: HeadNetwork) -> None:
    for scan in sorted((data / "lgg_flair_dev").glob("*/flair.nii.gz"))[::18]:
        volume = read_volume(scan)
        tumour = np.asarray(nib.load(scan.with_name("mask.nii.gz")).dataobj) > 0
        assert on_grid(read_head(volume, head_network), volume.grid)[tumour].mean() > 0.95


def test_a_stripped_scan_is_recognised_and_kept(
    patient: Volume, prepared_patient: Prepared, head_network: HeadNetwork
) -> None:
    brain = prepared_patient.input_brain
    stripped = patient.with_array(np.where(brain, patient.array, 0).astype(np.float32))
    reading = read_head(stripped, head_network)
    assert reading.stripped
    assert dice(on_grid(reading, patient.grid), brain) > 0.97


def test_a_whole_head_is_not_taken_for_stripped(patient: Volume, head_network: HeadNetwork) -> None:
    assert not read_head(patient, head_network).stripped


def test_a_scan_with_a_noisy_background_has_no_stripped_outline() -> None:
    noise = np.random.default_rng(0).normal(10, 3, (40, 40, 40)).astype(np.float32)
    assert stripped_outline(noise) is None


def test_a_leg_is_not_a_brain(head_network: HeadNetwork) -> None:
    i, j, k = np.indices((120, 120, 160), dtype=np.float32)
    radius = np.hypot(i - 60, j - 60)
    leg = np.select([radius < 12, radius < 16, radius < 45, radius < 52], [300, 40, 150, 420], 0) + 0 * k
    with pytest.raises(PreparationError, match=r"brain|alignment"):
        prepare(Volume(leg.astype(np.float32), np.eye(4), name="leg"), head_network)
