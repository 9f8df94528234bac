"""A line for a path or for one thing that is known by name, such as the demo."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLineEdit

from surgeon_gui.text import FIELDS


class SourceEdit(QLineEdit):
    """Shows the keyword ("demo") by its proper name ("Bundled demo")."""

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
        self.textEdited.connect(self._on_text_edited)

    def value(self) -> str:
        """What stands there, with the keyword for the name."""
        text = self.text().strip()
        return self._keyword if self._keyword and text == self._shown else text

    def show_value(self, value: str) -> None:
        """Show a value, unless it stands there already."""
        if value == self.value():
            return
        shown = self._shown if self._keyword and value == self._keyword else value
        self.setText(shown)
        self.setCursorPosition(0)

    @Slot(str)
    def _on_text_edited(self, text: str) -> None:
        self.edited.emit(self.value())
