"""What happens when the window is closed while a run is under way."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QWidget

from surgeon_gui.session import Session


class CloseQuestion(QObject):
    """Asks what to do with the run, without blocking the window."""

    may_close = Signal()  # nothing is under way any more, or need not be waited for

    def __init__(self, session: Session, window: QWidget) -> None:
        super().__init__(window)
        self._session = session
        self._waits_for_end = False
        self._box = QMessageBox(window)
        self._box.setObjectName("close_question")
        self._box.setIcon(QMessageBox.Icon.Question)
        self._box.setWindowTitle("A run is under way")
        self._box.setText("A run is under way. What should become of it?")
        self._box.setInformativeText(
            "Stop and keep ends it after the shot under way, exports the model as it "
            "is then, and closes Surgeon."
        )
        roles = QMessageBox.ButtonRole
        self._keep = self._button(
            "Stop and keep", roles.AcceptRole, "close_keep_button"
        )
        self._end = self._button(
            "Cancel the run and close", roles.DestructiveRole, "close_cancel_button"
        )
        stay = self._button("Keep running", roles.RejectRole, "close_stay_button")
        self._box.setEscapeButton(stay)
        self._box.setDefaultButton(stay)
        self._box.buttonClicked.connect(self._on_button_clicked)
        session.run_ended.connect(self._on_run_ended)

    def ask(self) -> None:
        """Show the question; returns at once."""
        self._box.open()

    def _button(
        self, text: str, role: QMessageBox.ButtonRole, name: str
    ) -> QPushButton:
        made = self._box.addButton(text, role)
        made.setObjectName(name)
        return made

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        if clicked is self._keep:
            self._waits_for_end = True
            self._session.stop_and_keep()
        elif clicked is self._end:
            self._session.cancel()
            self.may_close.emit()

    @Slot(object)
    def _on_run_ended(self, run: object) -> None:
        self._box.hide()  # there is nothing left to ask
        if self._waits_for_end:
            self.may_close.emit()
