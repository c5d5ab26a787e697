"""The viewer's end of the worker: starts it, sends requests, collects answers, ends it. Never blocks.

Runs in Slicer's own Python before anything is installed there: standard library alone, Python 3.9 and newer.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parent
WINDOWS = os.name == "nt"
# Answers after which a request is over.
LAST_ANSWERS = ("done", "fit", "explained", "devices", "error")
KEPT_LINES = 20
CLOSE_SECONDS = 2.0

OUT_OF_MEMORY = (
    "the computer's memory ran out; close other programs, or crop the scan to the head, and run again"
)
# Windows: no memory, no commit space; a paging file that is too small.
WINDOWS_NO_MEMORY = (0xC0000017, 0xC000012D)
WINDOWS_CRASH = (0xC0000005, 0xC0000409, 0xC000001D)


def worker_command(python: str | None = None) -> list[str]:
    """The command that starts the worker with `python`, else with Slicer's own, else with this one."""
    return [python or shutil.which("PythonSlicer") or sys.executable, "-m", "AnomalyDetectLib.worker"]


class WorkerClient:
    """One worker process at a time: started by the first request, again by the first after its end.

    command: program and arguments, such as `worker_command()`. Nothing here raises for what the worker does:
    `poll` tells. Meant for one thread, the event loop's.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = list(command)
        self._child: _Child | None = None
        self._notes: collections.deque[dict[str, Any]] = collections.deque()
        self._waiting: list[Any] = []

    @property
    def running(self) -> bool:
        """Whether there is a process that takes requests."""
        return self._child is not None and self._child.alive

    @property
    def busy(self) -> bool:
        """Whether a request waits for its last answer to be polled."""
        return bool(self._waiting)

    def submit(self, request: dict[str, Any]) -> None:
        """Send a request (see `worker`); starts the process if there is none. Returns at once."""
        if not self.running:
            self._bury()
            try:
                self._child = _Child(self._command)
            except OSError as error:
                reason = error.strerror or str(error)
                text = f"the detection process could not be started: {self._command[0]}: {reason}"
                crash = {"type": "crashed", "message": text, "details": ""}
                self._notes.append(_with_id(crash, [request.get("id")]))
                return
        self._waiting.append(request.get("id"))
        assert self._child is not None
        self._child.write(request)

    def poll(self) -> list[dict[str, Any]]:
        """Everything that was answered since the last call, oldest first; empty when there is nothing.

        Besides the worker's own answers: {"type": "crashed", "message", "details"} when the process died,
        with the last lines that it wrote, and {"type": "cancelled"} after `cancel`. Both end all requests.
        """
        self._take(self._child)
        answers = list(self._notes)
        self._notes.clear()
        return answers

    def cancel(self) -> None:
        """End the process and its children, now; open requests end with {"type": "cancelled"}."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        if self._waiting:
            self._notes.append(_with_id({"type": "cancelled"}, self._waiting))
            self._waiting = []

    def close(self) -> None:
        """End the process for good: politely when it is idle, else like `cancel` without a message."""
        child, self._child = self._child, None
        if child is not None:
            child.close(idle=not self._waiting)
        self._waiting = []
        self._notes.clear()

    def _bury(self) -> None:
        """Hear the last of a process that has died, so that the next one starts with a clean slate."""
        if self._child is not None:
            self._child.join()
            self._take(self._child)
        self._child, self._waiting = None, []

    def _take(self, child: _Child | None) -> None:
        """Move what the process has answered to the notes, and settle which requests are over."""
        if child is None:
            return
        for answer in child.answers():
            if answer["type"] == "crashed":
                _with_id(answer, self._waiting)
                self._waiting = []
                self._child = None
            elif answer["type"] in LAST_ANSWERS and self._waiting:
                known = answer.get("id") in self._waiting
                self._waiting.remove(answer.get("id") if known else self._waiting[0])
            self._notes.append(answer)


