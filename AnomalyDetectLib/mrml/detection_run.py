"""One detection, from a volume node to results in the scene, in steps that never hold the event loop up."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AnomalyDetectLib.mrml.background import Background
from AnomalyDetectLib.mrml.case_nodes import CaseNodes, add_case, case_in_scene, stored_maps
from AnomalyDetectLib.mrml.mailbox import Message, PostOffice
from AnomalyDetectLib.mrml.open_case import OpenCase
from AnomalyDetectLib.mrml.scan import affine, voxels

if TYPE_CHECKING:
    from AnomalyDetectLib.mrml.result import Result

Steps = Iterator[list[Message]]
LAST = ("opened", "fit", "explained", "error", "crashed", "cancelled")
_numbers = count(1)


class Ahead:
    """A case that is computed while another one is read.

    path: of the scan. done: the worker's answer, None while it computes; failed: whether there will be none.
    """

    def __init__(self, office: PostOffice, path: Path, options: Message) -> None:
        self.path = path
        self.done: Message | None = None
        self.failed = False
        self._office = office
        self._identity = f"ahead {next(_numbers)}"
        self._folder = Path(tempfile.mkdtemp(prefix="AnomalyDetect"))
        request = {"type": "detect", **options, "input": str(path), "out": str(self._folder)}
        office.submit(self._identity, request)

    def poll(self) -> None:
        """Hear whether it is done."""
        for message in self._office.poll(self._identity):
            if message["type"] == "done":
                self.done = message
            elif message["type"] in LAST:
                self.failed = True

    def close(self) -> None:
        """Delete its files."""
        self._office.forget(self._identity)
        shutil.rmtree(self._folder, ignore_errors=True)


class Run:
    """Steps that a timer takes one by one, and an end after which nothing of them is left."""

    def __init__(self, office: PostOffice, scan: Any) -> None:
        self.scan = scan
        self.identity = f"run {next(_numbers)}"
        self._office = office
        self._folder = Path(tempfile.mkdtemp(prefix="AnomalyDetect"))
        self._steps: Steps = iter(())
        self._ended = False

    def poll(self) -> list[Message]:
        """One step; what the reader should know. The last message's type is one of `LAST`."""
        if self._ended:
            return []
        if self.scan.GetScene() is None:
            self._office.cancel()
            return self._end({"type": "cancelled", "message": "the scan was removed; nothing was added"})
        try:
            messages = next(self._steps)
        except StopIteration:
            return self._end({"type": "opened"})
        except Exception as error:  # a run that fails must leave panel and scene as they were
            return self._end({"type": "error", "message": str(error), "details": repr(error)})
        if messages and messages[-1]["type"] in LAST:
            return self._end(messages[-1])
        return messages

    def cancel(self) -> None:
        """End it at once; what is half done is taken back."""
        if not self._ended:
            self._office.cancel()
            self._end({"type": "cancelled"})

    def _end(self, message: Message) -> list[Message]:
        self._ended = True
        if isinstance(self._steps, Generator):
            self._steps.close()
        self._office.forget(self.identity)
        shutil.rmtree(self._folder, ignore_errors=True)
        return [message]

    def _answers(self, request: Message, mask: Any, also: Any = None) -> Steps:
        """Write the scan and what belongs to it, send the request, and pass its answers on."""
        paths = {}
        for name, node, kind in (
            ("input", self.scan, np.float32),
            ("brain_mask", mask, np.uint8),
            ("also", also, np.float32),
        ):
            if node is not None:
                paths[name] = self._folder / f"{name}.nii"
                yield from waiting(Background(_writer(node, paths[name], kind)))
        self._office.submit(self.identity, request | {name: str(path) for name, path in paths.items()})
        while True:
            yield self._office.poll(self.identity)


class ScanCheck(Run):
    """Whether a scan fits the model; ends with a message of type fit."""

    def __init__(self, office: PostOffice, scan: Any, options: Message, mask: Any = None) -> None:
        super().__init__(office, scan)
        self._steps = self._answers({"type": "check", **options}, mask)


