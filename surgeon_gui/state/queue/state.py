"""The queue as a value, and what happens to it, as pure functions.

The runs that have ended stay in the queue until it is complete and others are added:
they are marked in the list and compared at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.estimate import Estimate


class QueueStatus(Enum):
    """The status of a run of the queue."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """A job of the queue."""

    name: str  # no other of the queue has it
    config: RunConfig
    estimate: Estimate | None = None  # None: unknown
    status: QueueStatus = QueueStatus.WAITING
    folder: str = ""  # run folder; in a waiting run: it was interrupted
    problem: str = ""  # why it has failed
    may_replace: bool = False  # the user allows to replace the export there

    @property
    def is_waiting(self) -> bool:
        """True if the run has not begun, or is to go on."""
        return self.status is QueueStatus.WAITING


@dataclass(frozen=True, slots=True)
class QueueState:
    """The runs in their order, and whether they are being worked off."""

    runs: tuple[QueuedRun, ...] = ()
    is_working: bool = False  # False: no further run begins
    is_offered: bool = False  # the window offers to go on

    @property
    def waiting(self) -> tuple[QueuedRun, ...]:
        """The runs that are to begin."""
        return tuple(run for run in self.runs if run.is_waiting)

    @property
    def next(self) -> QueuedRun | None:
        """The run that begins next; None: none waits."""
        return next(iter(self.waiting), None)

    @property
    def current(self) -> QueuedRun | None:
        """The run in progress."""
        return next(iter(self.of(QueueStatus.RUNNING)), None)

    @property
    def is_complete(self) -> bool:
        """True if no run waits or is in progress."""
        return self.next is None and self.current is None

    def of(self, status: QueueStatus) -> tuple[QueuedRun, ...]:
        """Return the runs with a status."""
        return tuple(run for run in self.runs if run.status is status)


def with_added(state: QueueState, runs: Iterable[QueuedRun]) -> QueueState:
    """Return the queue with more runs at its end; a complete one begins anew.

    A name that the queue has already gets a number.
    """
    kept = () if state.is_complete else state.runs
    for run in runs:
        taken = {each.name for each in kept}
        numbered = (f"{run.name} ({n})" for n in itertools.count(2))
        names = itertools.chain([run.name], numbered)
        name = next(each for each in names if each not in taken)
        kept = (*kept, replace(run, name=name))
    is_offered = state.is_offered and not state.is_complete
    return replace(state, runs=kept, is_offered=is_offered)


def with_moved(state: QueueState, name: str, step: int) -> QueueState:
    """Return the queue after a waiting run has changed places with a neighbor.

    Args:
        state: the queue.
        name: the name of the run.
        step: -1: it begins earlier; 1: later.
    """
    if not can_move(state, name, step):
        return state
    waiting = list(state.waiting)
    at = [run.name for run in waiting].index(name)
    waiting[at], waiting[at + step] = waiting[at + step], waiting[at]
    others = [run for run in state.runs if not run.is_waiting]
    return replace(state, runs=(*others, *waiting))


def can_move(state: QueueState, name: str, step: int) -> bool:
    """Return True if a run waits and has a waiting neighbor on that side."""
    names = [run.name for run in state.waiting]
    return name in names and 0 <= names.index(name) + step < len(names)


def without(state: QueueState, *names: str) -> QueueState:
    """Return the queue without some runs; the one in progress stays."""
    runs = tuple(
        run
        for run in state.runs
        if run.status is QueueStatus.RUNNING or run.name not in names
    )
    return replace(state, runs=runs)


def with_status(
    state: QueueState, name: str, status: QueueStatus, **changes: Any
) -> QueueState:
    """Return the queue with another status, and other changes, of a run."""
    runs = tuple(
        replace(run, status=status, **changes) if run.name == name else run
        for run in state.runs
    )
    return replace(state, runs=runs)


def working(state: QueueState) -> QueueState:
    """Return the queue after it was started."""
    return replace(state, is_working=True, is_offered=False)


def restored(runs: tuple[QueuedRun, ...]) -> QueueState:
    """Return the queue that an earlier start of the window has left.

    A run that was in progress has been interrupted and waits.
    """
    state = QueueState(runs)
    if state.current is not None:
        state = with_status(state, state.current.name, QueueStatus.WAITING)
    others = [run for run in state.runs if not run.is_waiting]
    is_offered = state.next is not None
    return QueueState((*others, *state.waiting), is_offered=is_offered)
