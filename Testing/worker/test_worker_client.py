"""What the panel sees of the background process, with small stand-ins in the real worker's place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from AnomalyDetectLib import worker_client
from AnomalyDetectLib.worker_client import WorkerClient, crash_message, worker_environment

Start = Callable[[str], WorkerClient]
LIBRARY = Path(worker_client.__file__).parent
posix = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A client of a worker whose program is given; the folder's name holds a blank and an umlaut."""
    clients: list[WorkerClient] = []

    def client_of(program: str) -> WorkerClient:
        file = tmp_path / "Fälle eins" / "worker.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("import json, os, sys, time\n" + textwrap.dedent(program), encoding="utf-8")
        clients.append(WorkerClient([sys.executable, str(file)]))
        return clients[-1]

    yield client_of
    for client in clients:
        client.close()


def answers(client: WorkerClient, last: str, seconds: float = 20.0) -> list[dict]:
    """Everything up to the first answer of type `last`."""
    found: list[dict] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += client.poll()
        if any(answer["type"] == last for answer in found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"no {last!r} within {seconds} s: {found}")


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


ECHO = """
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(request | {"type": "done", "pid": os.getpid()}), flush=True)
"""
HANG = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
sys.stdin.readline()
print(json.dumps({"type": "progress", "pids": [os.getpid(), child.pid]}), flush=True)
time.sleep(600)
"""


def test_nothing_is_started_before_the_first_request(start: Start) -> None:
    client = start("open('started', 'w')")
    assert not client.running
    assert not client.busy
    assert client.poll() == []


def test_an_answer_comes_back_and_the_next_case_uses_the_same_process(start: Start) -> None:
    client = start(ECHO)
    client.submit({"type": "detect", "id": 1, "input": "/Fälle eins/患者 01.nii.gz"})
    assert client.busy
    (first,) = answers(client, "done")
    assert first["input"] == "/Fälle eins/患者 01.nii.gz"
    assert not client.busy
    client.submit({"type": "detect", "id": 2, "input": "b"})
    (second,) = answers(client, "done")
    assert (first["id"], second["id"]) == (1, 2)
    assert first["pid"] == second["pid"]


def test_two_requests_in_a_row_leave_the_client_busy_until_both_are_answered(start: Start) -> None:
    client = start(ECHO)
    for number in (1, 2):
        client.submit({"type": "detect", "id": number, "input": "x"})
    seen = answers(client, "done")
    while len(seen) < 2:
        assert client.busy
        seen += client.poll()
    assert [answer["id"] for answer in seen] == [1, 2]
    assert not client.busy


def test_asking_for_answers_never_blocks(start: Start) -> None:
    client = start(HANG)
    client.submit({"type": "detect"})
    for _ in range(100):  # the worker hangs: were one of these to wait for an answer, the test would not end
        client.poll()
    assert client.busy


def test_cancel_ends_the_process_and_its_children(start: Start) -> None:
    client = start(HANG)
    client.submit({"type": "detect", "id": 7})
    (progress,) = answers(client, "progress")
    client.cancel()
    assert client.poll() == [{"type": "cancelled", "id": 7}]
    assert not client.running
    assert not client.busy
    assert all(gone(pid) for pid in progress["pids"])
    assert client.poll() == []


def test_after_a_cancel_the_next_request_starts_anew(start: Start) -> None:
    client = start("if os.path.exists(__file__ + '.second'):" + textwrap.indent(ECHO, "    ") + HANG)
    client.submit({"type": "detect", "id": 1})
    answers(client, "progress")
    client.cancel()
    client.poll()
    Path(client._command[1] + ".second").touch()
    client.submit({"type": "detect", "id": 2, "input": "x"})
    assert [answer["id"] for answer in answers(client, "done")] == [2]


def test_closing_ends_an_idle_worker_and_a_busy_one(start: Start) -> None:
    idle, busy = start(ECHO), None
    idle.submit({"type": "detect", "id": 1, "input": "x"})
    pids = [answers(idle, "done")[0]["pid"]]
    idle.close()
    busy = start(HANG)
    busy.submit({"type": "detect"})
    pids += answers(busy, "progress")[0]["pids"]
    busy.close()
    assert all(gone(pid) for pid in pids)
    assert busy.poll() == []


def test_a_crash_is_told_once_with_the_last_lines_and_the_next_request_works(start: Start) -> None:
    client = start(
        """
        if not os.path.exists(__file__ + ".second"):
            open(__file__ + ".second", "w").close()
            sys.stdin.readline()
            raise ValueError("the worker's own last words")
        """
        + textwrap.indent(ECHO, "        ")
    )
    client.submit({"type": "detect", "id": 3, "input": "x"})
    (crash,) = answers(client, "crashed")
    assert crash["id"] == 3
    assert crash["message"].endswith("ValueError: the worker's own last words")
    assert "Traceback" in crash["details"]
    assert not client.busy
    assert not client.running
    assert client.poll() == []
    client.submit({"type": "detect", "id": 4, "input": "x"})
    assert [answer["id"] for answer in answers(client, "done")] == [4]


def test_a_request_right_after_an_unseen_crash_still_tells_of_it(start: Start) -> None:
    client = start("sys.exit(3)")
    client.submit({"type": "detect", "id": 1})
    end = time.monotonic() + 10
    while client.running and time.monotonic() < end:
        time.sleep(0.01)
    client.submit({"type": "detect", "id": 2})
    seen = answers(client, "crashed")
    assert seen[0] == {
        "type": "crashed",
        "id": 1,
        "message": "the detection process ended unexpectedly (exit code 3): it left no message",
        "details": "",
    }


@posix
def test_a_process_that_the_system_ended_for_memory_is_named_so(start: Start) -> None:
    client = start("sys.stdin.readline(); os.kill(os.getpid(), 9)")
    client.submit({"type": "detect"})
    (crash,) = answers(client, "crashed")
    assert crash["message"].startswith("the system ended the detection process; most likely")
    assert "memory ran out" in crash["message"]
    assert "close other programs" in crash["message"]


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        (1, ["Traceback", "MemoryError"], "memory ran out"),
        (-6, ["terminate called after throwing an instance of 'std::bad_alloc'"], "memory ran out"),
        (1, ["ModuleNotFoundError: No module named 'torch'"], "No module named 'torch'; install what is"),
        pytest.param(-11, ["last"], "crashed inside a native library (exit code -11): last", marks=posix),
        (7, [], "exit code 7"),
    ],
)
def test_the_cause_of_a_crash_is_said_in_words(code: int, lines: list[str], expected: str) -> None:
    assert expected in crash_message(code, lines)


def test_a_program_that_is_not_there_is_a_message_and_no_exception(tmp_path: Path) -> None:
    client = WorkerClient([str(tmp_path / "no such python")])
    client.submit({"type": "detect", "id": 1})
    (crash,) = client.poll()
    assert crash["type"] == "crashed"
    assert "no such python" in crash["message"]
    assert not client.busy


def test_stray_text_among_the_answers_is_ignored(start: Start) -> None:
    client = start("print('hello'); print('[1]'); print('{\"a\": 1}')" + ECHO)
    client.submit({"type": "detect", "id": 1, "input": "x"})
    assert [answer["type"] for answer in answers(client, "done")] == ["done"]


def test_the_worker_finds_the_library_and_no_packages_of_the_home_folder(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    client = start(
        """
        sys.stdin.readline()
        import AnomalyDetectLib, site
        found = {"library": AnomalyDetectLib.__file__, "user": site.ENABLE_USER_SITE, "path": sys.path}
        print(json.dumps({"type": "done"} | found), flush=True)
        """
    )
    client.submit({"type": "detect"})
    answer = answers(client, "done")[0]
    assert Path(answer["library"]).parent == LIBRARY
    assert answer["user"] is False
    assert "/somewhere/else" not in answer["path"]


def test_slicers_python_home_is_kept_for_slicers_python_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "Slicer" / "lib" / "Python"))
    own, other = tmp_path / "Slicer" / "bin" / "PythonSlicer", tmp_path / "venv" / "bin" / "python"
    assert "PYTHONHOME" in worker_environment(str(own))
    assert "PYTHONHOME" not in worker_environment(str(other))


@pytest.mark.parametrize("name", ["worker_client"])
def test_it_runs_in_slicers_python_before_anything_is_installed(name: str) -> None:
    source = (LIBRARY / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 9))
    program = (
        f"import sys, json; sys.path.insert(0, {str(LIBRARY.parent)!r}); import AnomalyDetectLib.{name};"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) <= {"AnomalyDetectLib", "__main__"}
