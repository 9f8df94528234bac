"""Base class of the pages of the steps."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.widgets.collapsible import Collapsible


class Page(QWidget):
    """Shows its part of the state; user actions go to the session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        outer = QVBoxLayout(self)
        outer.setContentsMargins(MARGIN, GAP // 2, MARGIN, MARGIN)
        outer.setSpacing(GAP)
        self.settings = QWidget()
        self._is_read_only = False
        self.column, self.below = QVBoxLayout(self.settings), QVBoxLayout()
        self.column.setContentsMargins(0, 0, 0, 0)
        for column in (self.column, self.below):
            column.setSpacing(GAP)
        outer.addWidget(self.settings)
        outer.addLayout(self.below)

    def set_read_only(self, is_read_only: bool) -> None:
        """Allow or prevent edits; what cannot be edited is shown completely."""
        self.settings.setEnabled(not is_read_only)
        if is_read_only != self._is_read_only:
            self._is_read_only = is_read_only
            for section in self.settings.findChildren(Collapsible):
                section.button.setChecked(is_read_only)

    def show_state(self, state: AppState) -> None:
        """Show `state`."""
        raise NotImplementedError


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return a layout with widgets side by side, aligned left."""
    row = QHBoxLayout()
    row.setSpacing(GAP)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch()
    return row


def with_button(edit: QLineEdit, button: QPushButton) -> QHBoxLayout:
    """Return a layout with a line edit and the button that fills it in."""
    row = QHBoxLayout()
    row.setSpacing(GAP)
    row.addWidget(edit, 1)
    row.addWidget(button)
    return row
