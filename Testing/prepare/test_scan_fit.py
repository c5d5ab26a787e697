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
    assert guess_modality(fluid=0.4, cortex=0.7) == "T1"
    assert guess_modality(fluid=0.5, cortex=0.98) == "FLAIR"
    assert guess_modality(fluid=1.7, cortex=1.25) == "T2"
    assert guess_modality(fluid=1.07, cortex=1.1) == "PD"


def test_the_simulated_patient_is_a_t1_scan_that_fits(prepared_patient: Prepared) -> None:
    assert prepared_patient.modality == "T1"
    assert judge(prepared_patient.observations, ("T1",)).verdict == "ok"


@pytest.mark.parametrize(
    ("scan", "modality"),
    [
        ("ms_isbi_dev/training01/flair.nii.gz", "FLAIR"),
        (
            "lgg_flair_dev/TCGA_DU_5852_19950709/flair.nii.gz",
            "FLAIR",
        ),  # its sulci are bright, its cortex is pale
        ("lgg_flair_dev/TCGA_CS_5396_20010302/flair.nii.gz", "FLAIR"),
        ("healthy_external_t1/sub-01_T1w.nii.gz", "T1"),
        ("templates/avg152T2_2mm.nii.gz", "T2"),
        ("templates/avg152PD_2mm.nii.gz", "PD"),
    ],
)
def test_real_scans_are_guessed_right(
    data: Path, head_network: HeadNetwork, scan: str, modality: str
) -> None:
    assert prepare(read_volume(data / scan), head_network).modality == modality


def test_a_cut_field_of_view_is_noticed(patient: Volume, head_network: HeadNetwork) -> None:
    top = patient.array.shape[2]
    cut = Volume(np.ascontiguousarray(patient.array[:, :, : int(0.78 * top)]), patient.affine, name="cut")
    seen = prepare(cut, head_network).observations
    assert seen.cut_share > 0.02
