"""Checks of the jobs of a queue: when they are added, and again when they begin."""

from __future__ import annotations

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.base.files import expand_path
from surgeon_engine.planning.needs import needs_of
from surgeon_engine.planning.resource_check import ResourceCheck
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.checks import draft_obstacle, find_problems, first_problem
from surgeon_gui.state.job.resource_text import free_disk, resource_obstacle, shortage
from surgeon_gui.state.queue.state import QueuedRun, QueueState
from surgeon_gui.text.problems import Kind, Problem


def add_obstacle(state: AppState, queue: QueueState) -> Problem | None:
    """Return why the draft cannot be added to the queue; None if it can."""
    if state.computer:
        return Problem(Kind.QUEUE_ELSEWHERE)
    if problem := draft_obstacle(state):
        return problem
    return _destination_obstacle(state.config, queue)


def job_obstacle(
    config: RunConfig, check: ResourceCheck | None, state: AppState
) -> Problem | None:
    """Return why a job with the model of the draft makes no run; None if it does.

    `check`: the check of its resources; None: they are unknown.
    """
    problems = find_problems(
        config, state.model, state.run_parent, on_cuda=state.on_cuda
    )
    return first_problem(problems) or resource_obstacle(check)


def begin_obstacle(
    run: QueuedRun, run_parent: str, machine: Machine | None
) -> Problem | None:
    """Return why a waiting run cannot begin now; None if it can.

    The model is not read again: the engine checks it.
    """
    problems = find_problems(run.config, None, run_parent, may_replace=run.may_replace)
    if problem := first_problem(problems):
        return problem
    if run.estimate is None or machine is None:
        return None
    return shortage(needs_of(run.estimate, machine, free_disk(run.config, run_parent)))


def _destination_obstacle(config: RunConfig, queue: QueueState) -> Problem | None:
    """Return that a waiting run writes to the same folder; None if none does."""
    if not config.export.folder:
        return None
    destination = expand_path(config.export.folder)
    others = (*queue.waiting, *([queue.current] if queue.current else []))
    for run in others:
        folder = run.config.export.folder
        if folder and expand_path(folder) == destination:
            values = {"run": run.name, "folder": folder}
            return Problem(Kind.SAME_DESTINATION, values)
    return None
