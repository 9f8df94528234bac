"""What goes along with a run on a desktop: no sleep at work, a word at the end."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.messages.events import Envelope, Level, Logged
from surgeon_gui.base.keep_awake import KeepAwake, sleep_inhibitor
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.step_text import phase
from surgeon_gui.text import labels
from surgeon_gui.window.notifications import Notifier


class DesktopIntegration(QObject):
    """Follows the session; tests give it an `awake` and a `notifier` of their own."""

    told = Signal(object)  # list[Envelope], for the log

    def __init__(
        self,
        session: Session,
        window: QWidget,
        awake: KeepAwake | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__(window)
        self._session = session
        self._awake = awake or KeepAwake(sleep_inhibitor(), self)
        self._notifier = notifier or Notifier(window)
        self._told_of = ""  # the run of which the log says whether the computer sleeps
        self._awake.responded.connect(self._on_answered)
        session.changed.connect(self._on_changed)
        session.run_ended.connect(self._on_run_ended)

    @Slot()
    def _on_changed(self) -> None:
        status = self._session.state.run.status
        if status.is_busy and status is not Status.PAUSED:
            self._awake.hold()
        else:
            self._awake.allow_sleep()

    @Slot(str)
    def _on_answered(self, reason: str) -> None:
        run = self._session.state.run.run
        if run == self._told_of:
            return  # it has been paused meanwhile
        self._told_of = run
        words = tr("The computer stays awake while the run is at work.")
        if reason:
            words = tr("The computer may go to sleep during the run: {reason}.")
            words = words.format(reason=reason)
        self.told.emit([Envelope("", time.time(), Logged(Level.INFO, words))])

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        if run.status is Status.CANCELLED or not self._notifier.is_wanted:
            return  # whoever has cancelled it knows
        words = phase(run)
        if run.error is not None:
            words = f"{words} {run.error.message}"
        self._notifier.tell(labels.APPLICATION, words)
