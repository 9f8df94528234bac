"""Bars below the pages: each with a text, buttons, and a reason to be shown.

The primary button is one of the page's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QPushButton
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.computers import can_reconnect, connection_problem
from surgeon_gui.state.queue.text import offer, queue_elsewhere
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.text import offer_to_resume
from surgeon_gui.widgets.controls import button, text_label
from surgeon_gui.widgets.dialogs import open_folder
from surgeon_gui.widgets.layouts import (
    BAR_MARGINS,
    STRETCH,
    add_parts,
    card,
    horizontal,
    in_row,
    stack,
)

_NARROW = 440  # pixels


class Bar(QFrame):
    """A card with a text and buttons at its right, or below it in a narrow bar.

    Hidden without a text.
    """

    def __init__(self, label_name: str) -> None:
        super().__init__()
        self._text = text_label(name=label_name)

    def lay_out(self, *buttons: QPushButton) -> None:
        """Place the text and the buttons."""
        frame, row = card(), in_row(STRETCH, *buttons, spacing=None)
        self._inner = QBoxLayout(QBoxLayout.Direction.LeftToRight, frame)
        self._inner.setContentsMargins(MARGIN, GAP // 2, GAP // 2, GAP // 2)
        add_parts(self._inner, (self._text, 1), row)
        horizontal(self, frame, margin=BAR_MARGINS)
        self.hide()

    def show_text(self, text: str) -> None:
        """Show the bar with a text; hide it if that is empty."""
        self._text.setText(text)
        self.setVisible(bool(text))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        stack(self._inner, is_stacked=event.size().width() < _NARROW)


class ConnectionBar(Bar):
    """Shown without a connection with the engine's computer."""

    def __init__(self, session: Session, use_here: Callable[[], None]) -> None:
        super().__init__("connection_label")
        self._again = button("connection_again_button", session.reconnect)
        here = button("connection_here_button", use_here)
        self.lay_out(self._again, here)

    def show_state(self, state: AppState) -> None:
        """Show what is wrong with the connection."""
        self.show_text(connection_problem(state))
        self._again.setEnabled(can_reconnect(state))


class NoteBar(Bar):
    """Shows a note, such as where a file was saved, as long as its page is open."""

    def __init__(self) -> None:
        super().__init__("saved_label")
        self._path = ""
        self._show = button("saved_folder_button", self._on_folder_clicked)
        self.lay_out(self._show, button("saved_dismiss_button", self.hide))

    def show_note(self, text: str, path: str = "") -> None:
        """Show a sentence, which may be about the file at a path."""
        self._path = path
        self._show.setVisible(bool(path))
        self.show_text(text)

    @Slot()
    def _on_folder_clicked(self) -> None:
        path = Path(self._path)
        open_folder(str(path if path.is_dir() else path.parent))


class ResumeBar(Bar):
    """Offers to go on with an interrupted run, unless the engine is busy.

    The page of a run offers it itself.
    """

    def __init__(self, session: Session, runs: RunsController) -> None:
        super().__init__("resume_label")
        self._session, self._runs = session, runs
        resume = button("resume_run_button", self._on_resume)
        later = button("resume_later_button", self._on_later)
        self.lay_out(resume, later)
        runs.changed.connect(self._redraw)
        session.changed.connect(self._redraw)

    @property
    def _run(self) -> RunRecord | None:
        state, run = self._session.state, self._runs.state.to_resume
        if run is None or state.is_busy or state.computer:
            return None
        on_page = (state.run.folder, state.shown_run.folder)
        return None if run.folder in on_page else run

    @Slot()
    def _redraw(self) -> None:
        run = self._run
        self.show_text("" if run is None else offer_to_resume(run))

    @Slot()
    def _on_resume(self) -> None:
        if (run := self._run) is not None:
            self._runs.resume(run.folder)

    @Slot()
    def _on_later(self) -> None:
        if (run := self._run) is not None:
            self._runs.dismiss(run.folder)


class QueueBar(Bar):
    """Offers to go on with the queue, or says on which computer it is."""

    def __init__(self, queue: QueueController) -> None:
        super().__init__("queue_offer_label")
        self._queue = queue
        self._start = button("queue_resume_button", queue.start)
        self._take_over = button("queue_take_over_button", queue.take_over)
        later = button("queue_later_button", queue.dismiss_offer)
        self.lay_out(self._start, self._take_over, later)
        queue.changed.connect(self._redraw)
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        state, elsewhere = self._queue.state, self._queue.elsewhere
        is_offered = state.is_offered and state.next is not None
        self._start.setVisible(is_offered)
        self._take_over.setVisible(elsewhere is not None)
        if elsewhere is not None:
            self.show_text(queue_elsewhere(elsewhere))
        else:
            self.show_text(offer(state) if is_offered else "")
