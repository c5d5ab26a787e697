"""What a reader gets who asks why a finding is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from typer.testing import CliRunner

from AnomalyDetectLib.cli import app
from AnomalyDetectLib.explain import attribution
from AnomalyDetectLib.explain.case import Sources, read_case
from AnomalyDetectLib.explain.legend import sentences
from AnomalyDetectLib.explain.opinions import ASKED
from AnomalyDetectLib.explain.parts import take_apart
from AnomalyDetectLib.explain.views import carrier, views_of
from AnomalyDetectLib.explain.write_why import explain_case
from AnomalyDetectLib.findings.findings import Finding
from AnomalyDetectLib.io.write import write_nifti
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.choice import candidates
from AnomalyDetectLib.pipeline import Detection, Detector, detect, load_detector
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.report.write_case import write_case
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.scoring.evidence import RESIDUAL, evidence
from AnomalyDetectLib.volume import Volume
from Testing.conftest import SECOND_LESION_RAS, SecondScan

SCAN = resource("SampleData", "demo_t1.nii.gz")
runner = CliRunner()


@pytest.fixture(scope="module")
def case(detection: Detection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated patient's folder, as `run` writes it."""
    out = tmp_path_factory.mktemp("Fälle eins")
    write_case(detection, out, "patient", str(SCAN))
    return out / "patient"


def strongest(detection: Detection) -> Finding:
    """The most unusual finding."""
    return max(detection.findings.table, key=lambda row: abs(row.peak_z))


