"""What the buttons and the menu do with a run."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QMainWindow

from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job.targets import with_next_target
from surgeon_gui.text import numbers
from surgeon_gui.text.problems import PASSING
from surgeon_gui.views.question import Question
from surgeon_gui.widgets.controls import finish_typing


class RunActions(QObject):
    """Start a run, cancel it, or go on to another target."""

    started = Signal()

    def __init__(self, session: Session, window: QMainWindow) -> None:
        super().__init__(window)
        self._wanted: RunConfig | None = None  # to start once it has been read
        session.changed.connect(self._go_on)
        self._session, self._window = session, window
        self._question = Question("cancel", tr("Cancel the run"), window)

    @Slot()
    def start(self) -> None:
        """Start a run with what the inputs show, once they have been read."""
        finish_typing(self._window.focusWidget())
        self._wanted = self._session.state.config
        self._go_on()

    @Slot()
    def _go_on(self) -> None:
        """Start the job that is wanted, unless it has changed or cannot be started."""
        if self._wanted is None:
            return
        obstacle = self._session.start_obstacle()
        is_same = self._session.state.config == self._wanted
        if is_same and obstacle is not None and obstacle.kind in PASSING:
            return
        self._wanted = None
        if is_same and obstacle is None:
            self._session.start_run()
            self.started.emit()

    @Slot()
    def cancel(self) -> None:
        """Ask whether to cancel the run, and say what would be lost."""
        seconds = self._session.unsaved_seconds
        details = tr("It can be resumed from its saved progress.")
        if seconds:
            details = tr("It has taken {time}, and nothing is saved yet.")
            details = details.format(time=numbers.duration(seconds))
        on_yes = partial(self._on_confirmed, self._session.state.run.folder)
        self._question.ask(tr("Cancel the run?"), details, on_yes)

    def _on_confirmed(self, folder: str) -> None:
        if folder == self._session.state.run.folder:
            self._session.cancel()

    def prepare_next(self, direction: int) -> bool:
        """Make the job of the run the draft, with a smaller (1) or gentler (-1) target.

        Return whether the run has a job.
        """
        config = self._session.state.shown_run.config
        if config is None:
            return False
        self._session.draft.load(with_next_target(config, direction))
        return True
