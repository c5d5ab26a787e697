"""A reader's session on one case: settings, stable ids, decisions, undo, and all of it on disk."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.findings import Findings
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.findings.tracker import Tracker

Verdict = Literal["keep", "reject"]

FORMAT = 1
# Where findings merge, a kept one names the whole, and a rejected one never hides another.
PRIORITY = {"keep": 1, None: 0, "reject": -1}


@dataclass(frozen=True)
class Decision:
    """What the reader has said of a finding: keep, reject or nothing yet, and a note."""

    verdict: Verdict | None = None
    note: str = ""


@dataclass(frozen=True)
class Step:
    """One state to come back to: settings, decisions by id, and the ids of the findings by rank."""

    settings: FindingsSettings
    decisions: Mapping[int, Decision]
    ids: tuple[int, ...]


class Session:
    """The findings of one case in a reader's hands.

    `preview` follows a slider while it moves; `settle` makes the place where it rests a step. Every settle
    and every decision can be undone and redone. Decisions belong to ids, and ids stick to what they overlap
    (see `Tracker`): a decision survives slider moves, also while its finding is below the threshold.
    """

    def __init__(self, engine: FindingsEngine, settings: FindingsSettings | None = None) -> None:
        """engine: of the case. settings: to begin with, None for the defaults."""
        self._engine = engine
        self._tracker = Tracker(engine.maps.grid.shape)
        self._decisions: Mapping[int, Decision] = MappingProxyType({})
        self._start(settings or FindingsSettings())

    @property
    def findings(self) -> Findings:
        """What is shown, under stable ids."""
        return self._findings

    @property
    def settings(self) -> FindingsSettings:
        """The settings of what is shown."""
        return self._findings.settings

    @property
    def decisions(self) -> Mapping[int, Decision]:
        """The reader's decisions by id, also of findings that are not shown now."""
        return self._decisions

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._at > 0 or self._unsettled

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._at + 1 < len(self._steps) and not self._unsettled

    @property
    def accepted(self) -> Findings:
        """The findings that were not rejected: what is handed on."""
        rejected = {id_ for id_, decision in self._decisions.items() if decision.verdict == "reject"}
        return self._findings.only([int(id_) for id_ in self._findings.ids if int(id_) not in rejected])

    def preview(self, settings: FindingsSettings) -> Findings:
        """Show the findings under these settings; not a step of its own.

        Raises `FindingsSettingsError` when the settings don't fit the case, and shows what was shown before.
        """
        self._findings = self._tracker.follow(self._engine.at(settings), self._priority)
        return self._findings

    def settle(self, settings: FindingsSettings | None = None) -> Findings:
        """The slider rests: make its place a step, unless nothing has changed since the last one."""
        if settings is not None and settings != self.settings:
            self.preview(settings)
        if self._unsettled:
            self._push()
        return self._findings

    def keep(self, finding_id: int) -> None:
        """The reader keeps a finding."""
        self._decide(finding_id, verdict="keep")

    def reject(self, finding_id: int) -> None:
        """The reader rejects a finding."""
        self._decide(finding_id, verdict="reject")

    def reconsider(self, finding_id: int) -> None:
        """The reader takes a verdict back; the note stays."""
        self._decide(finding_id, verdict=None)

    def note(self, finding_id: int, text: str) -> None:
        """The reader writes a note on a finding; an empty one takes it back."""
        self._decide(finding_id, note=text)

    def undo(self) -> Findings:
        """Take the last step back, whatever it was; nothing happens at the first."""
        if self._unsettled:
            return self._show(self._at)
        return self._show(max(self._at - 1, 0))

    def redo(self) -> Findings:
        """Take the last undone step again; nothing happens when there is none."""
        return self._show(self._at + 1) if self.can_redo else self._findings

    def to_json(self) -> str:
        """Settings, decisions and where each finding lies; without the steps to undo."""
        known = {int(id_): self._findings.with_id(int(id_)) for id_ in self._findings.ids}
        absent = {id_: self._tracker.owned_by(id_) for id_ in self._decisions if id_ not in known}
        places = {str(id_): _packed(voxels) for id_, voxels in {**known, **absent}.items()}
        decisions = {
            str(id_): {"verdict": decision.verdict, "note": decision.note}
            for id_, decision in self._decisions.items()
        }
        return json.dumps(
            {
                "format": FORMAT,
                "shape": list(self._engine.maps.grid.shape),
                "settings": self.settings.to_dict(),
                "decisions": decisions,
                "places": places,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, engine: FindingsEngine, text: str) -> Session:
        """A saved session on the same scan; its decisions stick to the overlap, also when the maps have
        changed.

        Raises `AnomalyDetectError` when the text is damaged, of another version or of a scan with another
        grid.
        """
        try:
            saved = json.loads(text)
            if saved["format"] != FORMAT:
                raise AnomalyDetectError(f"session: format {saved['format']!r} is not known; update")
            if tuple(saved["shape"]) != engine.maps.grid.shape:
                here = list(engine.maps.grid.shape)
                raise AnomalyDetectError(
                    f"session: of a scan of {saved['shape']} voxels, not {here}; open the scan it belongs to"
                )
            settings = FindingsSettings.from_dict(saved["settings"])
            decisions = {int(id_): _decision(value) for id_, value in saved["decisions"].items()}
            places = {int(id_): _unpacked(value, engine) for id_, value in saved["places"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
            raise AnomalyDetectError(f"session: damaged ({error!r}); start a new one") from error
        session = cls.__new__(cls)
        session._engine = engine
        session._tracker = Tracker(engine.maps.grid.shape)
        session._tracker.remember(places)
        session._decisions = MappingProxyType(decisions)
        session._start(settings)
        return session

    @property
    def _unsettled(self) -> bool:
        return self.settings != self._steps[self._at].settings

    def _start(self, settings: FindingsSettings) -> None:
        self._steps: list[Step] = []
        self._at = -1
        self.preview(settings)
        self._push()

    def _push(self) -> None:
        ids = tuple(int(finding_id) for finding_id in self._findings.ids)
        del self._steps[self._at + 1 :]
        self._steps.append(Step(self.settings, self._decisions, ids))
        self._at += 1

    def _show(self, at: int) -> Findings:
        step = self._steps[at]
        if step.settings != self.settings:
            self._findings = self._tracker.adopt(self._engine.at(step.settings), step.ids)
        self._decisions, self._at = step.decisions, at
        return self._findings

    def _decide(self, finding_id: int, **change: str | None) -> None:
        shown = [int(id_) for id_ in self._findings.ids]
        if finding_id not in shown and finding_id not in self._decisions:
            raise AnomalyDetectError(f"finding {finding_id}: no such finding; there are {_listed(shown)}")
        before = self._decisions.get(finding_id, Decision())
        after = replace(before, **change)  # type: ignore[arg-type]
        if after == before:
            return
        self.settle()
        others = {id_: decision for id_, decision in self._decisions.items() if id_ != finding_id}
        if after != Decision():
            others[finding_id] = after
        self._decisions = MappingProxyType(others)
        self._push()

    def _priority(self, finding_id: int) -> int:
        return PRIORITY[self._decisions.get(finding_id, Decision()).verdict]


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(str(id_) for id_ in sorted(ids)) or "none"


def _decision(value: Mapping[str, str | None]) -> Decision:
    verdict = value["verdict"]
    if verdict is not None and verdict not in get_args(Verdict):
        raise ValueError(f"verdict {verdict!r}")
    return Decision(verdict, str(value["note"] or ""))  # type: ignore[arg-type]


def _packed(voxels: NDArray[np.int32]) -> str:
    steps = np.diff(voxels, prepend=0).astype("<i4")
    return base64.b85encode(zlib.compress(steps.tobytes(), 6)).decode("ascii")


def _unpacked(text: str, engine: FindingsEngine) -> NDArray[np.int32]:
    voxels = np.cumsum(np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype="<i4"), dtype=np.int64)
    if len(voxels) and not 0 <= voxels[0] <= voxels[-1] < engine.maps.score.size:
        raise ValueError("a place lies outside of the scan")
    return voxels.astype(np.int32)
