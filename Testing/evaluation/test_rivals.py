"""The trivial rivals see what they are meant to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.evaluation.flagship_tables import Section, summarise, write
from AnomalyDetectLib.evaluation.lesion_contest import Row
from AnomalyDetectLib.evaluation.pathology import patients
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rivals import Rival, rival_maps
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.scoring.score import IMAGE_SCORES, STATISTICS, load_scorer
from AnomalyDetectLib.training import calibration
from Testing.models import small_zoo


def test_every_rival_sees_a_bright_one_sided_lesion(prepared_patient: Prepared) -> None:
    grain = 0.1 * torch.rand(prepared_patient.brain.shape, generator=torch.Generator().manual_seed(0))
    healthy = torch.where(torch.from_numpy(prepared_patient.brain), 0.75 + grain, 0.0)[None, None]
    lesion = np.zeros(prepared_patient.brain.shape, bool)
    lesion[24:30, 45:51, 40:46] = True
    ill = torch.where(torch.from_numpy(lesion), 1.5, healthy)
    atlas = {"mean": healthy[0, 0].numpy(), "sd": np.full(lesion.shape, 0.1, np.float32)}
    maps = rival_maps(replace(prepared_patient, tensor=ill), atlas)
    elsewhere = prepared_patient.brain & ~lesion
    for name, values in maps.items():
        assert values[lesion].mean() > np.abs(values[elsewhere]).mean() + 0.1, name
        assert values[lesion].mean() > values[elsewhere].mean() + 0.1, name
    mirrored = np.flip(lesion, 0)
    assert maps["mirror"][mirrored].mean() < 0


def test_the_table_names_the_best_rival_and_the_difference_to_it(tmp_path: Path) -> None:
    rows = [
        Row(patient, name, ap, ap, ap)
        for patient, own, weak, strong in (("a", 0.8, 0.1, 0.6), ("b", 0.9, 0.2, 0.7))
        for name, ap in (("model", own), ("(weak)", weak), ("(strong)", strong))
    ]
    summary = summarise("set", rows)
    assert [row["map"] for row in summary] == ["model", "(strong)", "(weak)"]
    assert summary[0]["AP minus (strong)"][0] == pytest.approx(0.2)  # type: ignore[index]
    section = Section("set", "thresholds: z", summary)
    assert section.printed().row_count == 3
    write(tmp_path, [section], [])
    assert "| model | 0.850" in (tmp_path / "flagship.md").read_text()


def test_development_patients_are_found_with_their_masks(data: Path) -> None:
    sets = patients(data)
    assert {name: len(members) for name, members in sets.items()} == {
        "glioma, FLAIR": 22, "MS, FLAIR": 5, "glioma, T1": 22,
    }  # fmt: skip
    volume, truth = sets["MS, FLAIR"][0].read()
    assert truth.shape == volume.array.shape
    assert truth.any()


def test_a_rivals_model_scores_its_map_in_units_of_all_healthy_voxels(tmp_path: Path) -> None:
    card = ModelCard("mirror", "1", "rival", ("T1",), *[""] * 5, options={"map": "mirror"})
    model, healthy = Rival(card), small_zoo.healthy(4)
    fitted = calibration.fit_scorer(healthy, model.rebuild, flat=True)
    fitted.save(tmp_path / STATISTICS, tmp_path / IMAGE_SCORES)
    assert (tmp_path / STATISTICS).stat().st_size < 2000
    scorer = load_scorer(tmp_path / STATISTICS, None)
    z = np.stack([scorer.z(c.prepared, model.rebuild(c.prepared))[c.prepared.brain] for c in healthy])
    assert (float(z.mean()), float(z.std())) == pytest.approx((0, 1), abs=1e-3)
    ill = small_zoo.scan(9, lesion=1.0).prepared
    plain = rival_maps(ill)["mirror"][ill.brain]
    assert np.corrcoef(scorer.z(ill, model.rebuild(ill))[ill.brain], plain)[0, 1] == pytest.approx(1)
    rebuilt = model.rebuild(ill)
    assert rebuilt.healthy is not None
    assert rebuilt.healthy[small_zoo.LESION].mean() < ill.tensor[0, 0].numpy()[small_zoo.LESION].mean() - 0.5


def test_a_rival_whose_atlas_is_missing_says_which_model_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "models_folder", lambda: tmp_path)
    options = {"map": "atlas difference + mirror"}
    card = ModelCard("atlas-mirror", "1", "rival", ("T1",), *[""] * 5, options=options)
    with pytest.raises(ModelError, match="the model atlas-z that it looks at isn't there"):
        zoo.load(card)
