"""Jobs are checked when they are added to the queue, and when they begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_gui.state.queue.checks import add_obstacle, begin_obstacle
from surgeon_gui.state.queue.state import QueueState, QueueStatus, with_added
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.problems import Kind, Problem, Step
from tests.helpers.fake_machine import machine
from tests.helpers.queued_runs import queued, ready_state

EMPTY = QueueState()


def test_draft_can_be_added_during_a_run(tmp_path):
    running = RunState(status=Status.RUNNING, run="run-1")
    assert add_obstacle(ready_state(tmp_path, run=running), EMPTY) is None


def test_draft_with_a_problem_cannot_be_added(tmp_path):
    problem = Problem(Kind.ERROR, {"message": "Too small.", "hint": ""}, Step.TARGET)
    state = ready_state(tmp_path, problems={Step.TARGET: problem})
    assert add_obstacle(state, EMPTY) == problem
    state = replace(state, problems={}, model_is_chosen=False)
    assert add_obstacle(state, EMPTY).kind is Kind.NO_MODEL


def test_two_runs_cannot_wait_for_one_destination(tmp_path):
    config = RunConfig(export=ExportConfig(str(tmp_path / "out")))
    same = RunConfig(export=ExportConfig(str(tmp_path / "else" / ".." / "out")))
    state = ready_state(tmp_path / "runs", config)
    queue = with_added(EMPTY, queued("a", config=same))
    assert add_obstacle(state, queue).values["run"] == "a"
    ended = QueueState(queued("a", config=same, status=QueueStatus.FAILED))
    assert add_obstacle(state, ended) is None
    assert add_obstacle(ready_state(tmp_path / "runs"), queue) is None


def test_run_that_fits_can_begin(tmp_path):
    (run,) = queued("a")
    assert begin_obstacle(run, str(tmp_path), machine()) is None


@pytest.mark.parametrize("free", [0, 10**8])
def test_run_cannot_begin_without_memory(tmp_path, free):
    (run,) = queued("a")
    obstacle = begin_obstacle(run, str(tmp_path), machine(free))
    assert obstacle.kind is Kind.MEMORY_SHORT


def test_run_cannot_begin_after_its_model_was_deleted(tmp_path):
    (run,) = queued("a", config=RunConfig(ModelConfig(str(tmp_path / "model"))))
    assert begin_obstacle(run, str(tmp_path), machine())


def test_run_cannot_begin_where_files_have_appeared(tmp_path):
    out = tmp_path / "out"
    (run,) = queued("a", config=RunConfig(export=ExportConfig(str(out))))
    assert begin_obstacle(run, str(tmp_path / "runs"), machine()) is None
    out.mkdir()
    (out / "thesis.tex").touch()
    problem = begin_obstacle(run, str(tmp_path / "runs"), machine())
    assert problem.step is Step.EXPORT
