"""What the tests share: the simulated patient, the road walked once, and the development data where there is
any.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detection, Detector, detect, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import Affine, Grid, Volume, resample

# Deep in the left hemisphere's white matter, where the patient has no lesion.
SECOND_LESION_RAS = (-26.0, -18.0, 28.0)
DATA = Path(os.environ.get("ANOMALYDETECT_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The development data; tests that need it are skipped where it is not."""
    if not DATA.is_dir():
        pytest.skip("the development data is not here; set ANOMALYDETECT_DATA to its folder")
    return DATA


@pytest.fixture(scope="session")
def head_network() -> HeadNetwork:
    """The shipped network that finds the brain."""
    return load_head_network()


@pytest.fixture(scope="session")
def patient() -> Volume:
    """The bundled simulated patient."""
    return read_volume(resource("SampleData", "demo_t1.nii.gz"))


@pytest.fixture(scope="session")
def patient_truth() -> np.ndarray:
    """Labels of the patient's true lesions."""
    return read_volume(resource("SampleData", "demo_truth.nii.gz")).array.astype(np.int32)


@pytest.fixture(scope="session")
def prepared_patient(patient: Volume, head_network: HeadNetwork) -> Prepared:
    """The patient on the working grid."""
    return prepare(patient, head_network)


@pytest.fixture(scope="session")
def ct_head() -> Volume:
    """A head made of the template in Hounsfield units, air around it, in voxels of 1.5 x 1.5 x 4 mm."""
    template, margin = load_template(), 12
    tissue = np.pad(template.tissue, ((0, 0), *[(margin, margin)] * 3))
    inside = ndimage.binary_fill_holes(tissue.sum(0) > 0.5)
    units = np.tensordot((6.0, 38.0, 30.0), tissue, 1) / np.maximum(tissue.sum(0), 0.5)
    away = ndimage.distance_transform_edt(~inside) * 2
    layers = ((away < 14, 45.0), (away < 9, 900.0), (away < 3, 8.0), (inside, units))
    head = np.full(inside.shape, -1000.0)
    for where, value in layers:
        head = np.where(where, value, head)
    head += np.random.default_rng(0).normal(0, 2, head.shape)
    affine = template.grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
    fine = Grid((head.shape[0], head.shape[1], head.shape[2]), affine)
    i, j, k = (int(n * 2 / mm) for n, mm in zip(head.shape, (1.5, 1.5, 4.0), strict=True))
    grid = Grid((i, j, k), affine @ np.diag([0.75, 0.75, 2.0, 1.0]))
    array = resample(head.astype(np.float32), fine, grid, outside=-1000)
    return Volume(array, grid.affine, name="head.nii.gz")


@pytest.fixture(scope="session")
def prepared_ct(ct_head: Volume, head_network: HeadNetwork) -> Prepared:
    """The CT head on the working grid."""
    return prepare(ct_head, head_network)


@dataclass(frozen=True)
class SecondScan:
    """The patient again, elsewhere and on another grid. second_from_first: 4x4 rigid, RAS mm."""

    volume: Volume
    prepared: Prepared
    second_from_first: Affine


@pytest.fixture(scope="session")
def second_scan(patient: Volume, head_network: HeadNetwork) -> SecondScan:
    """The patient turned by 8 degrees and shifted by 17 mm, in voxels of 1.4 x 1.4 x 2.2 mm, with a bright
    ball of 8 mm radius at `SECOND_LESION_RAS`, which the first scan doesn't show.
    """
    angle = np.radians(8)
    moved = np.eye(4)
    moved[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    moved[:3, 3] = (12.0, -9.0, 8.0)
    ijk = np.indices(patient.array.shape).reshape(3, -1).T
    ras = ijk @ patient.affine[:3, :3].T + patient.affine[:3, 3]
    ball = (np.linalg.norm(ras - SECOND_LESION_RAS, axis=1) < 8).reshape(patient.array.shape)
    array = np.where(ball, 2 * np.percentile(patient.array, 98), patient.array).astype(np.float32)
    steps = np.array([1.4, 1.4, 2.2]) / patient.grid.spacing
    i, j, k = (int(size) for size in np.ceil(np.array(patient.array.shape) / steps))
    grid = Grid((i, j, k), moved @ patient.affine @ np.diag([*steps, 1.0]))
    values = resample(array, patient.grid, grid, source_from_target=np.linalg.inv(moved))
    volume = Volume(values, grid.affine, name="second.nii.gz")
    return SecondScan(volume, prepare(volume, head_network), moved)


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The model that a T1 scan gets by default."""
    return load_detector(zoo.choose("auto", "T1"))


@pytest.fixture(scope="session")
def detection(patient: Volume, head_network: HeadNetwork, detector: Detector) -> Detection:
    """The patient's findings."""
    return detect(patient, head_network, lambda contrast: detector)
