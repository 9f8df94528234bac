"""Question whether an earlier export may be replaced."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import answer_button, question_box

_Callback = Callable[[], object]


class ReplaceQuestion(QObject):
    """Message box that does not block the window; closing it means no."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._box = question_box(parent, QMessageBox.Icon.Warning, "replace_question")
        self._box.setWindowTitle(tr("Replace an export"))
        self._box.setInformativeText(
            tr(
                "It stays until the new files are complete and verified. Then it goes "
                "to the trash; without a trash it is kept beside them."
            )
        )
        roles = QMessageBox.ButtonRole
        self._yes = answer_button(
            self._box, roles.DestructiveRole, "replace_yes_button"
        )
        self._other = answer_button(self._box, roles.ActionRole, "replace_other_button")
        self._cancel = answer_button(
            self._box, roles.RejectRole, "replace_cancel_button"
        )
        self._box.setEscapeButton(self._cancel)
        self._box.setDefaultButton(self._cancel)
        self._box.buttonClicked.connect(self._on_button_clicked)
        self._on_yes: _Callback = _nothing
        self._on_other: _Callback = _nothing

    @Slot(str, object)
    def ask(
        self, question: str, on_yes: _Callback, on_other: _Callback | None = None
    ) -> None:
        """Show the question; returns at once.

        Args:
            question: names the folder.
            on_yes: replaces what is in it.
            on_other: lets the user choose another folder; None: that is not possible.
        """
        self._on_yes, self._on_other = on_yes, on_other or _nothing
        self._other.setVisible(on_other is not None)
        self._box.setText(question)
        self._box.open()

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        if clicked is self._yes:
            self._on_yes()
        elif clicked is self._other:
            self._on_other()


def _nothing() -> None:
    return None
