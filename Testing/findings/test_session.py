"""A reader drags sliders, keeps and rejects findings, undoes, and comes back tomorrow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from AnomalyDetectLib.errors import AnomalyDetectError, FindingsSettingsError
from AnomalyDetectLib.findings import Decision, FindingsEngine, Session
from AnomalyDetectLib.scoring.maps import AnomalyMaps

LARGE, SMALL, WEAK = (10, 10, 10), (30, 30, 30), (10, 30, 10)


@pytest.fixture
def engine(case) -> FindingsEngine:
    """Three balls: a large one of z 6, a small one of z 8, a weak one of z 4."""
    return case({LARGE: (6, 6.0), SMALL: (3, 8.0), WEAK: (4, 4.0)})


@pytest.fixture
def session(engine, plain) -> Session:
    return Session(engine, plain)


def id_at(session: Session, where: tuple[int, int, int]) -> int:
    return int(session.findings.labelmap[where])


def two_hills(ridge: float) -> FindingsEngine:
    """Two hills joined by a ridge: one finding at a low threshold, two at a high one."""
    i, j, k = np.ogrid[:40, :20, :20]
    score = np.zeros((40, 20, 20), dtype=np.float32)
    for centre, height in ((10, 8.0), (28, 7.0)):
        hill = height - 0.5 * np.sqrt((i - centre) ** 2 + (j - 10) ** 2 + (k - 10) ** 2)
        score = np.maximum(score, hill)
    score[10:29, 9:12, 9:12] = np.maximum(score[10:29, 9:12, 9:12], ridge)
    return FindingsEngine(AnomalyMaps.from_score(score.astype(np.float32)))


def test_a_finding_keeps_its_id_while_the_threshold_moves(session: Session, plain) -> None:
    before = {where: id_at(session, where) for where in (LARGE, SMALL)}
    for threshold in np.linspace(3, 5.9, 30):
        session.preview(plain.changed(threshold=float(threshold)))
        assert {where: id_at(session, where) for where in (LARGE, SMALL)} == before


def test_a_finding_gets_its_id_back_when_the_slider_comes_back(session: Session, plain) -> None:
    before = id_at(session, WEAK)
    session.preview(plain.changed(threshold=5))
    assert id_at(session, WEAK) == 0
    session.preview(plain)
    assert id_at(session, WEAK) == before


def test_a_finding_that_overlaps_itself_keeps_its_id_on_noise(plain) -> None:
    score = 3 * ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((30, 30, 30)), 1.5)
    score /= score.std()
    session = Session(
        FindingsEngine(AnomalyMaps.from_score(score.astype(np.float32))), plain.changed(threshold=2)
    )
    steps = np.concatenate([np.linspace(2, 1, 40), np.linspace(1, 3, 60)])
    before = session.findings.labelmap
    for threshold in steps:
        after = session.preview(plain.changed(threshold=float(threshold))).labelmap
        shared = np.unique(np.stack([before, after])[:, (before > 0) & (after > 0)], axis=1)
        was, now = shared
        for finding_id in np.unique(was):
            alone = np.unique(now[was == finding_id])
            if len(alone) == 1 and (now == alone[0]).sum() == 1:
                assert alone[0] == finding_id, "one finding before, the same one after"
        before = after


def test_ids_are_never_shared(session: Session, plain) -> None:
    for threshold in (3, 5, 3, 7, 3.5, 2):
        ids = session.preview(plain.changed(threshold=threshold)).ids
        assert len(set(ids.tolist())) == len(ids)
        assert (ids > 0).all()


def test_two_findings_that_merge_and_part_have_their_ids_again(plain) -> None:
    session = Session(two_hills(ridge=4), plain.changed(threshold=5))
    apart = [id_at(session, (10, 10, 10)), id_at(session, (28, 10, 10))]
    session.preview(plain.changed(threshold=3.5))
    assert id_at(session, (10, 10, 10)) == id_at(session, (28, 10, 10)) == apart[0], (
        "the larger names the whole"
    )
    session.preview(plain.changed(threshold=5))
    assert [id_at(session, (10, 10, 10)), id_at(session, (28, 10, 10))] == apart


def test_a_kept_finding_names_the_whole_when_it_merges(plain) -> None:
    session = Session(two_hills(ridge=4), plain.changed(threshold=5))
    smaller = id_at(session, (28, 10, 10))
    session.keep(smaller)
    session.preview(plain.changed(threshold=3.5))
    assert session.findings.ids.tolist() == [smaller]


def test_a_rejected_finding_never_hides_another_that_it_merges_with(plain) -> None:
    session = Session(two_hills(ridge=4), plain.changed(threshold=5))
    larger, smaller = id_at(session, (10, 10, 10)), id_at(session, (28, 10, 10))
    session.reject(larger)
    session.preview(plain.changed(threshold=3.5))
    assert session.findings.ids.tolist() == [smaller]
    assert len(session.accepted) == 1
    session.preview(plain.changed(threshold=5))
    assert id_at(session, (10, 10, 10)) == larger
    assert session.accepted.ids.tolist() == [smaller]


def test_decisions_survive_slider_moves_even_below_the_threshold(session: Session, plain) -> None:
    weak = id_at(session, WEAK)
    session.keep(weak)
    session.note(weak, "follow up")
    session.settle(plain.changed(threshold=5, open_mm=1))
    assert id_at(session, WEAK) == 0
    session.settle(plain.changed(threshold=3.2, grow_mm=1))
    assert session.decisions[id_at(session, WEAK)] == Decision("keep", "follow up")


def test_rejected_findings_are_not_handed_on_and_the_others_keep_their_rows(session: Session) -> None:
    session.reject(id_at(session, LARGE))
    accepted = session.accepted
    assert accepted.labelmap[LARGE] == 0
    assert accepted.labelmap[SMALL] == id_at(session, SMALL)
    assert set(accepted.table) < set(session.findings.table)
    assert len(accepted) == len(accepted.table) == 2


def test_every_step_can_be_undone_and_redone(session: Session, plain) -> None:
    large = id_at(session, LARGE)
    states = [(session.settings, session.decisions, session.findings.labelmap)]

    def done() -> None:
        states.append((session.settings, session.decisions, session.findings.labelmap))

    session.settle(plain.changed(threshold=5))
    done()
    session.reject(large)
    done()
    session.note(large, "vessel")
    done()
    session.settle(plain.changed(threshold=7))
    done()
    session.settle(plain.changed(threshold=3))
    session.reconsider(large)
    done()
    states.insert(-1, (states[-1][0], states[-2][1], states[-1][2]))

    def same(state) -> bool:
        return (
            session.settings == state[0]
            and session.decisions == state[1]
            and np.array_equal(session.findings.labelmap, state[2])
        )

    for state in reversed(states[:-1]):
        assert session.can_undo
        session.undo()
        assert same(state)
    assert not session.can_undo
    session.undo()
    assert same(states[0])
    for state in states[1:]:
        assert session.can_redo
        session.redo()
        assert same(state)
    assert not session.can_redo


def test_a_drag_is_one_step_to_undo(session: Session, plain) -> None:
    for threshold in np.linspace(3, 7, 20):
        session.preview(plain.changed(threshold=float(threshold)))
    session.settle()
    session.settle()
    session.undo()
    assert session.settings == plain
    assert not session.can_undo


def test_undo_in_the_middle_of_a_drag_goes_back_to_where_it_began(session: Session, plain) -> None:
    session.settle(plain.changed(threshold=4))
    session.preview(plain.changed(threshold=6))
    session.undo()
    assert session.settings.threshold == 4


def test_a_new_step_after_undo_forgets_the_undone_ones(session: Session, plain) -> None:
    session.settle(plain.changed(threshold=5))
    session.undo()
    session.keep(id_at(session, LARGE))
    assert not session.can_redo
    session.redo()
    assert session.settings == plain


def test_the_same_decision_twice_is_one_step(session: Session) -> None:
    session.keep(id_at(session, LARGE))
    session.keep(id_at(session, LARGE))
    session.undo()
    assert not session.decisions
    assert not session.can_undo


def test_bad_settings_leave_what_is_shown(session: Session, plain) -> None:
    before = session.findings
    with pytest.raises(FindingsSettingsError):
        session.preview(plain.changed(min_volume_mm3=1e6))
    assert session.findings is before


def test_a_finding_that_does_not_exist_is_named_with_those_that_do(session: Session) -> None:
    with pytest.raises(AnomalyDetectError, match="finding 99: no such finding; there are 1, 2, 3"):
        session.keep(99)


def test_a_saved_session_comes_back_with_ids_decisions_and_settings(session: Session, engine, plain) -> None:
    session.settle(plain.changed(threshold=5))
    session.settle(plain)
    session.reject(id_at(session, SMALL))
    session.note(id_at(session, WEAK), "Ödem?")
    session.settle(plain.changed(threshold=4.5))
    again = Session.from_json(engine, session.to_json())
    assert again.settings == session.settings
    assert again.decisions == session.decisions
    np.testing.assert_array_equal(again.findings.labelmap, session.findings.labelmap)
    again.settle(plain)
    assert again.decisions[id_at(again, WEAK)].note == "Ödem?"
    assert not again.accepted.labelmap[SMALL]


def test_saved_decisions_stick_to_the_overlap_when_the_maps_have_changed(
    session: Session, case, plain
) -> None:
    session.reject(id_at(session, SMALL))
    changed = case({LARGE: (5, 6.5), (29, 31, 30): (4, 8.0), WEAK: (3, 4.2), (30, 10, 30): (7, 9.0)})
    again = Session.from_json(changed, session.to_json())
    assert again.decisions[id_at(again, SMALL)].verdict == "reject"
    assert id_at(again, (30, 10, 30)) not in again.decisions


@pytest.mark.parametrize("damage", ["cut", "format", "place", "verdict", "list"])
def test_a_damaged_session_is_refused(session: Session, engine, damage: str) -> None:
    session.keep(id_at(session, LARGE))
    saved = json.loads(session.to_json())
    if damage == "format":
        saved["format"] = 99
    elif damage == "place":
        saved["places"]["1"] = "not base 85 ~~~"
    elif damage == "verdict":
        saved["decisions"]["1"]["verdict"] = "maybe"
    text = json.dumps([saved] if damage == "list" else saved)
    with pytest.raises(AnomalyDetectError, match="session: "):
        Session.from_json(engine, text[: len(text) // 2] if damage == "cut" else text)


def test_a_session_of_another_scan_is_refused(session: Session) -> None:
    other = FindingsEngine(AnomalyMaps.from_score(np.zeros((9, 9, 9), dtype=np.float32)))
    with pytest.raises(AnomalyDetectError, match="open the scan it belongs to"):
        Session.from_json(other, session.to_json())