@pytest.fixture(scope="module")
def explained(
    case: Path, detection: Detection, detector: Detector, head_network: HeadNetwork
) -> tuple[Path, dict[str, Any]]:
    """The strongest finding's folder and numbers; fewer passes of the network than a reader's, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "STEPS", 3)
        patch.setattr(attribution, "MOST_BLOCKS", 8)

        def load(card: Any, contrast: str) -> Detector:
            return detector if card.name == detector.card.name else load_detector(card, contrast=contrast)

        return explain_case(case, strongest(detection).id, head_network, load)


def test_picture_and_numbers_lie_in_a_folder_of_their_own(
    explained: tuple[Path, dict[str, Any]], case: Path
) -> None:
    folder, numbers = explained
    assert folder == case / f"why_{numbers['finding']}"
    assert {path.name for path in folder.iterdir()} == {"why.png", "why.json"}
    assert json.loads((folder / "why.json").read_text(encoding="utf-8")) == numbers
    picture = matplotlib.image.imread(folder / "why.png")
    assert picture.shape[1] > 1500
    assert picture[..., :3].std() > 0.1
    assert not list(case.glob(".*"))


def test_the_numbers_are_those_of_the_finding(
    explained: tuple[Path, dict[str, Any]], detection: Detection
) -> None:
    row, numbers = strongest(detection), explained[1]
    assert (numbers["finding"], numbers["sign"]) == (row.id, row.sign)
    assert numbers["peak_z"] == pytest.approx(row.peak_z, abs=0.01)
    assert numbers["threshold"] == pytest.approx(detection.settings.threshold, rel=1e-4)
    assert numbers["warnings"] == []
    assert row.location in numbers["location"]


def test_the_evidence_adds_up_to_the_findings_mean_z(
    explained: tuple[Path, dict[str, Any]], detection: Detection
) -> None:
    (told,) = explained[1]["evidence"].values()
    assert told["mean_z"] == pytest.approx(strongest(detection).mean_z, abs=0.5)
    assert sum(one["share"] for one in told["maps"].values()) == pytest.approx(1.0, abs=1e-3)
    # What is left is the healthy mean of the fused score.
    assert sum(one["mean_part"] for one in told["maps"].values()) == pytest.approx(told["mean_z"], abs=0.7)
    assert set(told["maps"]) == {"residual", "anomaly", "tissue-fine", "tissue", "tissue-wide", "mirror"}


def test_the_best_models_for_the_contrast_are_asked_and_the_one_that_found_it_comes_first(
    explained: tuple[Path, dict[str, Any]], detection: Detection
) -> None:
    first, *others = explained[1]["models"]
    assert first["model"] == detection.card.name
    assert first["found"] is True
    assert first["share_beyond"] == pytest.approx(1.0, abs=0.05)
    ranked = [card.name for card in candidates(zoo.cards(), detection.prepared.modality)]
    own = {card.name for card in zoo.cards() if first["model"] in card.options.get("members", ())}
    asked = [name for name in ranked if name not in own | {first["model"]}]
    assert [one["model"] for one in others] == asked[:ASKED]
    assert "ensemble-t1" not in asked, "the ensemble holds the model itself"
    for one in others:
        assert one["reason"] or isinstance(one["found"], bool)


def test_the_networks_answer_is_the_findings_z_and_healthy_anatomy_takes_it_away(
    explained: tuple[Path, dict[str, Any]],
) -> None:
    numbers = explained[1]
    gradients, occlusion = numbers["integrated_gradients"], numbers["occlusion"]
    assert gradients["target_z"] == pytest.approx(abs(numbers["mean_z"]), abs=0.5)
    assert gradients["healthy_target_z"] < gradients["target_z"]
    assert gradients["sum_inside_z"] > 0
    assert gradients["places"][0]["inside"]
    assert occlusion["finding_healthy_fall_z"] > 0.3 * numbers["occlusion"]["target_z"]
    assert abs(occlusion["elsewhere_healthy_fall_z"]) < occlusion["finding_healthy_fall_z"]
    assert occlusion["blocks"][0]["share_inside"] > 0
    assert 0 <= numbers["grad_cam"]["mean_inside"] <= 1


def test_the_sentences_name_the_methods_and_what_they_found(
    explained: tuple[Path, dict[str, Any]],
) -> None:
    said = " ".join(sentences(explained[1]))
    for word in ("other models", "integrated gradients", "occlusion", "Grad-CAM"):
        assert word in said


def test_weights_and_evidence_give_the_mean_z_to_the_last_digits(
    case: Path, detection: Detection, detector: Detector, head_network: HeadNetwork
) -> None:
    atlas = load_detector(zoo.choose("atlas-z", "T1"))
    read = read_case(case, detection.findings.table[0].id, Sources())
    read.report["model"]["name"] = atlas.card.name
    (view,) = views_of(read, head_network, lambda card, contrast: atlas)
    parts = take_apart(view, read.sign)
    image = view.scan.prepared.tensor[0, 0].numpy()
    raw = np.where(view.scan.prepared.brain, image - view.rebuild.healthy, 0)
    assert set(parts.weights) == {RESIDUAL} == set(evidence(view.scan.prepared, view.rebuild))
    assert (parts.weights[RESIDUAL] * raw).sum() + parts.offset == pytest.approx(parts.mean_z, abs=0.05)


def test_the_score_that_is_shown_is_the_one_that_the_finding_was_made_from(
    case: Path, detection: Detection, detector: Detector, head_network: HeadNetwork
) -> None:
    read = read_case(case, detection.findings.table[0].id, Sources())
    (view,) = views_of(read, head_network, lambda card, contrast: detector)
    shown = view.score_on(detection.maps.grid)
    np.testing.assert_allclose(shown[read.finding], detection.maps.score[read.finding], atol=0.02)


@pytest.mark.parametrize(
    ("finding", "told"), [("77", "there are: 1"), ("0", "no such finding")], ids=["beyond the last", "zero"]
)
def test_a_finding_that_is_not_there_is_one_line_with_those_that_are(
    case: Path, finding: str, told: str
) -> None:
    outcome = runner.invoke(app, ["explain", str(case), finding], env={"COLUMNS": "300"})
    assert outcome.exit_code == 2
    assert outcome.output.count("error:") == 1
    assert told in outcome.output


def test_a_folder_that_is_no_case_is_one_line(tmp_path: Path) -> None:
    outcome = runner.invoke(app, ["explain", str(tmp_path), "1"], env={"COLUMNS": "300"})
    assert outcome.exit_code == 2
    assert "report.json" in outcome.output
    assert not list(tmp_path.iterdir())


def test_a_scan_that_has_moved_is_asked_for_and_another_one_is_refused(
    case: Path, detection: Detection, tmp_path: Path, patient: Volume
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    report = json.loads((case / "report.json").read_text(encoding="utf-8")) | {"input": "gone.nii.gz"}
    (moved / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (moved / "mask.nii.gz").write_bytes((case / "mask.nii.gz").read_bytes())
    number = str(detection.findings.table[0].id)
    outcome = runner.invoke(app, ["explain", str(moved), number], env={"COLUMNS": "300"})
    assert outcome.exit_code == 2
    assert "gone.nii.gz" in outcome.output
    assert "--scan" in outcome.output
    other = tmp_path / "other.nii.gz"
    half = Volume(patient.array[::2], patient.affine @ np.diag([2.0, 1, 1, 1]))
    write_nifti(half.array, half.grid, other)
    outcome = runner.invoke(app, ["explain", str(moved), number, "--scan", str(other)])
    assert outcome.exit_code == 2
    assert not list(moved.glob("why*"))


def test_what_the_second_sequence_saw_is_explained_there_and_a_model_without_network_says_so(
    patient: Volume, second_scan: SecondScan, head_network: HeadNetwork, tmp_path: Path
) -> None:
    atlas = load_detector(zoo.choose("atlas-z", "T1"))
    found = detect(patient, head_network, lambda _: atlas, also=second_scan.volume)
    also = tmp_path / "second.nii.gz"
    write_nifti(second_scan.volume.array, second_scan.volume.grid, also)
    write_case(found, tmp_path, "both", str(SCAN), also=str(also))
    row = min(
        found.findings.table,
        key=lambda row: np.linalg.norm(np.subtract(row.centroid_ras_mm, SECOND_LESION_RAS)),
    )
    assert row.sequence == "T1 2"
    outcome = runner.invoke(app, ["explain", str(tmp_path / "both"), str(row.id), "--json"])
    assert outcome.exit_code == 0, outcome.output
    numbers = json.loads(outcome.stdout)
    assert numbers["carried_by"]["peak"] == "T1 2"
    assert numbers["carried_by"]["share_of_voxels"]["T1 2"] > 0.5
    assert set(numbers["evidence"]) == {"T1 1", "T1 2"}
    second, first = (numbers["evidence"][name]["peak_z"] for name in ("T1 2", "T1 1"))
    assert second == pytest.approx(row.peak_z, abs=1.5)
    assert abs(first) < abs(second)
    assert numbers["warnings"] == []
    for method in ("integrated_gradients", "occlusion", "grad_cam"):
        assert "atlas-z has no network" in numbers[method]["left_out"]
    assert (tmp_path / "both" / f"why_{row.id}" / "why.png").is_file()
    read = read_case(tmp_path / "both", row.id, Sources())
    views = views_of(read, head_network, lambda card, contrast: atlas)
    assert carrier(read, views)[0] is views[1]
