"""Bar that offers to go on with an interrupted run."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.text import offer_to_resume
from surgeon_gui.widgets.controls import button, card, text_label


class ResumeBar(QFrame):
    """Bar that names the run; hidden without one, and while the engine is busy."""

    def __init__(self, session: Session, runs: RunsController) -> None:
        super().__init__()
        self._session, self._runs = session, runs
        self._text = text_label()
        self._text.setObjectName("resume_label")
        self._resume = button("resume_run_button", primary=True)
        self._resume.clicked.connect(self._on_resume)
        self._later = button("resume_later_button")
        self._later.clicked.connect(self._on_later)
        frame = card()
        inner = QHBoxLayout(frame)
        inner.setContentsMargins(MARGIN, GAP // 2, GAP // 2, GAP // 2)
        inner.addWidget(self._text, 1)
        inner.addWidget(self._resume)
        inner.addWidget(self._later)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)
        runs.changed.connect(self._redraw)
        session.changed.connect(self._redraw)
        self.hide()

    @property
    def _run(self) -> RunRecord | None:
        """The run to offer."""
        state, run = self._session.state, self._runs.state.to_resume
        if run is None or state.is_busy:
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
