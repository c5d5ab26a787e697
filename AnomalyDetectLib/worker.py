"""The background process that holds the models: requests in, progress and file names out, as lines of JSON.

A request is one line on standard input; every answer is one line on standard output and carries the request's
`id`, if it had one. Paths are strings.

    {"type": "detect", "id", "input", "out", "case", "brain_mask", "modality", "also", "also_modality",
     "model", "device", "false_alarms", "age"}
        input, out: needed. out: the folder that gets the sub-folder `case` (else called as the input is).
        also: a second sequence of the same patient, on any grid. modality, also_modality, model, device:
        "auto" or null lets the road choose. false_alarms: in a healthy brain
    {"type": "check", "id", "input", "brain_mask", "modality", "model", "age"}
        does the scan fit the model?
    {"type": "explain", "id", "folder", "finding", "input", "also", "brain_mask", "device"}
        why is a finding one? folder: of a case. finding: its number there. input, also, brain_mask: in place
        of the files that the case's report names, null where those are good
    {"type": "devices", "id"}
        where can models run? Loads torch: asked early, it makes the first detection seconds faster
    {"type": "shutdown"}

    {"type": "ready"}
        once, before all else
    {"type": "progress", "id", "stage", "fraction", "seconds"}
        fraction: 0-1. seconds: since the request was begun. stage: see `BEHIND`, and `EXPLAINED` of explain
    {"type": "done", "id", "folder", "files", "report", "seconds"}
        files: path by name, see `FILES`. report: what report.json holds
    {"type": "fit", "id", "verdict", "reasons", "modality", "model", "brain_ml", "seconds"}
        verdict: ok, warn or refuse
    {"type": "explained", "id", "folder", "files", "numbers", "seconds"}
        files: "picture" and "numbers", paths. numbers: what why.json holds
    {"type": "devices", "id", "devices": [{"name", "label", "free_bytes"}]}
        the fastest first; free_bytes: of a GPU, else null
    {"type": "error", "id", "message", "details", "refused"}
        refused: whether the scan doesn't fit the model. The process goes on

It ends when its input closes or its parent dies, and lets the system end it first when memory runs out.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from AnomalyDetectLib.errors import AnomalyDetectError, Cancelled, ScanRefused

Request = dict[str, Any]
Send = Callable[[dict[str, Any]], None]

FILES = {
    "healthy": "healthy.nii.gz",
    "residual": "residual.nii.gz",
    "score": "score.nii.gz",
    "uncertainty": "uncertainty.nii.gz",
    "mask": "mask.nii.gz",
    "findings": "findings.csv",
    "report": "report.json",
    "preview": "preview.png",
}
# The share of the whole that lies behind when a stage begins: measured at 1 mm on two cores.
BEHIND = {
    "load": 0.0,
    "read": 0.02,
    "prepare": 0.05,
    "rebuild": 0.5,
    "score": 0.65,
    "find": 0.75,
    "write": 0.88,
}
# The same of an explanation.
EXPLAINED = {"load": 0.0, "prepare": 0.05, "compare": 0.3, "attribute": 0.4, "occlude": 0.65, "write": 0.95}
# What is left of the time to stop by itself, once nobody listens any more.
GRACE_SECONDS = 5.0
PARENT_WATCH_SECONDS = 1.0


class RequestError(AnomalyDetectError):
    """A request that lacks something or asks for what there isn't."""


