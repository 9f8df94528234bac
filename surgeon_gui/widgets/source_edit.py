"""A line edit for a path, or for a keyword such as the demo."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit

from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import named

_PAUSE_MS = 400  # without a key press, after which the text is committed
_CLEAR_ACTION = "_q_qlineeditclearaction"  # Qt's name of the clear button


class SourceEdit(QLineEdit):
    """Shows a keyword ("demo") by its display name ("Bundled demo").

    Text is committed when the user pauses or leaves the line. Until then it is neither
    looked up nor overwritten.
    """

    edited = Signal(str)  # the value, after an edit by the user

    def __init__(self, field: str, keyword: str = "", display_name: str = "") -> None:
        super().__init__()
        self._keyword = keyword
        self._display_name = display_name
        named(self, field.replace(".", "_"), FIELDS[field])
        self.setAcceptDrops(False)  # the window handles drops, as paths
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._on_pause)
        self.textEdited.connect(self._pause.start)
        self.editingFinished.connect(self._on_editing_finished)

    def value(self) -> str:
        """Return the text, with the keyword in place of its display name."""
        text = self.text().strip()
        return self._keyword if self._keyword and text == self._display_name else text

    def show_value(self, value: str) -> None:
        """Show a value, unless the user is typing."""
        if self.isModified() or value == self.value():
            return
        text = self._display_name if self._keyword and value == self._keyword else value
        self.setText(text)
        self.setCursorPosition(0)

    def show_clear_button(self) -> None:
        """Show a button that clears the line."""
        self.setClearButtonEnabled(True)
        clear = self.findChild(QAction, _CLEAR_ACTION)
        if clear is not None:
            clear.triggered.connect(self._on_cleared)

    @Slot()
    def _on_pause(self) -> None:
        if self.text().strip():  # after clearing the line, the user will type again
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
