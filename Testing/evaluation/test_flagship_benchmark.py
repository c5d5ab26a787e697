"""benchmark flagship: what its tables and pictures tell."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from AnomalyDetectLib.evaluation import contest as contests
from AnomalyDetectLib.evaluation import flagship_tables as tables
from AnomalyDetectLib.evaluation import lesion_contest
from AnomalyDetectLib.evaluation.contact_sheet import picture, write_sheet
from AnomalyDetectLib.evaluation.contest import Contest
from AnomalyDetectLib.evaluation.flagship_benchmark import flat, lesion_section, prepare_ground, shown_model
from AnomalyDetectLib.evaluation.healthy_contest import HealthyScan, healthy_figures, voxel_threshold
from AnomalyDetectLib.evaluation.lesion_contest import LesionSet, Row, measure
from AnomalyDetectLib.evaluation.lesion_rows import LesionCase, LesionRow, lesion_rows
from AnomalyDetectLib.evaluation.overlap import HIT_SHARE, Step, Sweep, false_findings, lesion_cover
from AnomalyDetectLib.evaluation.region_alarms import region_figures, regions
from AnomalyDetectLib.evaluation.simulated_lesions import LesionPlan, simulate
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.rivals import rival_maps
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.training.calibration import HealthyCase, evenly
from AnomalyDetectLib.volume import Volume

MODEL = "model"


def healthy_scan(seed: int, width: float = 1.0) -> HealthyScan:
    """A template brain of normal noise. Its residual shouts in the cerebellum, its z nowhere."""
    brain = load_template().brain
    z = np.random.default_rng(seed).normal(0, width, int(brain.sum())).astype(np.float32)
    loud = np.where(regions(brain)["cerebellum"][brain], 4 * z, z)
    return HealthyScan(str(seed), brain, {MODEL: z}, {MODEL: {"residual": loud}}, {MODEL: seed})


def case_of(hits: dict[int, bool], contrasts: dict[int, float], sizes: bool = True) -> tuple[LesionRow, ...]:
    """Rows of lesions of 1 ml each in a 1-mm scan, found by findings that cover half of them."""
    labels = np.zeros((60, 40, 40), np.int32)
    findings = np.zeros_like(labels)
    for label, hit in hits.items():
        labels[12 * label : 12 * label + 10, 10:20, 10:20] = label
        findings[12 * label : 12 * label + 10, 10:15, 10:20] = hit
    volume = Volume(labels.astype(np.float32), np.eye(4))
    return lesion_rows(LesionCase("a", volume, labels, 0, sizes, contrasts=contrasts), findings)


def test_lesions_are_counted_by_size_and_bright_and_dark_apart() -> None:
    lesions = case_of({1: True, 2: False, 3: True}, {1: 0.7, 2: -0.7, 3: -0.6})
    rows = [Row("a", name, 0.5, 0.5, 0.5, lesions) for name in (MODEL, "(mirror)")]
    (first, _) = tables.summarise("set", rows)
    assert first["bright"][0] == 1.0  # type: ignore[index]
    assert first["dark"][0] == 0.5  # type: ignore[index]
    assert first["lesions found"] == "1-10 ml 2/3"


def test_maps_are_compared_where_they_are_wrong_as_often() -> None:
    lesions = case_of({1: True, 2: True}, {1: 0.7, 2: -0.7})
    sweep = (Step(2.0, (True, True), 5), Step(4.0, (True, False), 1), Step(8.0, (False, False), 0))
    rows = [Row(name, MODEL, 0.5, 0.5, 0.5, lesions, 5, sweep=sweep) for name in ("a", "b")]
    equal = tables.at_equal_alarms(rows)
    assert [row.false_alarms for row in equal] == [1, 1]
    assert tables.by_size(equal) == "1-10 ml 2/4"
    assert tables.at_equal_alarms([replace(rows[0], sweep=sweep[:1])]) == []
    (summary,) = tables.summarise("set", [replace(row, map="(mirror)") for row in rows])
    assert summary["lesions found at 1 other finding (oracle)"] == "1-10 ml 2/4"


def test_a_sweep_tells_what_the_findings_of_each_threshold_tell() -> None:
    rng = np.random.default_rng(5)
    truth = np.zeros((40, 40, 40), np.int32)
    truth[5:12, 5:12, 5:12], truth[25:32, 25:32, 25:32] = 1, 2
    score = gaussian_filter(rng.normal(0, 30, truth.shape), 2).astype(np.float32) + 4 * (truth == 1)
    maps = AnomalyMaps.from_score(score, brain=np.ones(truth.shape, bool))
    engine, settings = FindingsEngine(maps), FindingsSettings()
    for step in Sweep.over(truth).steps(engine, settings, (1.0, 2.0, 3.0)):
        labelmap = engine.at(settings.changed(threshold=step.threshold)).labelmap
        cover = lesion_cover(labelmap, truth)
        assert step.found == tuple(cover[label] >= HIT_SHARE for label in (1, 2))
        assert step.false_findings == false_findings(labelmap, truth)
    assert Sweep.over(np.zeros_like(truth)).steps(engine, settings, (2.0,))[0].found == ()


def test_no_size_is_reported_where_the_spacing_is_assumed() -> None:
    lesions = case_of({1: True, 2: False}, {}, sizes=False)
    assert all(np.isnan(lesion.volume_ml) for lesion in lesions)
    assert tables.by_size([Row("a", MODEL, 0.5, 0.5, 0.5, lesions)]) == "1/2"


def test_models_without_training_are_rivals_too() -> None:
    rows = [Row("a", name, ap, ap, ap) for name, ap in ((MODEL, 0.5), ("atlas-z", 0.4), ("(intensity)", 0.2))]
    summary = tables.summarise("set", rows)
    assert [row["map"] for row in summary] == [MODEL, "(intensity)", "atlas-z"]
    assert summary[0]["AP minus atlas-z"][0] == pytest.approx(0.1)  # type: ignore[index]


def test_similarity_inside_a_lesion_rises_when_the_healthy_version_is_right() -> None:
    clean = np.random.default_rng(0).normal(100, 10, (30, 30, 30)).astype(np.float32)
    labels = np.zeros(clean.shape, np.int32)
    labels[10:18, 10:18, 10:18] = 1
    ill = np.where(labels > 0, clean + 60 * labels, clean).astype(np.float32)
    case = LesionCase("a", Volume(ill, np.eye(4)), labels, 0, clean=Volume(clean, np.eye(4)))
    (perfect,) = lesion_rows(case, labels, clean)
    assert perfect.ssim_after == pytest.approx(1.0)
    assert perfect.psnr_after > perfect.psnr_before
    (unchanged,) = lesion_rows(case, labels, ill)
    assert unchanged.psnr_after == unchanged.psnr_before


def test_a_threshold_of_one_scanner_shows_its_share_of_the_other() -> None:
    sets = {"val": [healthy_scan(0), healthy_scan(1)], "external": [healthy_scan(2, 2.0)]}
    (row,) = healthy_figures(sets)
    assert voxel_threshold(sets["val"], MODEL, 0) == pytest.approx(2.58, abs=0.03)
    assert row["false alarms, val"][0] == 0.5  # type: ignore[index]
    assert row["% of external at 1 % of val"][0] == pytest.approx(19.8, abs=1)  # type: ignore[index]
    assert row["val to external in 0.5-2 %"] == "NO"
    same = {"val": sets["val"], "external": [healthy_scan(3)]}
    assert healthy_figures(same)[0]["val to external in 0.5-2 %"] == "yes"


def test_one_healthy_set_alone_has_no_other_scanner() -> None:
    (row,) = healthy_figures({"val": [healthy_scan(0)], "external": []})
    assert set(row) == {"map", "false alarms, val"}


def test_regions_lie_where_their_names_say() -> None:
    brain = load_template().brain
    found = regions(brain)
    height = np.indices(brain.shape)[2]
    front = np.indices(brain.shape)[1]
    assert all(mask.any() and not (mask & ~brain).any() for mask in found.values())
    assert height[found["cerebellum"]].mean() < height[found["deep"]].mean()
    assert front[found["temporal poles"]].mean() > front[found["insula"]].mean()
    assert not (found["skull edge"] & found["sulci"]).any()
    assert not (found["elsewhere"] & found["insula"]).any()
    named = [mask for name, mask in found.items() if name != "whole brain"]
    assert np.array_equal(np.any(named, axis=0), brain)


def test_standardisation_takes_false_alarms_from_a_region_that_shouts() -> None:
    lesions = [
        {"residual": np.full(10, seen, np.float32), "z": np.full(10, 3.0, np.float32)} for seen in (2, 4)
    ]
    scans = [healthy_scan(0), healthy_scan(1)]
    table = {row["region"]: row for row in region_figures(scans, MODEL, lesions)}
    cerebellum, whole = table["cerebellum"], table["whole brain"]
    assert cerebellum["z / residual at 1 % of voxels"] < 0.3  # type: ignore[operator]
    before, after = (whole[f"{name}, ml at 1 % of voxels"] for name in ("residual", "z"))
    assert before == pytest.approx(after, rel=0.01)
    assert after == pytest.approx(0.01 * whole["volume, ml"], rel=0.01)  # type: ignore[operator]
    quiet = table["deep"]
    assert quiet["z / residual at half of lesions"] == pytest.approx(1), "both reach 3 in half of the lesions"
    assert cerebellum["z / residual at half of lesions"] < 0.01  # type: ignore[operator]
    assert "z, ml at half of lesions" not in region_figures(scans, MODEL, [])[0]


def test_a_sheet_has_a_row_for_every_patient(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(100, 10, (40, 50, 30)).astype(np.float32)
    brain = np.ones(image.shape, bool)
    truth = np.zeros(image.shape, np.int32)
    truth[10:20, 10:20, 21] = 1
    maps = AnomalyMaps.from_score(image - 100, brain=brain)
    volume = Volume(image, np.eye(4))
    one = picture("a", volume, maps, truth, 20.0)
    assert one.scene.labelmap.sum() == truth.sum()  # the slice with the lesion
    assert one.scene.at[2] == pytest.approx(21.0)
    heights = []
    for count in (1, 3):
        write_sheet("set", "colours from |z| 2", [one] * count, tmp_path / "sheet.png")
        heights.append(matplotlib.image.imread(tmp_path / "sheet.png").shape[0])
    assert heights[1] > 2 * heights[0]


def test_every_file_has_the_simulated_and_the_healthy_sections(tmp_path: Path) -> None:
    rows = [Row("a", name, 0.5, 0.5, 0.5, case_of({1: True}, {1: 0.7})) for name in (MODEL, "(mirror)")]
    lesions = tables.Section("simulated", "thresholds: z", tables.summarise("simulated", rows))
    healthy = tables.Section("healthy", "counted", healthy_figures({"val": [healthy_scan(0)]}))
    tables.write(tmp_path, [lesions, healthy], [{"set": "simulated"} | flat(row) for row in rows])
    page = (tmp_path / "flagship.md").read_text()
    assert "## simulated\n\nthresholds: z" in page
    assert "SSIM" not in page  # nothing was rebuilt: an empty column is left out
    whole = json.loads((tmp_path / "flagship.json").read_text())
    assert whole["summary"][0]["lesions found"] == "1-10 ml 1/1"
    assert whole["healthy"]["healthy"][0]["map"] == MODEL
    with (tmp_path / "flagship.csv").open() as file:
        assert [line["found"] for line in csv.DictReader(file)] == ["1", "1"]


def test_a_limit_takes_scans_from_all_over_the_set() -> None:
    assert evenly(range(20), 2) == [0, 19]
    assert evenly(range(22), 12)[-1] == 21, "twelve of 22 aren't the first twelve"
    assert evenly(range(3), None) == [0, 1, 2]
    assert evenly(range(3), 5) == [0, 1, 2]


def stand_in(volume: Volume) -> Prepared:
    """A scan that lies on the working grid already, in working units."""
    brain = load_template().brain
    return Prepared(
        tensor=torch.from_numpy(np.where(brain, volume.array, 0))[None, None], brain=brain, input_brain=brain,
        to_input=WayBack(volume.grid, volume.grid, np.eye(4)), modality="T1", fit=ScanFit(), scale=1.0,
        bias=np.ones_like(volume.array), observations=Observations(1.0, 2.0, 0.0, 0.0, "T1"),
        alignment_overlap=1.0, stripped=False,
    )  # fmt: skip


def average_brain() -> Volume:
    """The template's tissue in T1's colours, with some grain."""
    template = load_template()
    colours = np.array([0.3, 0.73, 1.0], np.float32)[:, None, None, None]
    grain = np.random.default_rng(0).normal(0, 0.03, template.brain.shape)
    return Volume((template.tissue * colours).sum(0) + grain * template.brain, template.grid.affine)


def test_every_map_is_measured_on_the_same_simulated_lesions(
    monkeypatch: pytest.MonkeyPatch, head_network: HeadNetwork
) -> None:
    cards = [card for card in zoo.cards() if card.name in ("atlas-z", "intensity")]
    monkeypatch.setattr(contests.zoo, "cards", lambda: cards)
    few = ("intensity", "mirror", "atlas-z")  # all of them take long
    monkeypatch.setattr(
        contests,
        "rival_maps",
        lambda prepared, atlas: {
            name: one for name, one in rival_maps(prepared, atlas).items() if name in few
        },
    )
    monkeypatch.setattr(lesion_contest, "prepare", lambda volume, network: stand_in(volume))
    volume = average_brain()
    ground = prepare_ground("T1", {"val": [HealthyCase(volume, stand_in(volume))], "external": []})
    plan = LesionPlan(volume_ml=(8, 8.1), contrast=(1.5, 1.6), count=(1, 1))
    ill = simulate(volume, stand_in(volume), np.random.default_rng(3), plan)
    found = measure(LesionCase.simulated(ill), ground.contest, ground.thresholds, head_network)
    names = [row.map for row in found.rows]
    assert names[:2] == ["atlas-z", "intensity"]
    assert {"(mirror)", "(atlas-z)", "(intensity)"} == set(names[2:])
    assert len(set(names)) == len(names) == len(ground.healthy["val"][0].alarms)
    assert all(len(row.lesions) == 1 for row in found.rows)
    assert [np.isfinite(row.lesions[0].ssim_after) for row in found.rows[:3]] == [True, True, False]
    best = max(found.rows, key=lambda row: row.ap)
    by_chance = float((ill.truth > 0).sum() / load_template().brain.sum())
    assert best.ap > 30 * by_chance
    assert best.oracle >= best.dice
    section = lesion_section(LesionSet("set", "T1", []), found.rows, ground)
    assert "AP and Dice: of |z|." in section.caption
    assert "1 healthy T1 scans of the set val" in section.caption


def test_pictures_show_a_measured_model_where_auto_takes_a_rival() -> None:
    assert shown_model(["mirror", "ae-u-ct"], "CT") == "mirror"
    assert shown_model(["ae-u-ct"], "CT") == "ae-u-ct"


def test_rivals_are_a_z_of_healthy_scans() -> None:
    volume = average_brain()
    raw = Contest((), None)
    scans = (volume, volume.with_array(1.2 * volume.array))
    cases = [HealthyCase(scan, stand_in(scan)) for scan in scans]
    scaled = replace(raw, scales=contests.scales_of(raw, [case.prepared for case in cases]))
    values = [scaled.rivals(case.prepared)["(intensity)"][case.prepared.brain] for case in cases]
    assert float(np.mean(values)) == pytest.approx(0, abs=0.01)
    assert float(np.std(values)) == pytest.approx(1, abs=0.01)
