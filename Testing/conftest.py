"""What the tests share: the simulated patient, the road walked once, and the development data where there is
any.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detection, Detector, detect, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import Volume

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
def detector() -> Detector:
    """The model that a T1 scan gets by default."""
    return load_detector(zoo.choose("auto", "T1"))


@pytest.fixture(scope="session")
def detection(patient: Volume, head_network: HeadNetwork, detector: Detector) -> Detection:
    """The patient's findings."""
    return detect(patient, head_network, lambda contrast: detector)
