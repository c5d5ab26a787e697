"""CT goes the ordinary way, in Hounsfield units or as an 8-bit picture, or is refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from AnomalyDetectLib.errors import PreparationError, ScanRefused
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models.card import WEIGHTS, read_card, write_card
from AnomalyDetectLib.models.slices import SliceModel, make_family
from AnomalyDetectLib.pipeline import Detector, detect, load_detector
from AnomalyDetectLib.prepare import computed_tomography
from AnomalyDetectLib.prepare.brain_extraction import HeadReading
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.scan_fit import judge
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.training.calibration import HealthyCase
from AnomalyDetectLib.training.config import read_config
from AnomalyDetectLib.training.ct_heads import ct_patients, own_slices
from AnomalyDetectLib.training.ship import calibrate
from AnomalyDetectLib.training.ship_slices import zoo_card
from AnomalyDetectLib.volume import Volume, dice

CONFIG = Path(__file__).parents[2] / "configs" / "zoo_ct" / "ae-u-ct.toml"
SMALL = {"features": (8, 16), "latent": 8}


def of_8_bits(head: Volume) -> Volume:
    """The head as a viewer's brain window of 0-80 HU shows it."""
    grey = np.rint(np.clip(head.array / 80, 0, 1) * 255).astype(np.float32)
    return replace(head, array=grey, modality="CT")


def test_a_ct_in_hounsfield_units_is_known_as_ct_and_laid_on_the_template(prepared_ct: Prepared) -> None:
    assert (prepared_ct.modality, prepared_ct.stripped) == ("CT", False)
    assert prepared_ct.alignment_overlap > 0.9
    image = prepared_ct.tensor[0, 0].numpy()
    assert np.median(image[prepared_ct.brain]) == pytest.approx(0.9, abs=1e-3)
    assert (image[~prepared_ct.brain] == 0).all()


def test_the_skull_is_in_neither_mask_nor_brain(ct_head: Volume, prepared_ct: Prepared) -> None:
    assert ct_head.array[prepared_ct.input_brain].max() < 80
    assert prepared_ct.tensor.max() < 1.5
    template = load_template().brain
    assert dice(prepared_ct.brain, template) > 0.9


def test_hounsfield_units_and_a_picture_of_8_bits_give_the_same_working_image(
    ct_head: Volume, prepared_ct: Prepared, head_network: HeadNetwork
) -> None:
    picture = prepare(of_8_bits(ct_head), head_network)
    both = picture.brain & prepared_ct.brain
    assert dice(picture.brain, prepared_ct.brain) > 0.999
    difference = (picture.tensor - prepared_ct.tensor)[0, 0].abs().numpy()[both]
    assert np.quantile(difference, 0.999) < 0.01  # half a grey is 0.004
    assert difference.max() < 0.06  # at an edge, where the alignments differ by a hair
    assert picture.scale == pytest.approx(prepared_ct.scale * 255 / 80, rel=0.01)


def test_what_a_ct_shows_goes_back_to_hounsfield_units(prepared_ct: Prepared) -> None:
    image = prepared_ct.tensor[0, 0].numpy()
    units = prepared_ct.in_scanner_units(image)[prepared_ct.brain]
    assert 28 < np.median(units) < 38


def test_a_ct_of_other_values_is_refused_with_what_to_export(
    ct_head: Volume, head_network: HeadNetwork
) -> None:
    shifted = replace(ct_head, array=ct_head.array + 1024, modality="CT")
    with pytest.raises(PreparationError, match=r"neither Hounsfield units .* export Hounsfield units"):
        prepare(shifted, head_network)


def test_a_whole_head_without_a_skull_given_as_ct_is_refused(prepared_ct: Prepared) -> None:
    grid = prepared_ct.to_input.working
    mr = Volume(np.where(prepared_ct.brain, 120, 40), grid.affine, modality="CT", name="mr.nii.gz")
    tissue = np.zeros((3, *grid.shape), np.float32)
    reading = HeadReading(grid, mr.array, prepared_ct.brain, tissue, tissue, stripped=False)
    with pytest.raises(PreparationError, match=r"mr\.nii\.gz: nothing in it is as bright .* as a skull"):
        computed_tomography.without_skull(reading, computed_tomography.windowed(mr))
    stripped = replace(reading, stripped=True)
    kept, _ = computed_tomography.without_skull(stripped, computed_tomography.windowed(mr))
    assert (kept.brain == prepared_ct.brain).all()


