"""Desktop integration: inhibit sleep during a run, notify when it ends.

A queue counts as one run: sleep is inhibited until its end, which is notified once.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Signal, Slot
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget
from typing_extensions import override

from surgeon_gui.base.icon import application_icon
from surgeon_gui.base.keep_awake import KeepAwake, may_sleep, sleep_inhibitor
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.queue.text import ending
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import run_ending
from surgeon_gui.text import labels


class DesktopIntegration(QObject):
    """Inhibit sleep and show notifications as the state of the session changes."""

    noted = Signal(str)  # for the log

    def __init__(
        self, session: Session, queue: QueueController, window: QWidget
    ) -> None:
        super().__init__(window)
        self._session, self._queue = session, queue
        self._awake = KeepAwake(sleep_inhibitor(), self)
        self._notifier = Notifier(window)
        self._keeps_awake = True
        self._logged_run = ""  # the run whose sleep inhibition was logged
        self._awake.responded.connect(self._on_sleep_response)
        session.changed.connect(self._on_changed)
        session.run_ended.connect(self._on_run_ended)
        queue.changed.connect(self._on_changed)
        queue.ended.connect(self._on_queue_ended)

    def keep_awake(self, is_on: bool) -> None:
        """Set whether the computer is kept awake during a run."""
        self._keeps_awake = is_on
        self._on_changed()

    @Slot()
    def _on_changed(self) -> None:
        status = self._session.state.run.status
        is_working = status.is_busy or self._queue.state.is_working
        if self._keeps_awake and is_working and status is not Status.PAUSED:
            self._awake.hold()
        else:
            self._awake.allow_sleep()

    @Slot(str)
    def _on_sleep_response(self, reason: str) -> None:
        run = self._session.state.run.run
        if run == self._logged_run:
            return  # resumed after a pause
        self._logged_run = run
        awake = tr("The computer stays awake during the run.")
        self.noted.emit(may_sleep(reason) or awake)

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        # The user knows about a run that they cancelled.
        if run.status is Status.CANCELLED or self._queue.holds(run):
            return
        message = run_ending(run)
        if run.error is not None:
            message = f"{message} {run.error.message}"
        self._notify(message)

    @Slot(object)
    def _on_queue_ended(self, state: QueueState) -> None:
        self._notify(ending(state))

    def _notify(self, message: str) -> None:
        if self._notifier.is_needed:  # else the user has watched
            self._notifier.notify(labels.APPLICATION, message)


class Notifier(QObject):
    """Show a desktop notification, or make the window demand attention."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None  # shown only with a notification

    @property
    def is_needed(self) -> bool:
        """True if the window is not the active one."""
        return not self._window.isActiveWindow()

    def notify(self, title: str, message: str) -> None:
        """Show `message` as a notification if the desktop supports it."""
        if not supports_notifications():
            QApplication.alert(self._window)
            return
        if self._tray is None:
            self._tray = QSystemTrayIcon(application_icon(), self)
            self._tray.messageClicked.connect(self._on_clicked)
            self._tray.activated.connect(self._on_clicked)
            self._window.installEventFilter(self)
        self._tray.show()
        self._tray.showMessage(title, message, application_icon())

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.WindowActivate and self._tray is not None:
            self._tray.hide()  # the user has seen the window
        return False

    @Slot()
    def _on_clicked(self) -> None:
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()


def supports_notifications() -> bool:
    """Return True if the desktop can show notifications."""
    return (
        QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()
    )
