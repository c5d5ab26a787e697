"""The road, walked with the simulated patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from AnomalyDetectLib.errors import Cancelled, ScanRefused
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import STAGES, Detection, Detector, detect, load_detector
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.volume import Volume
from Testing.conftest import SECOND_LESION_RAS, SecondScan


def test_all_maps_lie_on_the_grid_of_the_scan(detection: Detection) -> None:
    maps = detection.maps
    for array in (maps.healthy, maps.residual, maps.score, maps.uncertainty):
        assert array.shape == detection.volume.array.shape
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert not maps.score[~maps.brain].any()


def test_residual_is_scan_minus_healthy(detection: Detection) -> None:
    difference = detection.volume.array - detection.maps.healthy
    assert np.allclose(detection.maps.residual, difference, atol=1e-3 * np.abs(detection.volume.array).max())


def test_the_healthy_version_keeps_the_scan_outside_the_brain_and_its_detail_where_it_is_normal(
    detection: Detection,
) -> None:
    maps, scan = detection.maps, detection.volume.array
    assert np.array_equal(maps.healthy[~maps.brain], scan[~maps.brain])
    normal = maps.brain & (np.abs(maps.score) < 1)
    fine = np.abs(np.diff(scan, axis=0))[normal[1:]].mean()
    kept = np.abs(np.diff(maps.healthy, axis=0))[normal[1:]].mean()
    assert kept > 0.8 * fine


def test_the_threshold_means_the_expected_false_alarms(detection: Detection, detector: Detector) -> None:
    assert detector.false_alarms is not None
    assert detector.false_alarms.expected(detection.settings) == pytest.approx(1.0, rel=0.05)


def test_the_whole_scan_gets_its_place_among_healthy_scans(detection: Detection, detector: Detector) -> None:
    healthy = np.array(detector.scorer.healthy_image_scores)
    assert len(healthy) > 30
    assert detection.maps.image_score is not None
    beyond = (healthy >= detection.maps.image_score).sum()
    assert detection.maps.image_p == pytest.approx((1 + beyond) / (1 + len(healthy)))


def test_every_stage_is_timed(detection: Detection) -> None:
    assert set(STAGES[1:]) <= set(detection.seconds)
    assert all(value >= 0 for value in detection.seconds.values())


def test_a_cancelled_run_stops_before_the_next_stage(
    patient: Volume, head_network: HeadNetwork, detector: Detector
) -> None:
    seen: list[str] = []
    with pytest.raises(Cancelled, match="rebuild"):
        detect(
            patient,
            head_network,
            lambda contrast: detector,
            progress=lambda stage, share: seen.append(stage),
            cancelled=lambda: bool(seen),
        )
    assert seen == ["prepare"]


def test_a_scan_given_as_another_contrast_is_refused_by_a_t1_model(
    patient: Volume, head_network: HeadNetwork, detector: Detector
) -> None:
    flair = Volume(patient.array, patient.affine, modality="FLAIR", name="patient")
    only_t1 = replace(detector, card=replace(detector.card, contrasts=("T1",)))
    with pytest.raises(ScanRefused, match="FLAIR"):
        detect(flair, head_network, lambda contrast: only_t1)


@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR", "PD"])
def test_every_contrast_has_a_calibrated_model(contrast: str) -> None:
    for card in zoo.preferred_cards(contrast):
        ready = load_detector(card, contrast=contrast)
        assert ready.false_alarms is not None
        assert ready.scorer.healthy_image_scores
    assert contrast in zoo.choose("auto", contrast).contrasts


def test_the_number_of_threads_changes_the_score_by_less_than_a_ten_thousandth(
    patient: Volume, head_network: HeadNetwork, detector: Detector
) -> None:
    before, scores = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            prepared = prepare(patient, head_network)
            scores.append(detector.scorer.z(prepared, detector.model.rebuild(prepared)))
    finally:
        torch.set_num_threads(before)
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


@pytest.fixture(scope="module")
def fused_detection(patient: Volume, head_network: HeadNetwork, second_scan: SecondScan) -> Detection:
    """The patient with the second scan beside it, both seen by the quickest calibrated model."""
    quick = load_detector(zoo.choose("atlas-z", "T1"))
    return detect(patient, head_network, lambda contrast: quick, also=second_scan.volume)


def finding_at(detection: Detection, ras: tuple[float, float, float]) -> int:
    """The label at a place of the scan, 0 for none."""
    i, j, k = np.rint(np.linalg.inv(detection.volume.affine) @ (*ras, 1))[:3].astype(int)
    return int(detection.findings.labelmap[i, j, k])


def test_a_lesion_that_only_the_second_sequence_shows_is_found_and_its_row_says_so(
    fused_detection: Detection,
) -> None:
    found = finding_at(fused_detection, SECOND_LESION_RAS)
    row = next(row for row in fused_detection.findings.table if row.id == found)
    assert (row.sequence, row.sign) == ("T1 2", "bright")
    assert np.linalg.norm(np.array(row.centroid_ras_mm) - SECOND_LESION_RAS) < 6


def test_healthy_version_and_grid_stay_those_of_the_first_scan(
    fused_detection: Detection, patient: Volume
) -> None:
    maps = fused_detection.maps
    assert maps.score.shape == maps.sequence.shape == patient.array.shape
    assert np.allclose(maps.healthy + maps.residual, patient.array, atol=1e-3 * patient.array.max())
    assert set(np.unique(maps.sequence[maps.brain])) == {1, 2}


def test_both_sequences_false_alarms_are_counted(fused_detection: Detection) -> None:
    own = load_detector(zoo.choose("atlas-z", "T1")).false_alarms
    table = fused_detection.engine.false_alarms
    assert table is not None
    assert table.expected(fused_detection.settings) == pytest.approx(1.0, rel=0.05)
    assert table.expected(fused_detection.settings) == pytest.approx(
        2 * own.expected(fused_detection.settings), rel=0.1
    )
