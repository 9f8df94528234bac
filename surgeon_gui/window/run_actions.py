"""What the buttons and the menu do with a run."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QMainWindow

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job.targets import with_next_target
from surgeon_gui.text import numbers
from surgeon_gui.text.problems import Step
from surgeon_gui.views.question import Question
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.widgets.controls import finish_typing
from surgeon_gui.window.central_tabs import CentralTabs

_UNSAVED_SECONDS = 60.0  # that are cancelled without a question


class RunActions(QObject):
    """Start a run, cancel it, try its model, or go on to the next target."""

    def __init__(
        self,
        session: Session,
        steps: StepPanel,
        tabs: CentralTabs,
        playground: Playground,
        window: QMainWindow,
    ) -> None:
        super().__init__(window)
        self._session, self._steps, self._tabs = session, steps, tabs
        self._playground, self._window = playground, window
        self._question = Question("cancel", tr("Cancel the run"), window)

    @Slot()
    def start(self) -> None:
        """Start a run with what the inputs show."""
        finish_typing(self._window.focusWidget())
        if not self._session.start_obstacle():
            self._steps.open(Step.RUN)
            self._tabs.open_tab("live_tab")
            self._session.start_run()

    @Slot()
    def cancel(self) -> None:
        """Cancel the run; ask first if the work of minutes would be lost."""
        seconds = self._session.unsaved_seconds
        if seconds < _UNSAVED_SECONDS:
            self._session.cancel()
            return
        details = tr("It has taken {time}, and nothing is saved yet.")
        details = details.format(time=numbers.duration(seconds))
        on_yes = partial(self._on_confirmed, self._session.state.run.folder)
        self._question.ask(tr("Cancel the run?"), details, on_yes)

    def _on_confirmed(self, folder: str) -> None:
        if folder == self._session.state.run.folder:
            self._session.cancel()

    @Slot()
    def try_out(self) -> None:
        """Let the model of the run write in the playground."""
        self._tabs.open_tab("playground_tab")
        self._playground.use_run()
        self._playground.generate()

    @Slot()
    def prepare_next(self) -> None:
        """Make the job of the run the draft, with the next target."""
        if (config := self._session.state.shown_run.config) is not None:
            self._session.draft.load(with_next_target(config))
            self._steps.open(Step.TARGET)
