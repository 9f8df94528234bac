"""The queue keeps its order, and follows its runs from waiting to their end."""

from __future__ import annotations

import pytest

from surgeon_gui.state.queue import state as queue_state
from surgeon_gui.state.queue.state import (
    QueueState,
    QueueStatus,
    can_move,
    restored,
    with_added,
    with_ended,
    with_moved,
    with_started,
    without,
    without_all,
    working,
)
from tests.helpers.queued_runs import queued

S = QueueStatus


def names(state):
    return [run.name for run in state.runs]


def statuses(state):
    return [run.status for run in state.runs]


@pytest.fixture
def three():
    return with_added(QueueState(), queued("a", "b", "c"))


def test_runs_are_added_at_the_end_under_names_of_their_own(three):
    state = with_added(three, queued("b", "b", "d"))
    assert names(state) == ["a", "b", "c", "b (2)", "b (3)", "d"]
    assert state.next.name == "a"
    assert not state.is_working


def test_queue_of_three_with_a_failing_second_one(three):
    state = with_started(working(three), "a", "runs/a")
    assert state.current.name == "a" and state.next.name == "b"
    state = with_ended(state, "a", S.FINISHED)
    state = with_started(state, "b", "runs/b")
    state = with_ended(state, "b", S.FAILED, "Too little memory.")
    assert state.next.name == "c" and not state.is_complete
    state = with_ended(with_started(state, "c", "runs/c"), "c", S.FINISHED)
    assert state.is_complete and state.next is None and state.current is None
    assert statuses(state) == [S.FINISHED, S.FAILED, S.FINISHED]
    assert state.run("b").problem == "Too little memory."
    assert [run.folder for run in state.of(S.FINISHED)] == ["runs/a", "runs/c"]


def test_runs_that_have_ended_stay_until_a_new_queue_begins(three):
    state = with_ended(without(three, "c"), "a", S.FINISHED)
    assert names(with_added(state, queued("d"))) == ["a", "b", "d"]
    complete = with_ended(state, "b", S.FAILED)
    assert names(with_added(complete, queued("a"))) == ["a"]


def test_waiting_runs_change_places(three):
    assert names(with_moved(three, "b", -1)) == ["b", "a", "c"]
    assert names(with_moved(three, "b", 1)) == ["a", "c", "b"]
    assert with_moved(three, "a", -1) == three
    assert with_moved(three, "c", 1) == three


def test_run_in_progress_cannot_be_overtaken_or_removed(three):
    state = with_started(three, "a", "runs/a")
    assert not can_move(state, "b", -1)
    assert not can_move(state, "a", 1)
    assert with_moved(state, "b", -1) == state
    assert names(without(state, "a")) == ["a", "b", "c"]
    assert names(without(state, "b")) == ["a", "c"]
    assert names(without_all(state)) == ["a"]
    assert names(without_all(three)) == []


def test_restored_queue_is_paused_and_offered(three):
    state = with_ended(with_started(three, "a", "runs/a"), "a", S.FINISHED)
    state = restored(with_started(working(state), "b", "runs/b").runs)
    assert state.is_offered and not state.is_working
    assert statuses(state) == [S.FINISHED, S.WAITING, S.WAITING]
    assert state.next.name == "b" and state.next.folder == "runs/b"
    assert not working(state).is_offered
    assert not queue_state.without_offer(state).is_offered


def test_queue_without_a_waiting_run_is_not_offered():
    assert not restored(()).is_offered
    assert not restored(queued("a", status=S.FINISHED)).is_offered
