"""Bar that offers to go on with an interrupted run."""

from __future__ import annotations

from PySide6.QtCore import Slot

from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.text import offer_to_resume
from surgeon_gui.views.runs.earlier_bar import Bar
from surgeon_gui.widgets.controls import button, text_label


class ResumeBar(Bar):
    """Bar that names the run; hidden without one, and while the engine is busy."""

    def __init__(self, session: Session, runs: RunsController) -> None:
        super().__init__()
        self._session, self._runs = session, runs
        self._text = text_label(name="resume_label")
        self._resume = button("resume_run_button", self._on_resume, primary=True)
        self._later = button("resume_later_button", self._on_later)
        self.lay_out(self._text, self._resume, self._later)
        runs.changed.connect(self._redraw)
        session.changed.connect(self._redraw)
        self.hide()

    @property
    def _run(self) -> RunRecord | None:
        """The run to offer."""
        state, run = self._session.state, self._runs.state.to_resume
        if run is None or state.is_busy or state.computer:
            return None
        # The list is read again a moment after a run has ended.
        is_current = run.folder == state.run.folder
        return None if is_current and state.run.status is Status.FINISHED else run

    @Slot()
    def _redraw(self) -> None:
        run = self._run
        self.setVisible(run is not None)
        if run is not None:
            self._text.setText(offer_to_resume(run))

    @Slot()
    def _on_resume(self) -> None:
        if (run := self._run) is not None:
            self._runs.resume(run.folder)

    @Slot()
    def _on_later(self) -> None:
        if (run := self._run) is not None:
            self._runs.dismiss(run.folder)
