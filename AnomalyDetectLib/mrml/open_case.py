"""A case that a reader has open: its nodes, its session of findings, and one undo for everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from AnomalyDetectLib.mrml import views
from AnomalyDetectLib.mrml.case_nodes import CaseNodes, hide_normal
from AnomalyDetectLib.mrml.scan import world_point
from AnomalyDetectLib.mrml.segments import FindingsSegments

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.findings import Finding, Findings
    from AnomalyDetectLib.findings.session import Decision, Session
    from AnomalyDetectLib.findings.settings import FindingsSettings
    from AnomalyDetectLib.mrml.result import Result


class OpenCase:
    """What the panel works on between a detection and the next one.

    `preview` while a slider moves, `settle` when it rests; decisions by finding id. Changes show at once.
    """

    def __init__(self, nodes: CaseNodes, result: Result, saved: str = "") -> None:
        """saved: `Session.to_json` of an earlier sitting, "" for none.

        Raises `AnomalyDetectError` when what was saved belongs to another scan.
        """
        from AnomalyDetectLib.findings.session import Session

        self.nodes, self.result = nodes, result
        self.session: Session = (
            Session.from_json(result.engine, saved) if saved else Session(result.engine, result.settings)
        )
        self._segments = FindingsSegments(
            nodes.segmentation, nodes.labelmap, result.maps.grid.shape, nodes.uncertain
        )
        # One entry a step: None for one of the session, else what takes the step back.
        self._steps: list[Callable[[], None] | None] = []
        self._settled = self._state()

    def showing(self) -> Iterator[None]:
        """Show what was found, in steps between which the event loop may turn; before all else."""
        yield from self._segments.settling(self.session.findings, self.verdicts)
        hide_normal(self.nodes, self.session.settings.threshold)

    @property
    def findings(self) -> Findings:
        """What is shown."""
        return self.session.findings

    @property
    def verdicts(self) -> dict[int, str]:
        """keep or reject, by finding id."""
        decisions = self.session.decisions.items()
        return {id_: decision.verdict for id_, decision in decisions if decision.verdict}

    @property
    def notes(self) -> dict[int, str]:
        """What the reader has noted, by finding id."""
        return {id_: decision.note for id_, decision in self.session.decisions.items() if decision.note}

    def expected(self, settings: FindingsSettings | None = None) -> float | None:
        """Findings in a healthy brain at these settings (None: those shown); None without calibration."""
        table = self.result.engine.false_alarms
        return None if table is None else table.expected(settings or self.session.settings)

    def preview(self, settings: FindingsSettings) -> None:
        """Follow a moving slider: slice views alone."""
        self._segments.show(self.session.preview(settings))
        hide_normal(self.nodes, settings.threshold)

    def settle(self, settings: FindingsSettings | None = None) -> None:
        """The slider rests: surfaces, names, label map; a step that can be undone."""
        self.session.settle(settings)
        self._note_step()

    def keep(self, finding_id: int) -> None:
        """Keep a finding."""
        self._decide(lambda: self.session.keep(finding_id))

    def reject(self, finding_id: int) -> None:
        """Reject a finding: it is hidden, and not handed over."""
        self._decide(lambda: self.session.reject(finding_id))

    def reconsider(self, finding_id: int) -> None:
        """Take a verdict back."""
        self._decide(lambda: self.session.reconsider(finding_id))

    def note(self, finding_id: int, text: str) -> None:
        """Write a note on a finding; an empty one takes it back."""
        self._decide(lambda: self.session.note(finding_id, text))

    def add_step(self, take_back: Callable[[], None]) -> None:
        """A step outside the session, such as a hand-over, that the same undo takes back."""
        self._steps.append(take_back)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._steps) or self.session.can_undo

    def undo(self) -> None:
        """Take the last step back, whatever it was."""
        moving = self._state() != self._settled
        take_back = self._steps.pop() if self._steps and not moving else None
        if take_back is not None:
            take_back()
            return
        self.session.undo()
        self._settled = self._state()
        self._show_settled()

    def redo(self) -> None:
        """Take the undone step again; hand-overs are not repeated."""
        if self.session.can_redo:
            self.session.redo()
            self._note_step()

    def jump(self, finding: Finding) -> None:
        """Show a finding in every slice view."""
        views.jump(world_point(self.nodes.scan, finding.centroid_ras_mm))

    def _decide(self, decide: Callable[[], None]) -> None:
        if self._state() != self._settled:
            self.settle()
        decide()
        self._note_step()

    def _state(self) -> tuple[FindingsSettings, dict[int, Decision]]:
        return self.session.settings, dict(self.session.decisions)

    def _note_step(self) -> None:
        """Remember a step when there was one, so that undo finds steps and hand-overs in their order."""
        if self._state() != self._settled:
            self._steps.append(None)
            self._settled = self._state()
        self._show_settled()

    def _show_settled(self) -> None:
        self._segments.settle(self.session.findings, self.verdicts)
        hide_normal(self.nodes, self.session.settings.threshold)
