"""The real background process on a small version of the simulated patient."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from AnomalyDetectLib import pipeline, worker
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.io.write import RESULT_FILES, write_nifti
from AnomalyDetectLib.volume import Grid, Volume, resample
from AnomalyDetectLib.worker import Worker, listen, memory_message
from AnomalyDetectLib.worker_client import WorkerClient, worker_command

STAGES = ["load", "read", "prepare", "rebuild", "score", "find", "write"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory, patient: Volume) -> Path:
    """The patient at 2 mm, for speed, in a folder with a blank and signs beyond ASCII."""
    i, j, k = (size // 2 for size in patient.array.shape)
    grid = Grid((i, j, k), patient.affine @ np.diag([2.0, 2, 2, 1]))
    path = tmp_path_factory.mktemp("Fälle eins") / "患者 01.nii.gz"
    write_nifti(resample(patient.array, patient.grid, grid), grid, path)
    return path


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    """A client of the real worker."""
    client = WorkerClient(worker_command(sys.executable))
    yield client
    client.close()


def ask(client: WorkerClient, request: dict, seconds: float = 240.0) -> list[dict]:
    """All answers to one request."""
    client.submit(request)
    found: list[dict] = []
    end = time.monotonic() + seconds
    while client.busy and time.monotonic() < end:
        found += client.poll()
        time.sleep(0.01)
    assert not client.busy, found
    return [answer for answer in found if answer["type"] != "ready"]


@pytest.fixture(scope="module")
def answered(client: WorkerClient, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The answers to one detection, at a threshold at which atlas-z finds something."""
    out = tmp_path_factory.mktemp("out ü")
    request = {"type": "detect", "id": "a", "input": str(scan), "out": str(out), "model": "atlas-z"}
    options = {"device": "cpu", "brain_mask": None, "modality": "auto", "false_alarms": 10.0}
    return ask(client, request | options)


def test_a_detection_tells_its_stages_and_ends_with_the_files(answered: list[dict]) -> None:
    *progress, done = answered
    assert [answer["stage"] for answer in progress] == STAGES
    fractions = [answer["fraction"] for answer in progress]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] < 1
    assert [answer["seconds"] for answer in progress] == sorted(answer["seconds"] for answer in progress)
    assert {answer["id"] for answer in answered} == {"a"}
    assert done["type"] == "done", done
    assert {Path(file).name for file in done["files"].values()} == set(RESULT_FILES)
    assert all(Path(file).is_file() for file in done["files"].values())
    assert done["report"] == json.loads(Path(done["files"]["report"]).read_text(encoding="utf-8"))
    assert Path(done["folder"]).name == "患者 01"
    brain = read_volume(Path(done["folder"]) / "brain.nii.gz").array != 0
    assert brain[read_volume(done["files"]["score"]).array != 0].all()
    assert 0.05 < brain.mean() < 0.6


def test_a_question_why_is_answered_with_a_picture_and_a_wrong_one_with_a_line(
    client: WorkerClient, answered: list[dict], scan: Path
) -> None:
    folder = Path(answered[-1]["folder"])
    finding = answered[-1]["report"]["findings"][0]["id"]
    asked = {"type": "explain", "id": "w", "folder": str(folder), "finding": finding, "device": "cpu"}
    *progress, explained = ask(client, asked)
    assert explained["type"] == "explained", explained
    assert [answer["stage"] for answer in progress][:3] == ["load", "prepare", "compare"]
    assert progress[-1]["stage"] == "write"
    assert Path(explained["files"]["picture"]).parent == folder / f"why_{finding}"
    assert Path(explained["files"]["picture"]).is_file()
    assert explained["numbers"]["models"][0]["model"] == "atlas-z"
    for wrong, told in (({"finding": 99}, "no such finding"), ({"finding": "1"}, "number of a finding")):
        (error,) = [answer for answer in ask(client, asked | wrong) if answer["type"] != "progress"]
        assert error["type"] == "error"
        assert told in error["message"]


