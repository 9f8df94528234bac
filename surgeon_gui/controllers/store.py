"""The store of the window: its state, and the requests to the engine that change it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QObject, Signal

from surgeon_engine.api.messages.commands import Cancel, Command
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.state import app as app_state
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import checks
from surgeon_gui.state.job.resource_text import check_draft
from surgeon_gui.state.request import NO_REQUEST, Request, RequestKind


class Store(QObject):
    """Hold the state, say what has changed or was saved, send commands."""

    changed = Signal()
    noted = Signal(str, str)  # a sentence, the path of the file that it is about

    def __init__(self, engine: EngineThread, state: AppState, parent: QObject) -> None:
        super().__init__(parent)
        self.state = state
        self.engine = engine
        self._numbers = itertools.count(1)
        self._token = uuid.uuid4().hex[:8]

    def set(self, state: AppState) -> None:
        """Show another state; for another run in view, look for its files."""
        if _in_view(state) != _in_view(self.state):
            state = replace(state, missing=checks.missing_in_view(state))
        self._show(state)

    def set_checked(self, state: AppState) -> None:
        """Check the draft and the files of the run in view, and show the state."""
        self._show(checked(state))

    def _show(self, state: AppState) -> None:
        self.state = state
        self.changed.emit()

    def show_problem(self, problem: Failed) -> None:
        """Show an error until it is dismissed."""
        self.set(replace(self.state, notice=problem))

    def report(self, message: str, hint: str = "") -> None:
        """Show an error of the window itself by its texts."""
        self.show_problem(Failed(message, hint))

    def note(self, text: str, path: str) -> None:
        """Say what has happened to the file at `path`, as after it was saved."""
        self.noted.emit(text, path)

    def new_id(self, prefix: str, *, is_unique: bool = False) -> str:
        """Return an unused id for a command and its events.

        Windows give the same ids, unless one has to be unique.
        """
        number = next(self._numbers)
        return f"{prefix}-{self._token}-{number}" if is_unique else f"{prefix}-{number}"

    def send(self, command: Command) -> None:
        """Send a command to the engine; its events come with `events_arrived`."""
        self.engine.send(command)

    def start_request(
        self,
        kind: RequestKind,
        make_command: Callable[..., Command],
        request: Request[Any] = NO_REQUEST,
    ) -> None:
        """Send `make_command(run=...)` with a new id; the state follows its events.

        `request` is stored with that id; the last request of the kind is obsolete. Like
        a run, a task hides the error of what was before.
        """
        request = replace(request, id=self.new_id(kind.value))
        state = app_state.with_request(self.state, kind, request)
        is_task = kind in app_state.TASKS
        self.set(replace(state, notice=None) if is_task else state)
        self.send(make_command(run=request.id))

    def cancel_request(self, kind: RequestKind) -> None:
        """Cancel the latest request of a kind, if it is in progress."""
        request = self.state.request(kind)
        if request.can_cancel:
            self.send(Cancel(run=request.id))
            self.set(app_state.with_request(self.state, kind, request.cancelling()))

    def forget_request(self, kind: RequestKind) -> None:
        """Cancel the latest request of a kind and forget its response."""
        self.cancel_request(kind)
        self.set(app_state.without_requests(self.state, kind))

    @contextmanager
    def showing_errors(self) -> Iterator[None]:
        """Show the error of a setting in the block, which ends there."""
        try:
            yield
        except ConfigError as error:
            self.report(error.message, error.hint)


def _in_view(state: AppState) -> tuple[object, ...]:
    """Return the values that identify the files of the run in view."""
    run = state.shown_run
    return run.run, run.status.is_busy, run.exported, run.saved


def checked(state: AppState) -> AppState:
    """Return the state with its draft and the files of the run in view checked."""
    problems = checks.find_problems(
        state.config,
        state.model,
        state.run_parent,
        on_cuda=state.on_cuda,
        is_remote=bool(state.computer),
        may_replace=state.may_replace,
    )
    state = replace(
        state,
        problems={
            step: state.rejected.get(step, ()) + problems.get(step, ())
            for step in (*state.rejected, *problems)
        },
        can_replace=checks.can_replace(
            state.config, state.run_parent, is_remote=bool(state.computer)
        ),
        missing=checks.missing_in_view(state),
    )
    return replace(state, resource_check=check_draft(state))
