"""The gate says in plain words what doesn't fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Observations, Prepared
from AnomalyDetectLib.prepare.scan_fit import guess_modality, judge
from AnomalyDetectLib.volume import Volume

GOOD = Observations(brain_ml=1450, spacing_mm=1.0, cut_share=0.0, noise=0.03, guessed="T1", asked=None)


def test_a_good_scan_fits() -> None:
    assert judge(GOOD, ("T1",)).verdict == "ok"


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        ({"brain_ml": 300.0}, "refuse", "brain"),
        ({"guessed": "FLAIR"}, "refuse", "FLAIR"),
        ({"asked": "T1", "guessed": "T2"}, "warn", "looks like T2"),
        ({"spacing_mm": 5.5}, "warn", "5.5 mm"),
        ({"spacing_mm": 9.0}, "refuse", "9.0 mm"),
        ({"cut_share": 0.1}, "warn", "10 %"),
        ({"cut_share": 0.5}, "refuse", "50 %"),
        ({"noise": 0.2}, "warn", "noise"),
        ({"noise": 0.5}, "refuse", "noise"),
        ({"age": 8.0}, "warn", "age 8"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], verdict: str, word: str) -> None:
    fit = judge(replace(GOOD, **change), ("T1",), (20.0, 82.0))  # type: ignore[arg-type]
    assert fit.verdict == verdict
    assert any(word in reason for reason in fit.reasons)


def test_the_worst_reason_decides() -> None:
    fit = judge(replace(GOOD, spacing_mm=5.5, cut_share=0.5), ("T1",))
    assert fit.verdict == "refuse"
    assert len(fit.reasons) == 2


def test_contrasts_are_told_apart_by_tissue_ratios() -> None:
    assert guess_modality(fluid=0.4, grey=0.73) == "T1"
    assert guess_modality(fluid=0.5, grey=1.15) == "FLAIR"
    assert guess_modality(fluid=2.2, grey=1.4) == "T2"
    assert guess_modality(fluid=1.2, grey=1.15) == "PD"


def test_the_simulated_patient_is_a_t1_scan_that_fits(prepared_patient: Prepared) -> None:
    assert prepared_patient.modality == "T1"
    assert judge(prepared_patient.observations, ("T1",)).verdict == "ok"


def test_real_scans_are_guessed_right(data: Path, head_network: HeadNetwork) -> None:
    flair = sorted((data / "ms_isbi_dev").glob("*/flair.nii.gz"))[0]
    external = sorted((data / "healthy_external_t1").glob("*.nii.gz"))[0]
    assert prepare(read_volume(flair), head_network).modality == "FLAIR"
    assert prepare(read_volume(external), head_network).modality == "T1"


def test_a_cut_field_of_view_is_noticed(patient: Volume, head_network: HeadNetwork) -> None:
    top = patient.array.shape[2]
    cut = Volume(np.ascontiguousarray(patient.array[:, :, : int(0.78 * top)]), patient.affine, name="cut")
    seen = prepare(cut, head_network).observations
    assert seen.cut_share > 0.02