class Worker:
    """Answers requests one after the other; keeps what it has loaded.

    send: gives one answer to the client. stopping: set when nobody waits for an answer any more.
    """

    def __init__(self, send: Send, stopping: threading.Event) -> None:
        self._send = send
        self._stopping = stopping
        self._network: Any = None
        self._detectors: dict[tuple[str, str, str, str], Any] = {}
        self._answers: dict[str, Callable[[Request, Send], None]] = {
            "detect": self._detect,
            "check": self._check,
            "explain": self._explain,
            "devices": self._devices,
        }

    def answer(self, request: Request) -> None:
        """Do what one request asks for; whatever goes wrong becomes an `error` answer."""
        identity = {"id": request["id"]} if "id" in request else {}

        def send(message: dict[str, Any]) -> None:
            self._send(message | identity)

        try:
            kind = request.get("type")
            if kind not in self._answers:
                raise RequestError(
                    f"request of type {kind!r}; give one of {', '.join(self._answers)}, shutdown"
                )
            self._answers[kind](request, send)
        except Cancelled:
            pass
        except AnomalyDetectError as error:
            refused = isinstance(error, ScanRefused)
            send({"type": "error", "message": str(error), "details": "", "refused": refused})
        except Exception as error:
            message = memory_message(error) or f"unexpected {type(error).__name__}: {error}"
            if memory_message(error):
                self._forget()
            details = traceback.format_exc()
            print(details, file=sys.stderr, flush=True)
            send({"type": "error", "message": message, "details": details})

    def _detect(self, request: Request, send: Send) -> None:
        began = time.perf_counter()

        def progress(stage: str) -> None:
            if stage in BEHIND:
                seconds = round(time.perf_counter() - began, 2)
                send({"type": "progress", "stage": stage, "fraction": BEHIND[stage], "seconds": seconds})

        progress("load")  # the first time, torch alone takes seconds
        from AnomalyDetectLib import pipeline
        from AnomalyDetectLib.io.read import case_name
        from AnomalyDetectLib.report.write_case import write_case

        source, out = Path(needed(request, "input")), Path(needed(request, "out"))
        false_alarms = float(request.get("false_alarms") or 1.0)
        case = str(request.get("case") or case_name(source))
        network = self._head_network()
        progress("read")
        volume, mask = read(request)
        also = read_also(request)
        detection = pipeline.detect(
            volume,
            network,
            lambda contrast: self._detector(request, contrast),
            also=also,
            brain_mask=mask,
            expected_false_alarms=false_alarms,
            age=request.get("age"),
            progress=lambda stage, _: progress(stage),
            cancelled=self._stopping.is_set,
        )
        if self._stopping.is_set():
            raise Cancelled(f"{case}: stopped before write")
        progress("write")
        named = str(request.get("also") or "")
        report = write_case(detection, out, case, str(source), for_viewer=True, also=named)
        folder = out / case
        send(
            {
                "type": "done",
                "folder": str(folder),
                "files": {name: str(folder / file) for name, file in FILES.items()},
                "report": report.to_dict(),
                "seconds": round(time.perf_counter() - began, 2),
            }
        )

    def _check(self, request: Request, send: Send) -> None:
        from AnomalyDetectLib.models import zoo
        from AnomalyDetectLib.prepare.prepare import prepare
        from AnomalyDetectLib.prepare.scan_fit import judge

        began = time.perf_counter()
        volume, mask = read(request)
        prepared = prepare(volume, self._head_network(), brain_mask=mask, age=request.get("age"))
        answer: dict[str, Any] = {
            "type": "fit",
            "modality": prepared.modality,
            "model": None,
            "brain_ml": round(prepared.observations.brain_ml, 1),
        }
        try:
            card = zoo.choose(request.get("model") or "auto", prepared.modality)
            fit = judge(prepared.observations, card.contrasts, card.age_range)
            answer |= {"model": card.name, "verdict": fit.verdict, "reasons": list(fit.reasons)}
        except AnomalyDetectError as error:
            answer |= {"verdict": "refuse", "reasons": [str(error)]}
        send(answer | {"seconds": round(time.perf_counter() - began, 2)})

    def _explain(self, request: Request, send: Send) -> None:
        began = time.perf_counter()

        def progress(stage: str, _: float = 0.0) -> None:
            if stage in EXPLAINED:
                seconds = round(time.perf_counter() - began, 2)
                fraction = EXPLAINED[stage]
                send({"type": "progress", "stage": stage, "fraction": fraction, "seconds": seconds})

        progress("load")
        from AnomalyDetectLib.explain.case import Sources
        from AnomalyDetectLib.explain.write_why import explain_case

        folder, numbers = explain_case(
            Path(needed(request, "folder")),
            finding_of(request),
            self._head_network(),
            lambda card, contrast: self._loaded(card, request, contrast),
            Sources(*(path_of(request, name) for name in ("input", "also", "brain_mask"))),
            progress=progress,
            cancelled=self._stopping.is_set,
        )
        files = {"picture": str(folder / "why.png"), "numbers": str(folder / "why.json")}
        seconds = round(time.perf_counter() - began, 2)
        answer = {"type": "explained", "folder": str(folder), "files": files, "numbers": numbers}
        send(answer | {"seconds": seconds})

    def _devices(self, request: Request, send: Send) -> None:
        from AnomalyDetectLib.devices import devices

        send({"type": "devices", "devices": [asdict(device) for device in devices()]})

    def _head_network(self) -> Any:
        from AnomalyDetectLib import pipeline

        if self._network is None:
            self._network = pipeline.load_head_network()
        return self._network

    def _detector(self, request: Request, contrast: str) -> Any:
        from AnomalyDetectLib.models import zoo

        return self._loaded(zoo.choose(request.get("model") or "auto", contrast), request, contrast)

    def _loaded(self, card: Any, request: Request, contrast: str) -> Any:
        from AnomalyDetectLib import pipeline
        from AnomalyDetectLib.devices import choose_device

        device = choose_device(request.get("device") or "auto")
        key = (card.name, card.version, device, contrast)
        if key not in self._detectors:
            self._detectors[key] = pipeline.load_detector(card, device, contrast)
        return self._detectors[key]

    def _forget(self) -> None:
        """Give back what is held, so that the next case has a chance."""
        self._network = None
        self._detectors.clear()
        with contextlib.suppress(Exception):
            import torch

            torch.cuda.empty_cache()