class DetectionRun(Run):
    """Call `poll` from a timer until a message of type opened, error, crashed or cancelled comes.

    Until then the scene is as it was: nodes come last, and go again if the run ends early.
    """

    def __init__(
        self,
        office: PostOffice,
        scan: Any,
        options: Message,
        mask: Any = None,
        *,
        saved: str = "",
        ahead: Ahead | None = None,
        also: Any = None,
    ) -> None:
        """options: of the worker's request. scan, mask: volume nodes. saved: the session of an earlier
        sitting. ahead: the same scan, computed before. also: volume node, a second sequence on any grid.
        """
        super().__init__(office, scan)
        self.opened: OpenCase | None = None
        self._options, self._mask, self._saved, self._ahead = options, mask, saved, ahead
        self._also = also
        self._steps = self._walk()

    def _walk(self) -> Steps:
        done = yield from self._detected()
        yield [{"type": "progress", "stage": "show", "fraction": 0.95, "seconds": done.get("seconds", 0.0)}]
        reading = Background(lambda: _read(done["files"], self._options.get("false_alarms")))
        yield from waiting(reading)
        result: Result = reading.result()
        before = case_in_scene(self.scan)
        nodes = yield from _adding(self.scan, result)
        try:
            opened = OpenCase(nodes, result, self._saved)
            for _ in opened.showing():
                yield []
        except BaseException:  # also when the run is ended between two steps
            nodes.remove()
            raise
        self.opened = opened
        if before is not None:  # a second run takes the place of the first
            before.remove()

    def _detected(self) -> Generator[list[Message], None, Message]:
        """The worker's last answer, from before or from now."""
        while self._ahead is not None and self._ahead.done is None and not self._ahead.failed:
            self._ahead.poll()
            yield []
        if self._ahead is not None and self._ahead.done is not None:
            return self._ahead.done
        request = {"type": "detect", **self._options, "out": str(self._folder / "out")}
        request["case"] = safe_name(str(self.scan.GetName()))
        for messages in self._answers(request, self._mask, self._also):
            for message in messages:
                if message["type"] == "done":
                    return message
                yield [message]
            if not messages:
                yield []
        return {}


class Reopening(Run):
    """Takes up the results that a loaded scene holds; `poll` as for a run."""

    def __init__(self, office: PostOffice, nodes: CaseNodes, report: Message, saved: str) -> None:
        super().__init__(office, nodes.scan)
        self.opened: OpenCase | None = None
        self._steps = self._walk(nodes, report, saved)

    def _walk(self, nodes: CaseNodes, report: Message, saved: str) -> Steps:
        maps, place = stored_maps(nodes), affine(nodes.scan)
        work = Background(lambda: _rebuild(maps, place, report))
        yield from waiting(work)
        opened = OpenCase(nodes, work.result(), saved)
        for _ in opened.showing():
            yield []
        self.opened = opened


def safe_name(name: str) -> str:
    """A case's name as the name of a folder."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return kept.strip("._") or "case"


def waiting(work: Background) -> Steps:
    """Steps until the work is done; raises what it raised."""
    while not work.done():
        yield []
    work.result()


def _adding(scan: Any, result: Result) -> Generator[list[Message], None, CaseNodes]:
    adding = add_case(scan, result)
    try:
        while True:
            try:
                next(adding)
            except StopIteration as end:
                nodes: CaseNodes = end.value
                return nodes
            yield []
    finally:
        adding.close()


def _writer(node: Any, path: Path, kind: type) -> Callable[[], None]:
    """Writes a node's voxels; they are copied now, so that the thread touches no node."""
    array, place = np.array(voxels(node)), affine(node)

    def write() -> None:
        import nibabel as nib

        nib.Nifti1Image(array.astype(kind), place).to_filename(str(path))

    return write


def _read(files: dict[str, str], expected: float | None) -> Result:
    from AnomalyDetectLib.mrml.result import read_result

    return read_result(files, expected)


def _rebuild(maps: dict[str, Any], place: Any, report: Message) -> Result:
    from AnomalyDetectLib.mrml.result import built
    from AnomalyDetectLib.scoring.maps import AnomalyMaps
    from AnomalyDetectLib.volume import Grid

    regions, brain = maps.pop("regions", None), maps.pop("brain_mask", maps["score"]) != 0
    sequence, names = maps.pop("sequences", None), tuple(report.get("sequences", ()))
    i, j, k = maps["score"].shape
    grid = Grid((i, j, k), place)
    image: dict[str, Any] = {name: report.get(name) for name in ("image_score", "image_p")}
    beside: dict[str, Any] = {"region": regions, "sequence": sequence, "sequence_names": names}
    return built(AnomalyMaps(grid=grid, brain=brain, **beside, **maps, **image), report)
