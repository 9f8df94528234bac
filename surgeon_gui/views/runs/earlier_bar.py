"""The line above the views that says that they show an earlier run."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtWidgets import QFrame, QHBoxLayout

from surgeon_gui.state.app import AppState
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.state.runs.reading import outcome_of
from surgeon_gui.state.runs.text import OUTCOMES
from surgeon_gui.controllers.session import Session
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import (button, card, text_label,)


class EarlierBar(QFrame):
    """Takes no room while there is nothing to say."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._words = text_label()
        self._words.setObjectName("earlier_label")
        self._close = button("earlier_close_button")
        self._close.clicked.connect(session.close_opened_run)
        frame = card()
        inside = QHBoxLayout(frame)
        inside.setContentsMargins(MARGIN, GAP // 2, GAP // 2, GAP // 2)
        inside.addWidget(self._words, 1)
        inside.addWidget(self._close)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Say which run is shown, and what there is besides."""
        self.setVisible(bool(state.opened_run_name))
        if not state.opened_run_name:
            return
        self._words.setText(earlier_run_text(state))
        if state.opened_run is None:
            words = CAPTIONS["earlier_close_button"].label
        elif state.run.status.is_busy:
            words = tr("Back to the run under way")
        else:
            words = tr("Back to the latest run")
        self._close.setText(words)


def earlier_run_text(state: AppState) -> str:
    """Which earlier run is shown, how it ended, and what goes on meanwhile."""
    run = state.shown_run
    words = tr("An earlier run is shown: {run}. {standing}, begun {date}.").format(
        run=state.opened_run_name,
        standing=OUTCOMES[outcome_of(run)],
        date=f"{datetime.fromtimestamp(run.began):%Y-%m-%d %H:%M}",
    )
    if state.opened_run is not None and state.run.status.is_busy:
        words += " " + tr("The run under way goes on; only its charts are hidden.")
    return words