def test_another_window_than_the_brains_is_refused_with_its_median() -> None:
    brain = np.ones((4, 4, 4), bool)
    with pytest.raises(PreparationError, match="median is 20 of 255"):
        computed_tomography.scaled(np.full(brain.shape, 20, np.float32), brain, "scan")


def test_ct_is_refused_by_mr_models_and_mr_by_ct_models(prepared_ct: Prepared) -> None:
    seen = prepared_ct.observations
    assert judge(seen, ("CT",)).verdict != "refuse"
    assert "the scan is CT; the model knows T1, FLAIR" in judge(seen, ("T1", "FLAIR")).reasons
    flair = judge(replace(seen, guessed="FLAIR"), ("CT",))
    assert flair.verdict == "refuse"
    assert flair.reasons[0].startswith("the scan is FLAIR; the model knows CT; a CT that isn't in Hounsfield")
    given = judge(replace(seen, guessed="CT", asked="T1"), ("T1",))
    assert "given as T1, but it looks like CT" in given.reasons


@pytest.fixture(scope="module")
def ct_detector(tmp_path_factory: pytest.TempPathFactory, ct_head: Volume, prepared_ct: Prepared) -> Detector:
    """A small untrained CT model, calibrated on the head and written as a model folder."""
    folder = tmp_path_factory.mktemp("models") / "small-ct"
    folder.mkdir()
    config = read_config(CONFIG)
    config = replace(config, options=config.options | SMALL)
    torch.manual_seed(0)
    family = make_family(config.options["family"], windowed=True, **SMALL)
    save_file({name: value.half() for name, value in family.state_dict().items()}, folder / WEIGHTS)
    write_card(zoo_card(config, folder, {}))
    case = HealthyCase(ct_head, prepared_ct)
    model = SliceModel(read_card(folder))
    calibrate(model, "CT", {"train": [case], "val": [case], "external": []}, Console(quiet=True))
    return load_detector(read_card(folder), contrast="CT")


def test_a_fresh_bleed_in_a_ct_walks_the_road_to_a_bright_finding(
    ct_head: Volume, head_network: HeadNetwork, ct_detector: Detector
) -> None:
    ijk = np.indices(ct_head.array.shape).reshape(3, -1).T
    ras = ijk @ ct_head.affine[:3, :3].T + ct_head.affine[:3, 3]
    bleed = (np.linalg.norm(ras - (28.0, -10.0, 25.0), axis=1) < 12).reshape(ct_head.array.shape)
    ill = ct_head.with_array(np.where(bleed, 68, ct_head.array).astype(np.float32))
    detection = detect(ill, head_network, lambda contrast: ct_detector)
    assert detection.card.contrasts == ("CT",)
    assert ct_detector.false_alarms is not None
    largest = max(detection.findings.table, key=lambda row: row.volume_ml)
    assert largest.sign == "bright"
    assert dice(detection.findings.labelmap == largest.id, bleed) > 0.5


def test_an_mr_scan_is_refused_by_a_ct_model(
    patient: Volume, head_network: HeadNetwork, ct_detector: Detector
) -> None:
    with pytest.raises(ScanRefused, match="the scan is T1; the model knows CT"):
        detect(patient, head_network, lambda contrast: ct_detector)


def test_each_own_slice_stands_beside_the_working_slice_nearest_to_it(prepared_ct: Prepared) -> None:
    own, nearest = own_slices(prepared_ct)
    assert len(own) == len(nearest) > 20
    assert (np.diff(nearest) >= 1).all()
    assert np.median(np.diff(nearest)) == 2  # slices of 4 mm on a grid of 2 mm


def test_a_real_head_aligns(data: Path, head_network: HeadNetwork) -> None:
    patient = next(one for one in ct_patients(data, "val") if one.ill)
    prepared = prepare(read_volume(patient.path, "CT"), head_network)
    assert prepared.alignment_overlap > 0.9
    assert judge(prepared.observations, ("CT",)).verdict == "warn"  # slices of 5 mm
