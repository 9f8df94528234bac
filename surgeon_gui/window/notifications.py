"""Tells that something has ended to somebody who does not look at the window."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Slot
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from surgeon_gui.base.icon import application_icon


class Notifier(QObject):
    """A message of the desktop's, or a window that asks for attention."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None  # there only while it has told

    @property
    def is_wanted(self) -> bool:
        """Whether the user looks at something else."""
        return not self._window.isActiveWindow()

    def tell(self, title: str, words: str) -> None:
        """Show `words` where the user may see them."""
        if not has_messages():
            QApplication.alert(self._window)
            return
        if self._tray is None:
            self._tray = QSystemTrayIcon(application_icon(), self)
            self._tray.messageClicked.connect(self._on_clicked)
            self._tray.activated.connect(self._on_clicked)
            self._window.installEventFilter(self)
        self._tray.show()
        self._tray.showMessage(title, words, application_icon())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the icon away once the window is looked at."""
        if event.type() == QEvent.Type.WindowActivate and self._tray is not None:
            self._tray.hide()
        return False

    @Slot()
    def _on_clicked(self) -> None:
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()


def has_messages() -> bool:
    """Whether the desktop shows messages of programs."""
    return (
        QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()
    )
