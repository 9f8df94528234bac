"""What happens when the window is closed while something is under way."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status


class _CloseText(NamedTuple):
    title: str
    question: str
    explanation: str
    keep: str  # empty: nothing would be left to keep
    end: str
    stay: str


_ABOUT_RUN = _CloseText(
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
_ABOUT_PAUSED = _CloseText(
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
_ABOUT_SAVE = _CloseText(
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
_ABOUT_DIAGNOSIS = _CloseText(
    tr("A diagnosis is under way"),
    tr("The model is being diagnosed. What should become of it?"),
    tr("What a diagnosis finds is kept only while Surgeon is open."),
    "",
    tr("Cancel it and close"),
    tr("Stay open"),
)
_ABOUT_MEASUREMENT = _CloseText(
    tr("Speed is being measured"),
    tr("Speed and memory are being measured. What should become of it?"),
    tr("The figures are kept only while Surgeon is open. The run's files stay."),
    "",
    tr("Cancel it and close"),
    tr("Stay open"),
)
_ABOUT_DOWNLOAD = _CloseText(
    tr("A download is under way"),
    tr("A model is being downloaded. What should become of it?"),
    tr(
        "What has arrived is kept: the download can be resumed later where it was. "
        "Finish and close waits until all of it is there."
    ),
    tr("Finish and close"),
    tr("Close and resume later"),
    tr("Stay open"),
)


# None: the run. If several are in progress, the first is asked about.
_ABOUT: dict[RequestKind | None, _CloseText] = {
    None: _ABOUT_RUN,
    RequestKind.SAVE: _ABOUT_SAVE,
    RequestKind.DIAGNOSIS: _ABOUT_DIAGNOSIS,
    RequestKind.MEASUREMENT: _ABOUT_MEASUREMENT,
    RequestKind.DOWNLOAD: _ABOUT_DOWNLOAD,
}


class CloseQuestion(QObject):
    """Asks what to do with what is under way, without blocking the window."""

    may_close = Signal()  # nothing is under way any more, or need not be waited for

    def __init__(self, session: Session, window: QWidget) -> None:
        super().__init__(window)
        self._session = session
        self._subject: RequestKind | None = None
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
        session.request_ended.connect(self._on_request_ended)

    @property
    def is_needed(self) -> bool:
        """Whether something is under way that should not be lost."""
        return any(_is_under_way(each, self._session.state) for each in _ABOUT)

    def ask(self) -> None:
        """Show the question; returns at once."""
        state = self._session.state
        self._subject = next(each for each in _ABOUT if _is_under_way(each, state))
        words = _close_text(self._subject, state)
        self._box.setWindowTitle(words.title)
        self._box.setText(words.question)
        self._box.setInformativeText(words.explanation)
        self._keep.setText(words.keep)
        self._keep.setVisible(bool(words.keep))
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
            if self._subject is None:
                self._session.stop_and_keep()
        elif clicked is self._end:
            self._session.cancel()
            if (task := self._session.state.task) is not None:
                self._session.cancel_request(task)
            self.may_close.emit()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        self._on_end(None, failed=run.status is Status.FAILED)

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request) -> None:
        failed = request.response is None
        if kind is RequestKind.SAVE:
            failed = request.error is not None  # one that was cancelled is not
        self._on_end(kind, failed=failed)

    def _on_end(self, subject: RequestKind | None, *, failed: bool) -> None:
        if subject is not self._subject:
            return
        self._box.hide()  # there is nothing left to ask
        waited, self._waits_for_end = self._waits_for_end, False
        if waited and not failed:  # what has failed is to be read
            self.may_close.emit()


def _is_under_way(subject: RequestKind | None, state: AppState) -> bool:
    if subject is None:
        return state.run.status.is_busy
    return state.request(subject).is_open


def _close_text(subject: RequestKind | None, state: AppState) -> _CloseText:
    words = _ABOUT[subject]
    if subject is None and state.run.status in (Status.PAUSING, Status.PAUSED):
        words = _ABOUT_PAUSED
    if subject is not RequestKind.DOWNLOAD and state.download.is_open:
        also = tr("The download under way can be resumed later where it was.")
        words = words._replace(explanation=f"{words.explanation} {also}")
    return words
