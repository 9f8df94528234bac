"""Texts of the queue count runs and add up what they need."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_gui.state.queue import text
from surgeon_gui.state.queue.state import QueueState, QueueStatus, working
from tests.helpers.queued_runs import queued

S = QueueStatus


def plain(words):
    return words.replace("\xa0", " ")


def test_status_of_a_waiting_run_is_its_time():
    (run,) = queued("a")
    assert plain(text.status(run)) == "about 20 min"
    assert (
        plain(text.details(run))
        == "about 20 min, up to 2.0 GB on the disk while it runs"
    )
    assert text.status(replace(run, estimate=None)) == "Waiting"
    assert text.status(replace(run, folder="runs/a")) == "Interrupted"
    assert text.status(replace(run, status=S.RUNNING)) == "Running"


def test_details_of_a_failed_run_are_its_problem():
    (run,) = queued("a", status=S.FAILED, problem="No memory.")
    assert text.status(run) == "Failed"
    assert text.details(run) == "No memory."


@pytest.mark.parametrize(
    ("runs", "summary"),
    [
        ((), "The queue is empty. Add to queue is beside Start."),
        (
            queued("a"),
            "1 run waits: about 20 min, up to 2.0 GB on the disk while it runs.",
        ),
        (
            queued("a", "b"),
            "2 runs wait: about 40 min, up to 4.0 GB on the disk while they run.",
        ),
        (queued("a", status=S.RUNNING), "No further run waits."),
        (
            (*queued("a", "b", status=S.FINISHED), *queued("c", status=S.FAILED)),
            "The queue has ended. 2 runs finished, 1 failed.",
        ),
        (queued("a", status=S.FINISHED), "The queue has ended. 1 run finished."),
    ],
)
def test_summary(runs, summary):
    assert plain(text.summary(QueueState(runs), is_busy=False)) == summary


def test_summary_says_that_the_queue_waits_for_the_engine():
    state = working(QueueState(queued("a")))
    assert "when the engine is free" in text.summary(state, is_busy=True)
    assert "when the engine is free" not in text.summary(state, is_busy=False)


def test_ending_counts_the_runs():
    ended = (*queued("a", status=S.FINISHED), *queued("b", "c", status=S.FAILED))
    words = "The queue has ended. 1 run finished, 2 failed."
    assert text.ending(QueueState(ended)) == words
    cancelled = (*ended, *queued("d", status=S.CANCELLED))
    assert "1 was cancelled." in text.ending(QueueState(cancelled))
    stopped = QueueState((*ended, *queued("e")))
    assert text.ending(stopped) == (
        "The queue was stopped. 1 run finished, 2 failed. 1 run still waits."
    )


def test_notes_count_the_waiting_runs():
    state = QueueState(queued("a", "b"))
    assert "2 runs wait" in text.offer(state)
    assert text.kept_note(state) == "2 waiting runs stay in the queue."
    assert text.kept_note(QueueState(queued("a", status=S.RUNNING))) == ""
