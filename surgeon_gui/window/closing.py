"""The question asked when the window is closed while a task is in progress."""

from __future__ import annotations

from typing import Any, NamedTuple

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.queue.text import kept_note
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import has_saved_state
from surgeon_gui.widgets.controls import message_box


class _CloseText(NamedTuple):
    title: str
    question: str
    explanation: str
    keep: str = ""  # empty if there is nothing to keep
    discard: str = tr("Cancel it and close")


_RUN_TEXT = _CloseText(
    tr("A run is in progress"),
    tr("A run is in progress. Close anyway?"),
    tr(
        "“Finish here and close” finishes what is in work, writes and verifies the "
        "model and closes Surgeon."
    ),
    tr("Finish here and close"),
    tr("Cancel the run and close"),
)
_PAUSED_TEXT = _RUN_TEXT._replace(
    title=tr("A run is paused"),
    question=tr("A run is paused. Close anyway?"),
    explanation=tr(
        "“Finish here and close” resumes the run, finishes what is in work, writes and "
        "verifies the model and closes Surgeon."
    ),
)
_EXPORTING_TEXT = _RUN_TEXT._replace(
    explanation=tr("“Finish and close” waits until the model is written and verified."),
    keep=tr("Finish and close"),
)
_CANCELLING_TEXT = _CloseText(
    tr("A run is being canceled"),
    tr("The run is being canceled, but has not ended yet. Close anyway?"),
    tr("If the run does not obey, it goes on, and the next start of Surgeon shows it."),
    tr("Wait and close"),
    tr("Close now"),
)
_SAVE_TEXT = _CloseText(
    tr("The model is being saved"),
    tr("The pruned model is being saved in another format. Close anyway?"),
    tr(
        "“Finish and close” waits until the new files are written and verified. The "
        "export of the run is kept in any case."
    ),
    tr("Finish and close"),
    tr("Close without the new files"),
)
_DIAGNOSIS_TEXT = _CloseText(
    tr("A measurement is in progress"),
    tr("The model is being measured. Close anyway?"),
    tr("Its results are kept only while Surgeon is open."),
)
_MEASUREMENT_TEXT = _CloseText(
    tr("Speed is being measured"),
    tr("Speed and memory are being measured. Close anyway?"),
    tr(
        "The results are kept only while Surgeon is open. The files of the run are not "
        "affected."
    ),
)
_JUDGMENT_TEXT = _CloseText(
    tr("A file is being judged"),
    tr("The file is being judged. Close anyway?"),
    tr("The files of the run are not affected. You can judge it again later."),
)
_DOWNLOAD_TEXT = _CloseText(
    tr("A download is in progress"),
    tr("A model is being downloaded. Close anyway?"),
    tr(
        "The part downloaded so far is kept, and the download can be resumed later. "
        "“Finish and close” waits until it is complete."
    ),
    tr("Finish and close"),
    tr("Close and resume later"),
)


# None stands for the run. The first active task is the one that is asked about.
_CLOSE_TEXTS: dict[RequestKind | None, _CloseText] = {
    None: _RUN_TEXT,
    RequestKind.SAVE: _SAVE_TEXT,
    RequestKind.DIAGNOSIS: _DIAGNOSIS_TEXT,
    RequestKind.MEASUREMENT: _MEASUREMENT_TEXT,
    RequestKind.JUDGMENT: _JUDGMENT_TEXT,
    RequestKind.DOWNLOAD: _DOWNLOAD_TEXT,
}


