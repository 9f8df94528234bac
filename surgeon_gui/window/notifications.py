"""Desktop notifications for a user who looks at another window."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Slot
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget
from typing_extensions import override

from surgeon_gui.base.icon import application_icon


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
