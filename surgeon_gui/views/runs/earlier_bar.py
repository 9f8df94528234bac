"""Bars above the views, and the one shown while they show an earlier run."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.runs.reading import outcome_of
from surgeon_gui.state.runs.text import OUTCOMES
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import button, text_label
from surgeon_gui.widgets.layouts import STRETCH, add_parts, card, horizontal, stack

_NARROW = 440  # pixels


class Bar(QFrame):
    """Bar above the views: a card with a text and buttons at its right.

    In a narrow bar, the buttons are below the text.
    """

    def lay_out(self, text: QWidget, *buttons: QWidget) -> None:
        """Place the text and the buttons."""
        frame, row = card(), QHBoxLayout()
        self._inner = QBoxLayout(QBoxLayout.Direction.LeftToRight, frame)
        self._inner.setContentsMargins(MARGIN, GAP // 2, GAP // 2, GAP // 2)
        self._inner.addWidget(text, 1)
        add_parts(row, STRETCH, *buttons)
        self._inner.addLayout(row)
        horizontal(self, frame)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        stack(self._inner, is_stacked=event.size().width() < _NARROW)


class EarlierBar(Bar):
    """Bar that names the earlier run shown; hidden without one."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._text = text_label(name="earlier_label")
        self._close = button("earlier_close_button", session.close_opened_run)
        self._use = button("use_settings_button", session.use_settings)
        self.lay_out(self._text, self._use, self._close)
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show which run is shown, and buttons to use its settings and to go back."""
        self.setVisible(state.opened_run is not None)
        if state.opened_run is None:
            return
        self._text.setText(earlier_run_text(state))
        self._use.setHidden(state.shows_draft)
        if not state.run.run:
            label = CAPTIONS["earlier_close_button"].label
        elif state.run.status.is_busy:
            label = tr("Back to the run in progress")
        else:
            label = tr("Back to the latest run")
        self._close.setText(label)


def earlier_run_text(state: AppState) -> str:
    """Describe the earlier run shown, and the run in progress."""
    run = state.shown_run
    text = tr("Earlier run: {run}. {outcome}, started {date}.").format(
        run=run.name,
        outcome=OUTCOMES[outcome_of(run)],
        date=f"{datetime.fromtimestamp(run.began):%Y-%m-%d %H:%M}",
    )
    if state.opened_run is not None and state.run.status.is_busy:
        text += " " + tr("The run in progress continues; only its charts are hidden.")
    if not state.shows_draft:
        text += " " + tr("The steps show its settings.")
    return text
