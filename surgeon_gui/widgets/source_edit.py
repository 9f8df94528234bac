"""A line for a path or for one thing that is known by name, such as the demo."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit

from surgeon_gui.text.labels import FIELDS

_PAUSE_MS = 400  # without a key: what has been typed is meant
_CLEAR_ACTION = "_q_qlineeditclearaction"  # Qt's own name of the cross in the line


class SourceEdit(QLineEdit):
    """Shows the keyword ("demo") by its proper name ("Bundled demo").

    What is being typed is the user's own until they pause or leave the line: half a
    path is neither looked up nor overwritten.
    """

    edited = Signal(str)  # by the user, with the keyword for the name

    def __init__(self, field: str, keyword: str = "", shown: str = "") -> None:
        super().__init__()
        self._keyword = keyword
        self._shown = shown
        words = FIELDS[field]
        self.setObjectName(field.replace(".", "_"))
        self.setAccessibleName(words.label)
        self.setAccessibleDescription(words.tip)
        self.setToolTip(words.tip)
        self.setAcceptDrops(False)  # the window takes what is dropped, and as a path
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._on_pause)
        self.textEdited.connect(self._pause.start)
        self.editingFinished.connect(self._on_editing_finished)

    def value(self) -> str:
        """What stands there, with the keyword for the name."""
        text = self.text().strip()
        return self._keyword if self._keyword and text == self._shown else text

    def show_value(self, value: str) -> None:
        """Show a value, unless the user is typing another."""
        if self.isModified() or value == self.value():
            return
        shown = self._shown if self._keyword and value == self._keyword else value
        self.setText(shown)
        self.setCursorPosition(0)

    def show_clear_button(self) -> None:
        """Let the line be emptied by a click."""
        self.setClearButtonEnabled(True)
        clear = self.findChild(QAction, _CLEAR_ACTION)
        if clear is not None:
            clear.triggered.connect(self._on_cleared)

    @Slot()
    def _on_pause(self) -> None:
        if self.text().strip():  # an emptied line is about to be filled again
            self._on_editing_finished()

    @Slot()
    def _on_editing_finished(self) -> None:
        self._pause.stop()
        if self.isModified():
            self.setModified(False)
            self.edited.emit(self.value())

    @Slot()
    def _on_cleared(self) -> None:
        self._pause.stop()
        self.setModified(False)
        self.edited.emit("")
