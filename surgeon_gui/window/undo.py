"""Undo and redo of the draft: two actions and their shortcuts.

An input with the focus takes Ctrl+Z for itself, even if it has no typed text to undo.
In that case an event filter passes the key on to the draft.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QEvent, QObject, Slot
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractSpinBox, QApplication, QLineEdit, QWidget
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job.editing import draft_of
from surgeon_gui.text.captions import CAPTIONS

_KEYS = (QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo)


class UndoActions(QObject):
    """Undo and redo edits of the draft, and enable the two actions accordingly."""

    def __init__(
        self, session: Session, actions: Mapping[str, QAction], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._undo, self._redo = actions["undo_action"], actions["redo_action"]
        self._undo.triggered.connect(self.undo)
        self._redo.triggered.connect(self.redo)
        session.changed.connect(self._on_changed)
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._on_focus_changed)
        self._on_changed()

    @Slot()
    def undo(self) -> None:
        """Discard the invalid input of a page, or restore the previous draft."""
        state = self._session.state
        if state.rejected:
            self._session.draft.drop_rejected()
        elif state.draft_history.past:
            self._session.draft.go_to(*state.draft_history.undo(draft_of(state)))

    @Slot()
    def redo(self) -> None:
        """Restore the draft that was undone last."""
        state = self._session.state
        if state.draft_history.future:
            self._session.draft.go_to(*state.draft_history.redo(draft_of(state)))

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is not QEvent.Type.ShortcutOverride:
            return False
        if not isinstance(event, QKeyEvent) or not any(map(event.matches, _KEYS)):
            return False
        edit = watched.lineEdit() if isinstance(watched, QAbstractSpinBox) else watched
        if isinstance(edit, QLineEdit) and edit.isModified():
            return False
        event.ignore()  # the menu gets the key
        return True

    @Slot()
    def _on_changed(self) -> None:
        state = self._session.state
        history, draft = state.draft_history, draft_of(state)
        undone = "" if state.rejected else history.undo_step(draft)
        _name(self._undo, undone)
        _name(self._redo, history.redo_step(draft))
        self._undo.setEnabled(bool(history.past or state.rejected))
        self._redo.setEnabled(bool(history.future))

    @Slot(QWidget, QWidget)
    def _on_focus_changed(self, _: QWidget | None, to: QWidget | None) -> None:
        if isinstance(to, QLineEdit | QAbstractSpinBox):
            to.installEventFilter(self)  # Qt installs it only once


def _name(action: QAction, step: str) -> None:
    """Let the label of an action name its step."""
    label = CAPTIONS[action.objectName()].label
    if step:
        label = tr("{action}: {step}").format(
            action=label, step=step.replace("&", "&&")
        )
    action.setText(label)
