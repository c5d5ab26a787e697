"""What a CUDA GPU does, it does as the CPU would; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from AnomalyDetectLib.explain import attribution
from AnomalyDetectLib.explain.write_why import explain_case
from AnomalyDetectLib.pipeline import Detection, Detector, detect
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.report.write_case import write_case
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.training.anatomy import AnatomyTask, corrupted
from AnomalyDetectLib.training.loop import LoopSettings, train
from AnomalyDetectLib.volume import Volume
from Testing.training.even_scan import even_scan

SCAN = resource("SampleData", "demo_t1.nii.gz")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def on_gpu(patient: Volume, head_network: HeadNetwork, detector: Detector) -> Detection:
    """The simulated patient, its model on the GPU."""
    return detect(patient, head_network, lambda contrast: replace(detector, device="cuda"))


def test_a_gpu_finds_what_the_cpu_finds(detection: Detection, on_gpu: Detection) -> None:
    assert on_gpu.device == "cuda"
    assert not on_gpu.warnings
    difference = np.abs(on_gpu.maps.score - detection.maps.score)[detection.maps.brain]
    assert np.quantile(difference, 0.99) < 0.05, "hundredths of a standard deviation"
    volumes = [[row.volume_ml for row in one.findings.table] for one in (detection, on_gpu)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.02, abs=0.02)


def test_a_finding_is_explained_on_the_gpu(
    on_gpu: Detection, head_network: HeadNetwork, detector: Detector, tmp_path: Path
) -> None:
    write_case(on_gpu, tmp_path, "patient", str(SCAN))
    loaded = replace(detector, device="cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "STEPS", 3)
        patch.setattr(attribution, "MOST_BLOCKS", 4)
        _, numbers = explain_case(
            tmp_path / "patient", on_gpu.findings.table[0].id, head_network, lambda card, contrast: loaded
        )
    assert numbers


class OneBrain(AnatomyTask):
    """Lesions in the template's brain, without any data."""

    def __init__(self) -> None:
        self.scan = even_scan()
        self.network = self.architecture()
        self.held_out = [self._sample(np.random.default_rng(n)) for n in range(2)]

    def _sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return corrupted(rng, self.scan.image.float(), self.scan.tissue, self.scan.brain, noise=0.02)


def test_the_flagship_is_trained_and_resumed_on_the_gpu(tmp_path: Path) -> None:
    settings = LoopSettings(
        steps=4, optimizer="muon", validate_every=2, checkpoint_minutes=0, device="cuda", workers=2
    )
    train(OneBrain(), replace(settings, steps=2), tmp_path)
    assert train(OneBrain(), settings, tmp_path).is_file()
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
