"""Residuals become z that healthy scans share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from AnomalyDetectLib.errors import VolumeError
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring.evidence import ANOMALY, RESIDUAL, TISSUE, TISSUE_FINE, TISSUE_WIDE, fuse
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, Scorer, image_score, load_scorer
from AnomalyDetectLib.scoring.statistics import HealthyStatistics, fit_statistics, spread

SHAPE = (24, 28, 24)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    distance = np.linalg.norm(np.indices(SHAPE).T - np.array([11.5, 13.5, 11.5]), axis=-1).T
    return np.asarray(distance < 10)


@pytest.fixture(scope="module")
def statistics(brain: np.ndarray) -> HealthyStatistics:
    """Of 40 noise scans whose spread grows to the front, twice as large there."""
    return fit_statistics([noise(seed, brain) for seed in range(40)], [brain] * 40)


def noise(seed: int, brain: np.ndarray, scale: float = 1.0) -> np.ndarray:
    ramp = np.linspace(1, 2, SHAPE[1])[None, :, None]
    values = np.random.default_rng(seed).normal(0.1, 0.2 * scale, SHAPE) * ramp
    return np.where(brain, values, 0).astype(np.float32)


def test_a_new_healthy_scan_has_z_of_mean_zero_and_sd_one(
    statistics: HealthyStatistics, brain: np.ndarray
) -> None:
    z = statistics.standardise(noise(99, brain), brain)
    inner = brain & (np.indices(SHAPE)[0] > 5)
    assert z[inner].mean() == pytest.approx(0, abs=0.1)
    assert z[inner].std() == pytest.approx(1, abs=0.15)


def test_a_noisier_scanner_is_widened_but_a_lesion_is_not_eaten(
    statistics: HealthyStatistics, brain: np.ndarray
) -> None:
    def widened(evidence: np.ndarray) -> np.ndarray:
        z = statistics.standardise(evidence, brain)
        return z / statistics.widening(z, brain)

    noisy = widened(noise(5, brain, scale=1.5))
    assert spread(noisy, brain) == pytest.approx(statistics.bulk, rel=0.1)
    ill = noise(6, brain)
    lesion = brain & (np.indices(SHAPE)[0] < 5)
    assert 0.05 * brain.sum() < lesion.sum() < 0.1 * brain.sum()
    whole = widened(ill)[lesion]
    ill[lesion] += 3
    change = widened(ill)[lesion].mean() - whole.mean()
    assert change > 0.75 * (3 / statistics.sd[lesion]).mean()


def test_evidence_that_strays_on_another_scanner_speaks_more_softly_beside_what_holds(
    statistics: HealthyStatistics, brain: np.ndarray
) -> None:
    by_name = dict.fromkeys((RESIDUAL, ANOMALY, TISSUE_FINE, TISSUE, TISSUE_WIDE), statistics)
    maps = {name: noise(5, brain, scale=2.0 if "tissue" in name else 1.0) for name in by_name}
    maps[ANOMALY] = noise(5, brain, scale=2.0)
    own = Scorer(by_name, statistics).of_scan(maps, brain)
    wider = {name: float((one.sd / statistics.sd).mean()) for name, one in own.items()}
    assert wider[TISSUE] == wider[TISSUE_FINE] == wider[TISSUE_WIDE] == pytest.approx(2, rel=0.1)
    assert wider[RESIDUAL] == pytest.approx(1, rel=0.1)
    assert wider[ANOMALY] == 1  # what the network calls a lesion is no spread
    alone = Scorer({RESIDUAL: statistics}, statistics)
    assert alone.of_scan(maps, brain) == {RESIDUAL: statistics}  # the fused map's widening does for one alone


def test_simulated_healthy_scans_shift_what_is_normal_by_half(brain: np.ndarray) -> None:
    scans = [noise(seed, brain) for seed in range(4)]
    real, simulated = (fit_statistics(scans, [brain] * 4, real=real) for real in (True, False))
    assert np.allclose(simulated.mean, real.mean / 2)
    assert np.array_equal(simulated.sd, real.sd)


def test_the_rim_where_few_healthy_scans_have_brain_is_trusted_less(brain: np.ndarray) -> None:
    small = brain & (np.indices(SHAPE)[2] < 18)
    fitted = fit_statistics([noise(seed, brain) for seed in range(20)], [brain] + [small] * 19)
    rim = brain & ~small & (np.indices(SHAPE)[2] > 19)
    assert fitted.sd[rim].mean() > 3 * fitted.sd[small].mean()


def test_statistics_survive_saving(statistics: HealthyStatistics, brain: np.ndarray, tmp_path: Path) -> None:
    Scorer({"residual": statistics}, statistics, (1.0, 2.0)).save(
        tmp_path / STATISTICS, tmp_path / IMAGE_SCORES
    )
    again = load_scorer(tmp_path / "statistics.safetensors", tmp_path / "image_scores.json")
    assert again.healthy_image_scores == (1.0, 2.0)
    inner = ndimage.binary_erosion(brain, iterations=4)  # the rim is steep, and stored at half resolution
    assert np.allclose(again.fused.sd[inner], statistics.sd[inner], rtol=0.2)


def test_a_file_keeps_statistics_near_the_brain_and_trusts_nothing_far_from_it() -> None:
    inside = load_template().brain
    ramp = np.broadcast_to(np.linspace(1, 2, inside.shape[1])[None, :, None], inside.shape)
    whole = HealthyStatistics(ramp.astype(np.float32), (2 * ramp).astype(np.float32), 1.0)
    tensors = whole.tensors("fused")
    assert tensors["fused.maps"].shape[1] < inside.size / 8
    again = HealthyStatistics.from_tensors(tensors, "fused")
    assert np.allclose(again.mean[inside], ramp[inside], atol=0.03)
    assert np.allclose(again.sd[inside], 2 * ramp[inside], atol=0.05)
    corner = (0, 0, 0)
    assert (again.mean[corner], again.sd[corner]) == (0, pytest.approx(4, abs=0.1))


def test_a_calibration_that_names_no_quantile_widens_by_the_former_one(
    statistics: HealthyStatistics, brain: np.ndarray
) -> None:
    tensors = statistics.tensors("fused")
    assert HealthyStatistics.from_tensors(tensors, "fused").quantile == statistics.quantile
    tensors["fused.bulk"] = tensors["fused.bulk"][:1]
    former = HealthyStatistics.from_tensors(tensors, "fused")
    assert former.quantile == 0.8
    z = statistics.standardise(noise(5, brain), brain)
    z[:, 10:13] *= 20  # a lesion of a tenth of the brain: the higher quantile sees more of it
    assert former.widening(z, brain) > statistics.widening(z, brain)


def test_the_image_p_value_counts_healthy_scans_beyond(statistics: HealthyStatistics) -> None:
    scorer = Scorer({}, statistics, (1.0, 2.0, 3.0))
    assert scorer.image_p(2.5) == pytest.approx(0.5)
    assert scorer.image_p(9.0) == pytest.approx(0.25)
    assert Scorer({}, statistics).image_p(2.5) is None


def test_the_image_score_is_the_mean_of_the_most_unusual_voxels() -> None:
    z = np.zeros((30, 30, 30), np.float32)
    z[0, 0, :30] = -5
    assert image_score(z, np.ones_like(z, bool)) == pytest.approx(5.0)
    assert image_score(z, np.zeros_like(z, bool)) == 0.0


def test_maps_come_from_a_score_alone() -> None:
    score = np.zeros((8, 9, 10), np.float32)
    score[2:4] = 3
    maps = AnomalyMaps.from_score(score)
    assert maps.brain.sum() == 2 * 9 * 10
    with pytest.raises(VolumeError, match="dimensions"):
        AnomalyMaps.from_score(score[0])


def test_what_the_network_expects_to_be_a_lesion_adds_to_the_residual_with_its_sign() -> None:
    residual = np.array([2.0, -2.0, 2.0], np.float32)
    anomaly = np.array([4.0, 4.0, -4.0], np.float32)
    assert np.allclose(fuse({"residual": residual, "anomaly": anomaly}), [4, -4, 2])
    assert np.allclose(fuse({"residual": residual}), residual)
    assert np.allclose(fuse({"anomaly": anomaly}), [4, 4, 0])


def test_healthy_brain_opposite_a_bright_lesion_is_not_called_dark() -> None:
    opposite = {name: np.zeros(2, np.float32) for name in ("tissue-fine", "tissue", "tissue-wide")}
    opposite["tissue"][:] = 0.2, -0.2
    fused = fuse({"mirror": np.full(2, -12.0, np.float32), **opposite})
    assert abs(fused[0]) < 0.2
    assert fused[1] < -4, "what both say is dark is dark"


def test_a_small_and_a_large_lesion_both_keep_the_tissue_evidence_that_sees_them_better() -> None:
    small, large, dark = 0, 1, 2
    tissue = {
        "tissue-fine": np.array([5.0, 1.0, -5.0], np.float32),
        "tissue": np.array([1.0, 5.0, -1.0], np.float32),
        "tissue-wide": np.array([0.0, 6.0, -0.5], np.float32),
    }
    fused = fuse(tissue)
    assert fused[small] == 5
    assert fused[large] > 4
    assert fused[dark] == -5
    restored = fuse({"residual": np.full(3, 6.0, np.float32), **tissue})
    assert restored[large] > fused[large]
    one_sided = fuse({"mirror": np.full(3, 6.0, np.float32), **tissue})
    assert one_sided[large] > fused[large]
    assert one_sided[small] == fused[small]
    assert one_sided[dark] == fused[dark]
    warned = fuse({"anomaly": np.full(3, 4.0, np.float32), **tissue})
    assert (np.sign(warned) == np.sign(fused)).all()
    assert (np.abs(warned) > np.abs(fused)).all()
