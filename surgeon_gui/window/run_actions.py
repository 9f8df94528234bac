"""What the buttons and the menu do with a run."""

from __future__ import annotations

import time
from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QMainWindow

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job.targets import with_step
from surgeon_gui.state.run_text import cancel_note
from surgeon_gui.state.runs.reading import has_saved_state
from surgeon_gui.text.problems import Step
from surgeon_gui.views.question import Question
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.widgets.controls import finish_typing
from surgeon_gui.window.central_tabs import CentralTabs


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
        """Cancel the run; ask first if it has begun."""
        run = self._session.state.run
        if not run.status.can_cancel:
            return
        if run.model is None:  # nothing is lost
            self._session.cancel()
            return
        is_saved = not run.computer and has_saved_state(run.folder)
        details = cancel_note(run, time.time(), is_saved=is_saved)
        on_yes = partial(self._on_confirmed, run.folder)
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

    def prepare_next(self, *, is_smaller: bool) -> None:
        """Make the job of the run the draft, with a smaller target or a gentler one."""
        if (config := self._session.state.shown_run.config) is not None:
            self._session.draft.load(with_step(config, is_smaller=is_smaller))
            self._steps.open(Step.TARGET)
