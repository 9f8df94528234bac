"""Questions before something is replaced, deleted or lost.

They do not block the window; closing one means no.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QWidget

from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.store import Store
from surgeon_gui.state.replacing import replace_question
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import described, message_box

_Callback = Callable[[], object]
_ROLES = QMessageBox.ButtonRole


class Question(QObject):
    """Message box that warns.

    Args:
        name: names the box `NAME_question` and its buttons, such as `NAME_yes_button`.
        title: the title of the box.
        parent: the widget that asks.
        no: part of the name of the button that means no.
    """

    def __init__(self, name: str, title: str, parent: QWidget, no: str = "no") -> None:
        super().__init__(parent)
        self._name = name
        self._box = message_box(parent, QMessageBox.Icon.Warning, f"{name}_question")
        self._box.setWindowTitle(title)
        self._yes = self._add("yes", _ROLES.DestructiveRole)
        self._no = self._add(no, _ROLES.RejectRole)
        self._box.setEscapeButton(self._no)
        self._box.buttonClicked.connect(self._on_button_clicked)
        self._on_yes: _Callback = _nothing

    def _add(self, name: str, role: QMessageBox.ButtonRole) -> QPushButton:
        name = f"{self._name}_{name}_button"
        return described(self._box.addButton(CAPTIONS[name].label, role), name)

    def ask(self, question: str, details: str, on_yes: _Callback) -> None:
        """Show the question, or what has changed in it; returns at once."""
        self._on_yes = on_yes
        self._box.setText(question)
        self._box.setInformativeText(details)
        if not self.is_open:
            self._box.setDefaultButton(self._no)  # also after another was clicked
            self._box.open()

    @property
    def is_open(self) -> bool:
        """True while the question is shown."""
        return self._box.isVisible()

    def close(self) -> None:
        """Take the question back."""
        self._box.hide()

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        if clicked is self._yes:
            self._on_yes()


class ReplaceQuestion(Question):
    """Ask whether an earlier export may be replaced, or another folder chosen."""

    def __init__(self, store: Store, parent: QWidget) -> None:
        super().__init__("replace", tr("Replace an export"), parent, no="cancel")
        self._store = store
        self._other = self._add("other", _ROLES.ActionRole)
        self._on_other: _Callback = _nothing

    def ask_about(
        self, folder: str, on_yes: _Callback, on_other: _Callback | None = None
    ) -> None:
        """Show the question, or why the export must stay; returns at once.

        Args:
            folder: the folder of the export.
            on_yes: replaces what is in it.
            on_other: lets the user choose another folder; None: that is not possible.
        """
        question = replace_question(folder)
        if isinstance(question, Failed):
            self._store.show_problem(question)
            return
        self._on_other = on_other or _nothing
        self._other.setVisible(on_other is not None)
        details = tr(
            "It stays until the new files are complete and verified. Then it goes to "
            "the trash; without a trash it is kept beside them."
        )
        self.ask(question, details, on_yes)

    @Slot(QAbstractButton)
    def _on_button_clicked(self, clicked: QAbstractButton) -> None:
        super()._on_button_clicked(clicked)
        if clicked is self._other:
            self._on_other()


def _nothing() -> None:
    return None
