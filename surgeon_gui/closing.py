"""What happens when the window is closed while a run or a save is under way."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QWidget

from surgeon_engine.events import Exported
from surgeon_gui.inquiry import Inquiry
from surgeon_gui.run_state import RunState, Status
from surgeon_gui.session import Session
from surgeon_gui.translation import tr


class _Words(NamedTuple):
    title: str
    question: str
    explanation: str
    keep: str
    end: str
    stay: str


_ABOUT_RUN = _Words(
    tr("A run is under way"),
    tr("A run is under way. What should become of it?"),
    tr(
        "Stop and keep ends it after the shot under way, exports the model as it is "
        "then, and closes Surgeon."
    ),
    tr("Stop and keep"),
    tr("Cancel the run and close"),
    tr("Keep running"),
)
_ABOUT_PAUSED = _Words(
    tr("A run is paused"),
    tr("A run is paused. What should become of it?"),
    tr(
        "Stop and keep lets it go on to the end of the shot under way, exports the "
        "model as it is then, and closes Surgeon."
    ),
    tr("Stop and keep"),
    tr("Cancel the run and close"),
    tr("Leave it paused"),
)
_ABOUT_SAVE = _Words(
    tr("The model is being saved"),
    tr("The pruned model is being saved in another format. What should become of it?"),
    tr(
        "Finish and close waits until the new files have been checked. The run's own "
        "export stays where it is in any case."
    ),
    tr("Finish and close"),
    tr("Close without the new files"),
    tr("Stay open"),
)


class CloseQuestion(QObject):
    """Asks what to do with what is under way, without blocking the window."""

    may_close = Signal()  # nothing is under way any more, or need not be waited for

    def __init__(self, session: Session, window: QWidget) -> None:
        super().__init__(window)
        self._session = session
        self._waits_for_end = False
        self._box = QMessageBox(window)
        self._box.setObjectName("close_question")
        self._box.setIcon(QMessageBox.Icon.Question)
        roles = QMessageBox.ButtonRole
        self._keep = self._button(roles.AcceptRole, "close_keep_button")
        self._end = self._button(roles.DestructiveRole, "close_cancel_button")
        self._stay = self._button(roles.RejectRole, "close_stay_button")
        self._box.setEscapeButton(self._stay)
        self._box.setDefaultButton(self._stay)
        self._box.buttonClicked.connect(self._on_button_clicked)
        session.run_ended.connect(self._on_run_ended)
        session.save_ended.connect(self._on_save_ended)

    @property
    def is_needed(self) -> bool:
        """Whether something is under way that should not be lost."""
        state = self._session.state
        return state.run.status.is_busy or state.save.is_open

    def ask(self) -> None:
        """Show the question; returns at once."""
        words = _words_about(self._session.state.run.status)
        self._box.setWindowTitle(words.title)
        self._box.setText(words.question)
        self._box.setInformativeText(words.explanation)
        self._keep.setText(words.keep)
        self._end.setText(words.end)
        self._stay.setText(words.stay)
        self._box.open()

    def _button(self, role: QMessageBox.ButtonRole, name: str) -> QPushButton:
        made = self._box.addButton("", role)
        made.setObjectName(name)
        return made

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        self._waits_for_end = clicked is self._keep
        if clicked is self._keep:
            self._session.stop_and_keep()
        elif clicked is self._end:
            self._session.cancel()
            self._session.cancel_save()
            self.may_close.emit()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        self._on_end(failed=run.status is Status.FAILED)

    @Slot(object)
    def _on_save_ended(self, save: Inquiry[Exported]) -> None:
        self._on_end(failed=save.problem is not None)

    def _on_end(self, *, failed: bool) -> None:
        self._box.hide()  # there is nothing left to ask
        waited, self._waits_for_end = self._waits_for_end, False
        if waited and not failed:  # what has failed is to be read
            self.may_close.emit()


def _words_about(status: Status) -> _Words:
    if status in (Status.PAUSING, Status.PAUSED):
        return _ABOUT_PAUSED
    return _ABOUT_RUN if status.is_busy else _ABOUT_SAVE