class CloseQuestion(QObject):
    """Ask whether to finish or discard the active task, without blocking the window."""

    may_close = Signal()  # the task has ended or was discarded

    def __init__(
        self, session: Session, queue: QueueController, window: QWidget
    ) -> None:
        super().__init__(window)
        self._session, self._queue = session, queue
        self._task: RequestKind | None = None
        self._waits_for_end = False
        self._box = message_box(window, QMessageBox.Icon.Question, "close_question")
        roles = QMessageBox.ButtonRole
        self._keep = self._add_button(roles.AcceptRole, "close_keep_button")
        self._discard = self._add_button(roles.DestructiveRole, "close_cancel_button")
        self._stay = self._add_button(roles.RejectRole, "close_stay_button")
        self._stay.setText(tr("Stay open"))
        self._box.setEscapeButton(self._stay)
        self._box.buttonClicked.connect(self._on_button_clicked)
        session.run_ended.connect(self._on_run_ended)
        session.request_ended.connect(self._on_request_ended)

    @property
    def is_needed(self) -> bool:
        """True if a task is active whose result would be lost."""
        return any(_is_active(task, self._session.state) for task in _CLOSE_TEXTS)

    def ask(self) -> None:
        """Show the question and return immediately."""
        state = self._session.state
        self._task = next(task for task in _CLOSE_TEXTS if _is_active(task, state))
        text = _close_text(self._task, state, self._queue.state)
        self._box.setWindowTitle(text.title)
        self._box.setText(text.question)
        self._box.setInformativeText(text.explanation)
        self._keep.setText(text.keep)
        self._keep.setVisible(bool(text.keep))
        self._discard.setText(text.discard)
        self._box.setDefaultButton(self._stay)  # also after another was clicked
        self._box.open()

    def discard(self) -> None:
        """Cancel what does not go on without the window, which may close at once."""
        self._waits_for_end = False
        self._queue.stop()
        state = self._session.state
        if _is_active(None, state):
            self._session.cancel()
        if state.task is not None and _is_active(state.task, state):
            self._session.store.cancel_request(state.task)
        self.may_close.emit()

    def _add_button(self, role: QMessageBox.ButtonRole, name: str) -> QPushButton:
        button = self._box.addButton("", role)
        button.setObjectName(name)
        return button

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        self._waits_for_end = clicked is self._keep
        if clicked is self._keep:
            self._queue.stop()
            if self._task is None:
                self._session.stop_and_keep()
        elif clicked is self._discard:
            self.discard()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        self._on_task_ended(None, failed=run.status is Status.FAILED)

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Any]) -> None:
        failed = request.response is None
        if kind is RequestKind.SAVE:
            failed = request.error is not None  # cancelling is no failure
        self._on_task_ended(kind, failed=failed)

    def _on_task_ended(self, task: RequestKind | None, *, failed: bool) -> None:
        if task is not self._task:
            return
        self._box.hide()
        waited, self._waits_for_end = self._waits_for_end, False
        if waited and not failed:  # stay open so that the error can be read
            self.may_close.emit()


def _is_active(task: RequestKind | None, state: AppState) -> bool:
    if task is None and state.run.goes_on:
        return state.run.status is Status.CANCELLING
    if task is None:
        return state.run.status.is_busy
    return state.request(task).is_open


def _progress_note(run: RunState) -> str:
    """Return whether a run that is cancelled can be resumed."""
    if has_saved_state(run.folder):
        return tr(
            "“Cancel the run and close” keeps the progress that is saved: the run can "
            "be resumed later."
        )
    return tr(
        "Nothing of the run is saved yet: after “Cancel the run and close” it can only "
        "be started again."
    )


def _close_text(
    task: RequestKind | None, state: AppState, queue: QueueState
) -> _CloseText:
    text = _CLOSE_TEXTS[task]
    if task is None and state.run.status in (Status.PAUSING, Status.PAUSED):
        text = _PAUSED_TEXT
    elif task is None and state.run.is_exporting:
        text = _EXPORTING_TEXT
    goes_on = task is None and state.run.goes_on
    if goes_on:
        text = _CANCELLING_TEXT
    elif task is None and not (state.run.history or text is _EXPORTING_TEXT):
        text = text._replace(keep="", explanation="")  # there is nothing to keep
    notes = [text.explanation] if text.explanation else []
    if task is None and not goes_on:
        notes.append(_progress_note(state.run))
    if task is not RequestKind.DOWNLOAD and state.download.is_open:
        notes.append(tr("The current download can be resumed later."))
    if note := kept_note(queue):
        notes.append(note)
    return text._replace(explanation=" ".join(notes))