class _Child:
    """One process with the threads that read it."""

    def __init__(self, command: list[str]) -> None:
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._last_lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._ended_by_us = False
        options: dict[str, Any] = {"start_new_session": True}
        if WINDOWS:
            flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW", "BELOW_NORMAL_PRIORITY_CLASS")
            options = {"creationflags": sum(getattr(subprocess, flag) for flag in flags)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=worker_environment(command[0]),
            encoding="utf-8",
            errors="replace",
            **options,
        )
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._errors.start()
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._process.poll() is None

    def write(self, request: dict[str, Any]) -> None:
        """Send one line; a process that has just died is told of by `answers`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def answers(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        answers = []
        with contextlib.suppress(queue.Empty):
            while True:
                answers.append(self._queue.get_nowait())
        return answers

    def join(self) -> None:
        """Wait until everything that a dead process has written is read."""
        self._reader.join(CLOSE_SECONDS)

    def kill(self) -> None:
        """End the process and all its children, without waiting for it."""
        self._ended_by_us = True
        if WINDOWS:
            # The whole tree, which only taskkill knows; it takes a moment, so it isn't waited for.
            subprocess.Popen(
                ["taskkill", "/T", "/F", "/PID", str(self._process.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        else:
            with contextlib.suppress(
                OSError
            ):  # the group outlives its leader: children end even if it is dead
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, idle: bool) -> None:
        """End the process: by closing its input when it is idle, by force when that doesn't help."""
        self._ended_by_us = True
        if idle and self.alive:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
        self.kill()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._last_lines.append(line.rstrip())

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with contextlib.suppress(ValueError):
                    answer = json.loads(line)
                    if isinstance(answer, dict) and isinstance(answer.get("type"), str):
                        self._queue.put(answer)
        code = self._process.wait()
        self._errors.join(1.0)
        if not self._ended_by_us:
            lines = list(self._last_lines)
            message = crash_message(code, lines)
            self._queue.put({"type": "crashed", "message": message, "details": "\n".join(lines)})
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()


def crash_message(code: int, lines: list[str]) -> str:
    """Why the process ended, in plain words, from its exit code and the last lines that it wrote."""
    text = "\n".join(lines)
    lower = text.lower()
    if any(phrase in lower for phrase in ("memoryerror", "out of memory", "bad_alloc", "allocate memory")):
        return f"the detection process ended: {OUT_OF_MEMORY}"
    if WINDOWS and code & 0xFFFFFFFF in WINDOWS_NO_MEMORY:
        return f"the detection process ended: {OUT_OF_MEMORY}"
    if not WINDOWS and code == -signal.SIGKILL:
        return f"the system ended the detection process; most likely {OUT_OF_MEMORY}"
    missing = [line for line in lines if line.startswith(("ModuleNotFoundError", "ImportError"))]
    if missing:
        return f"the detection process can't start: {missing[-1]}; install what is missing and run again"
    last = next((line for line in reversed(lines) if line.strip()), "it left no message")
    if code in (-signal.SIGSEGV, -getattr(signal, "SIGBUS", 7)) or code & 0xFFFFFFFF in WINDOWS_CRASH:
        return f"the detection process crashed inside a native library (exit code {code}): {last}"
    return f"the detection process ended unexpectedly (exit code {code}): {last}"


def worker_environment(program: str) -> dict[str, str]:
    """The environment of the worker: this process's, without what would make it import other packages.

    The library's parent folder is the only entry of PYTHONPATH, so that an installed tree works as a checkout
    does. PYTHONHOME stays only for a Python of the same installation.
    """
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONSTARTUP", "PYTHONPATH")
    }
    home = environment.get("PYTHONHOME")
    if home and not _inside(shutil.which(program) or program, Path(home).parents[1]):
        del environment["PYTHONHOME"]
    environment.update(
        PYTHONPATH=str(LIBRARY.parent),
        PYTHONNOUSERSITE="1",  # packages of another Python in the home folder break Slicer's
        PYTHONSAFEPATH="1",  # a torch.py in the current folder is not torch
        PYTHONUTF8="1",
        PYTHONUNBUFFERED="1",
        MPLBACKEND="Agg",
    )
    return environment


def _inside(program: str, folder: Path) -> bool:
    return folder.resolve() in Path(program).resolve().parents


def _with_id(answer: dict[str, Any], waiting: list[Any]) -> dict[str, Any]:
    """Name the request that was being worked on, if it had an id."""
    if waiting and waiting[0] is not None:
        answer["id"] = waiting[0]
    return answer