def test_what_the_viewer_needs_beside_the_results_is_there_or_not_with_them(
    scan: Path, tmp_path: Path, detection: pipeline.Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(pipeline, "load_head_network", lambda: "network")
    own = Worker(lambda _: None, threading.Event())
    folder, seen = tmp_path / "case", []
    for maps in (detection.maps, replace(detection.maps, region=None)):
        monkeypatch.setattr(pipeline, "detect", lambda *_, maps=maps, **__: replace(detection, maps=maps))
        own.answer({"type": "detect", "input": str(scan), "out": str(tmp_path), "case": "case"})
        seen.append({path.name for path in folder.iterdir()} - set(RESULT_FILES))
    assert seen == [{"brain.nii.gz", "regions.nii.gz"}, {"brain.nii.gz"}]


def test_a_second_sequence_reaches_the_road_with_its_contrast_and_the_viewer_learns_which_one_spoke(
    scan: Path, tmp_path: Path, detection: pipeline.Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    seen: list[Volume | None] = []
    spoke = np.where(detection.maps.brain, 2, 0).astype(np.uint8)
    maps = replace(detection.maps, sequence=spoke, sequence_names=("T1", "FLAIR"))

    def detect(*_: object, also: Volume | None = None, **__: object) -> pipeline.Detection:
        seen.append(also)
        return replace(detection, maps=maps)

    monkeypatch.setattr(pipeline, "load_head_network", lambda: "network")
    monkeypatch.setattr(pipeline, "detect", detect)
    sent: list[dict] = []
    request = {"type": "detect", "input": str(scan), "out": str(tmp_path), "case": "case"}
    own = Worker(sent.append, threading.Event())
    own.answer(request | {"also": str(scan), "also_modality": "FLAIR"})
    assert sent[-1]["type"] == "done", sent[-1]
    assert seen[0] is not None
    assert (seen[0].modality, seen[0].name) == ("FLAIR", scan.name)
    assert np.array_equal(read_volume(tmp_path / "case" / "sequences.nii.gz").array, spoke)
    assert sent[-1]["report"]["sequences"] == ["T1", "FLAIR"]
    own.answer(request)
    assert seen[1] is None


def test_networks_and_models_are_loaded_once_for_many_cases(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def detect(_: object, network: object, detector_for: Callable, **__: object) -> object:
        detector_for("T1")
        return SimpleNamespace(maps=SimpleNamespace(region=None, brain=None))

    monkeypatch.setattr(pipeline, "load_head_network", lambda: loaded.append("network") or "network")
    monkeypatch.setattr(
        pipeline, "load_detector", lambda card, device, contrast: loaded.append(card.name) or card
    )
    monkeypatch.setattr(pipeline, "detect", detect)
    written = SimpleNamespace(to_dict=dict)
    monkeypatch.setattr("AnomalyDetectLib.report.write_case.write_case", lambda *_, **__: written)
    sent: list[dict] = []
    own = Worker(sent.append, threading.Event())
    for model in ("atlas-z", "atlas-z", "intensity", "atlas-z"):
        own.answer(
            {"type": "detect", "input": str(scan), "out": str(tmp_path), "model": model, "device": "cpu"}
        )
    assert [answer["type"] for answer in sent if answer["type"] != "progress"] == ["done"] * 4
    assert loaded == ["network", "atlas-z", "intensity"]


def test_a_scan_that_cannot_be_read_gives_one_line_and_leaves_nothing(
    client: WorkerClient, tmp_path: Path
) -> None:
    bad = tmp_path / "bad scan.nii.gz"
    bad.write_bytes(b"no image")
    (error,) = ask(client, {"type": "detect", "id": 5, "input": str(bad), "out": str(tmp_path / "out")})[-1:]
    assert (error["type"], error["id"]) == ("error", 5)
    assert "bad scan.nii.gz" in error["message"]
    assert "\n" not in error["message"]
    assert not (tmp_path / "out").exists()
    assert client.running


def test_whether_the_scan_fits_is_answered_without_a_detection(client: WorkerClient, scan: Path) -> None:
    (fit,) = ask(client, {"type": "check", "id": 6, "input": str(scan)})
    assert (fit["type"], fit["verdict"], fit["modality"]) == ("fit", "ok", "T1")
    assert fit["model"]


def test_a_contrast_that_the_model_does_not_know_is_a_refusal_with_the_reason(
    client: WorkerClient, scan: Path
) -> None:
    (fit,) = ask(client, {"type": "check", "input": str(scan), "modality": "T2", "model": "atlas-z"})
    assert fit["verdict"] == "refuse"
    assert any("T2" in reason for reason in fit["reasons"])


def test_a_scan_that_does_not_fit_is_told_apart_from_an_error(
    client: WorkerClient, scan: Path, tmp_path: Path
) -> None:
    request = {"type": "detect", "input": str(scan), "out": str(tmp_path / "out"), "modality": "T2"}
    (answer,) = ask(client, request | {"model": "atlas-z"})[-1:]
    assert (answer["type"], answer["refused"]) == ("error", True)
    assert "T2" in answer["message"]


def test_the_devices_are_listed_and_the_cpu_is_the_last(client: WorkerClient) -> None:
    (answer,) = ask(client, {"type": "devices", "id": 1})
    assert answer["devices"][-1]["name"] == "cpu"


def test_a_cancelled_detection_leaves_no_results_and_no_process(scan: Path, tmp_path: Path) -> None:
    own = WorkerClient(worker_command(sys.executable))
    own.submit({"type": "detect", "id": 1, "input": str(scan), "out": str(tmp_path / "out")})
    end = time.monotonic() + 240
    while not any(answer.get("stage") == "prepare" for answer in own.poll()) and time.monotonic() < end:
        time.sleep(0.01)
    process = psutil.Process(own._child._process.pid)
    own.cancel()
    assert own.poll() == [{"type": "cancelled", "id": 1}]
    process.wait(10)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"type": "detect", "out": "x"}, "'input'"),
        ({"type": "detect", "input": "x"}, "'out'"),
        ({"type": "dance"}, "'dance'"),
        ({"type": "detect", "input": "no such.nii", "out": "x"}, "no such.nii"),
    ],
)
def test_a_request_that_lacks_something_says_what(request_: dict, expected: str) -> None:
    sent: list[dict] = []
    Worker(sent.append, threading.Event()).answer(request_)
    assert sent[-1]["type"] == "error"
    assert expected in sent[-1]["message"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "choose the device CPU"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "crop the scan"),
        (np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f4")), "close other programs"),
        (MemoryError(), "close other programs"),
    ],
)
def test_memory_that_runs_out_is_said_with_the_remedy_and_leaves_nothing(
    error: Exception, remedy: str, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "load_head_network", lambda: "network")
    monkeypatch.setattr(pipeline, "detect", fail)
    sent: list[dict] = []
    own = Worker(sent.append, threading.Event())
    own.answer({"type": "detect", "input": str(scan), "out": str(tmp_path / "out")})
    assert sent[-1]["type"] == "error"
    assert remedy in sent[-1]["message"]
    assert type(error).__name__ in sent[-1]["details"]
    assert not (tmp_path / "out").exists()
    assert own._network is None