def read(request: Request) -> tuple[Any, Any]:
    """The scan that a request names, and its brain mask (i,j,k) or None."""
    from AnomalyDetectLib.io.read import read_mask, read_volume

    volume = read_volume(needed(request, "input"), chosen(request, "modality"))
    mask = request.get("brain_mask")
    return volume, None if mask is None else read_mask(mask, volume.grid)


def read_also(request: Request) -> Any:
    """The second sequence that a request names, or None."""
    from AnomalyDetectLib.io.read import read_volume

    if not request.get("also"):
        return None
    return read_volume(needed(request, "also"), chosen(request, "also_modality"))


def chosen(request: Request, name: str) -> str | None:
    """A contrast that the request gives; None where it is to be guessed."""
    value = request.get(name) or "auto"
    return None if value == "auto" else str(value)


def path_of(request: Request, name: str) -> Path | None:
    """A path that the request may leave out."""
    value = request.get(name)
    return Path(value) if isinstance(value, str) and value else None


def finding_of(request: Request) -> int:
    """The number of the finding that is asked about. Raises `RequestError`."""
    value = request.get("finding")
    if not isinstance(value, int) or isinstance(value, bool):
        raise RequestError(f"request 'explain' with finding {value!r}; give the number of a finding")
    return value


def needed(request: Request, name: str) -> str:
    """A string that the request can't do without. Raises `RequestError`."""
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"request {request.get('type')!r} without {name!r}; give a path")
    return value


def memory_message(error: BaseException) -> str:
    """What to tell the reader when memory ran out; "" for any other error."""
    kind, text = type(error).__name__, str(error).lower()
    if kind == "OutOfMemoryError" or ("cuda" in text and "out of memory" in text):
        return (
            "the GPU has not enough free memory for this scan; choose the device CPU, or close other "
            "programs that use the GPU, and run again"
        )
    exhausted = ("not enough memory", "can't allocate memory", "bad_alloc", "out of memory")
    if isinstance(error, MemoryError) or any(phrase in text for phrase in exhausted):
        return (
            "this computer has not enough free memory for this scan; close other programs, or crop the "
            "scan to the head or resample it to 1 mm, and run again"
        )
    return ""


def protected_output() -> TextIO:
    """The real standard output, for answers alone; whatever else prints, in C too, goes to standard error."""
    sys.stdout.flush()
    own = os.dup(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(own, "w", encoding="utf-8", newline="\n")


def sender(stream: TextIO, stopping: threading.Event) -> Send:
    """A function that writes one answer; a client that is gone sets `stopping`."""

    def send(message: dict[str, Any]) -> None:
        try:
            stream.write(json.dumps(message) + "\n")
            stream.flush()
        except (OSError, ValueError):
            stopping.set()

    return send


def listen(
    stream: TextIO, requests: queue.SimpleQueue[Request | None], send: Send, stop: threading.Event
) -> None:
    """Queue every request of `stream`; at its end, or at shutdown, stop what runs."""
    for line in stream:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as error:
            send(
                {
                    "type": "error",
                    "message": f"a request that isn't JSON ({error}): {line[:80]!r}",
                    "details": "",
                }
            )
            continue
        if request.get("type") == "shutdown":
            break
        requests.put(request)
    stop.set()
    requests.put(None)
    end_soon()


def watch_parent(requests: queue.SimpleQueue[Request | None], stop: threading.Event) -> None:
    """Set `stop` when the process that started this one is gone: another may still hold our input open."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(PARENT_WATCH_SECONDS)
    stop.set()
    requests.put(None)
    end_soon()


def end_soon() -> None:
    """End the process after a time in which it could have stopped by itself; a stage can't be interrupted."""
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def be_modest() -> None:
    """Let the viewer go first: lower priority, and the first to be ended when memory runs out (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def main() -> None:
    """Answer requests until the input closes."""
    output = protected_output()
    be_modest()
    stopping = threading.Event()
    send = sender(output, stopping)
    requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    commands = open(sys.stdin.fileno(), encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
    for work, arguments in (
        (listen, (commands, requests, send, stopping)),
        (watch_parent, (requests, stopping)),
    ):
        threading.Thread(target=work, args=arguments, daemon=True).start()
    worker = Worker(send, stopping)
    send({"type": "ready"})
    while not stopping.is_set() and (request := requests.get()) is not None:
        worker.answer(request)
    output.close()
    os._exit(0)  # the listening thread may hold the input's lock, over which an orderly exit would stumble


if __name__ == "__main__":
    main()
