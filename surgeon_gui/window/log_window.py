"""The log of the engine in a window of its own."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QDialog, QWidget

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.layouts import vertical
from surgeon_gui.window.log_view import LogView

_SIZE = (760, 420)


class LogWindow(QDialog):
    """Shows a `LogView` beside the main window, which stays usable."""

    def __init__(self, log: LogView, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("log_window")
        self.setWindowTitle(CAPTIONS["log_text"].label)
        self.resize(*_SIZE)
        vertical(self, log, margin=MARGIN)

    @Slot()
    def show_on_top(self) -> None:
        """Show the window in front of others."""
        self.show()
        self.raise_()
        self.activateWindow()