def test_another_error_is_not_taken_for_memory() -> None:
    assert memory_message(ValueError("wrong shape")) == ""


def test_a_case_that_nobody_waits_for_is_not_written(
    scan: Path, tmp_path: Path, detection: pipeline.Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()

    def detect(*_: object, **__: object) -> pipeline.Detection:
        stopping.set()
        return detection

    monkeypatch.setattr(pipeline, "load_head_network", lambda: "network")
    monkeypatch.setattr(pipeline, "detect", detect)
    Worker(lambda _: None, stopping).answer(
        {"type": "detect", "input": str(scan), "out": str(tmp_path / "o")}
    )
    assert not (tmp_path / "o").exists()


def test_a_line_that_is_not_json_is_answered_and_shutdown_ends_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "end_soon", lambda: None)
    sent: list[dict] = []
    requests: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()
    lines = 'nonsense\n\n{"type": "devices"}\n{"type": "shutdown"}\n{"type": "devices"}\n'
    listen(io.StringIO(lines), requests, sent.append, stop)
    assert "nonsense" in sent[0]["message"]
    assert stop.is_set()
    assert requests.get() == {"type": "devices"}
    assert requests.get() is None


PRINTS = """
import os, threading
from AnomalyDetectLib import worker
def noisy(self, request):
    print("from Python")
    os.write(1, b"from C\\n")
    self._send({"type": "done"})
worker.Worker.answer = noisy
worker.main()
"""


def test_whatever_prints_goes_to_standard_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write('{"type": "x"}\n')
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(2)]
    assert [json.loads(line)["type"] for line in lines] == ["ready", "done"]
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stdout.read() == ""
    assert process.stderr.read().split("\n")[:2] == ["from Python", "from C"]
    process.stdout.close()
    process.stderr.close()


@pytest.mark.skipif(os.name == "nt", reason="parents are watched through POSIX process ids")
def test_it_ends_when_its_parent_is_killed_even_if_another_process_holds_its_input(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "end, own = os.pipe()\n"
        "child = subprocess.Popen([sys.executable, '-m', 'AnomalyDetectLib.worker'], stdin=end)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'], pass_fds=[own],"
        " stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert json.loads(parent.stdout.readline()) == {"type": "ready"}
    holder = next(one for one in psutil.Process(parent.pid).children() if one.pid != child.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        child.wait(10)
    finally:
        holder.kill()
        parent.stdout.close()
