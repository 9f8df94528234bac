"""Base class of the pages of the steps."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState


class Page(QWidget):
    """Shows its part of the state; user actions go to the session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(MARGIN, GAP // 2, MARGIN, MARGIN)
        self.column.setSpacing(GAP)

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
