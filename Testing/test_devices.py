"""A model runs where there is room for it; what a GPU does is told by stand-ins, no GPU is needed here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from AnomalyDetectLib import devices
from AnomalyDetectLib.devices import bytes_needed, choose_device, with_room
from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.pipeline import Detection, Detector, detect
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.report.write_case import case_report
from AnomalyDetectLib.volume import Volume

GIGABYTE = 1_000_000_000


def test_a_device_that_is_not_there_is_said() -> None:
    with pytest.raises(ModelError, match="available"):
        choose_device("tpu")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Big GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 * GIGABYTE, 8 * GIGABYTE))
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert devices.devices()[0] == devices.Device("cuda", "Big GPU", 3 * GIGABYTE)
    assert devices.devices()[-1].name == "cpu"


def test_a_gpu_with_room_does_the_work_and_nothing_is_said() -> None:
    done, placed = with_room(lambda device: device.upper(), "cuda", GIGABYTE, lambda _: 2 * GIGABYTE)
    assert (done, placed.device, placed.warning) == ("CUDA", "cuda", "")


def test_a_gpu_without_room_is_left_alone_and_the_user_is_told() -> None:
    tried: list[str] = []
    _, placed = with_room(tried.append, "cuda", 2 * GIGABYTE, lambda _: GIGABYTE)
    assert tried == ["cpu"]
    assert placed.device == "cpu"
    assert "1.0 GB free, 2.0 GB are needed" in placed.warning
    assert "ran on the CPU" in placed.warning


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("cuda", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")),
        ("cuda", RuntimeError("CUDA error: out of memory")),
        ("mps", RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")),
    ],
)
def test_when_a_gpus_memory_runs_out_the_cpu_takes_over(device: str, error: Exception) -> None:
    tried: list[str] = []

    def work(where: str) -> str:
        tried.append(where)
        if where != "cpu":
            raise error
        return "done"

    done, placed = with_room(work, device, GIGABYTE, lambda _: None)
    assert tried == [device, "cpu"]
    assert (done, placed.device) == ("done", "cpu")
    assert "memory ran out" in placed.warning


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("cuda", RuntimeError("CUDA error: an illegal memory access was encountered")),
        ("cpu", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        ("cuda", ValueError("out of memory, says CUDA's cousin")),
    ],
)
def test_another_error_is_not_hidden_by_a_second_try(device: str, error: Exception) -> None:
    tried: list[str] = []

    def fail(where: str) -> None:
        tried.append(where)
        raise error

    with pytest.raises(type(error)):
        with_room(fail, device, GIGABYTE, lambda _: 2 * GIGABYTE)
    assert tried == [device]


def test_what_is_needed_grows_with_the_scan_and_fits_a_small_gpu() -> None:
    working_grid = 80 * 96 * 80
    assert bytes_needed(working_grid) < bytes_needed(2 * working_grid)
    assert bytes_needed(working_grid) < 2 * GIGABYTE


class Crowded:
    """The real model on a GPU whose memory always runs out."""

    def __init__(self, detector: Detector) -> None:
        self.card, self._model = detector.card, detector.model

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """As the real one, on the CPU alone."""
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._model.rebuild(prepared)


def test_the_report_says_that_the_cpu_took_over(
    patient: Volume,
    head_network: HeadNetwork,
    detector: Detector,
    detection: Detection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: None)
    crowded = replace(detector, model=Crowded(detector), device="cuda")
    found = detect(patient, head_network, lambda contrast: crowded)
    report = case_report(found, "patient", "patient.nii.gz").to_dict()
    assert report["device"] == "cpu"
    assert any("the GPU's memory ran out" in warning for warning in report["warnings"])
    assert len(found.findings) == len(detection.findings)
