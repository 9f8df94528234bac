"""Question whether to move a run to the trash."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import answer_button


class DeleteQuestion(QObject):
    """Message box that does not block the window; closing it means no."""

    confirmed = Signal(str)  # the folder

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._folder = ""
        self._box = QMessageBox(parent)
        self._box.setObjectName("delete_question")
        self._box.setIcon(QMessageBox.Icon.Warning)
        self._box.setWindowTitle(tr("Move run to trash"))
        roles = QMessageBox.ButtonRole
        self._yes = answer_button(self._box, roles.DestructiveRole, "delete_yes_button")
        no = answer_button(self._box, roles.RejectRole, "delete_no_button")
        self._box.setEscapeButton(no)
        self._box.setDefaultButton(no)
        self._box.buttonClicked.connect(self._on_button_clicked)

    def ask(self, folder: str, title: str) -> None:
        """Show the question about a run; returns at once."""
        self._folder = folder
        self._box.setText(tr("Move {run} to the trash?").format(run=title))
        self._box.setInformativeText(
            tr(
                "This includes its charts, its report and the files exported to the "
                "run folder: {folder}"
            ).format(folder=folder)
        )
        self._box.open()

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        if clicked is self._yes:
            self.confirmed.emit(self._folder)
