"""Question before something of a run is deleted or lost."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QWidget

from surgeon_gui.widgets.controls import answer_button, question_box


class RunQuestion(QObject):
    """Message box that does not block the window; closing it means no.

    Args:
        name: of the box `NAME_question` and its buttons, `NAME_yes_button` and
            `NAME_no_button`.
        title: of the box.
        parent: the widget that asks.
    """

    confirmed = Signal(str)  # the folder

    def __init__(self, name: str, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._folder = ""
        self._box = question_box(parent, QMessageBox.Icon.Warning, f"{name}_question")
        self._box.setWindowTitle(title)
        roles = QMessageBox.ButtonRole
        self._yes = answer_button(
            self._box, roles.DestructiveRole, f"{name}_yes_button"
        )
        no = answer_button(self._box, roles.RejectRole, f"{name}_no_button")
        self._box.setEscapeButton(no)
        self._box.setDefaultButton(no)
        self._box.buttonClicked.connect(self._on_button_clicked)

    def ask(self, folder: str, question: str, details: str) -> None:
        """Show the question about the run in a folder; returns at once."""
        self._folder = folder
        self._box.setText(question)
        self._box.setInformativeText(details)
        self._box.open()

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        if clicked is self._yes:
            self.confirmed.emit(self._folder)
