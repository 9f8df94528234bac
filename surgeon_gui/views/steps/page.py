"""What all pages have in common."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState


class Page(QWidget):
    """Shows its part of the state; what the user does goes to the session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(MARGIN, GAP // 2, MARGIN, MARGIN)
        self.column.setSpacing(GAP)

    def show_state(self, state: AppState) -> None:
        """Make the page show `state`."""
        raise NotImplementedError


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Widgets side by side, from the left."""
    row = QHBoxLayout()
    row.setSpacing(GAP)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch()
    return row


def with_button(edit: QLineEdit, made: QPushButton) -> QHBoxLayout:
    """A line with the button that fills it in."""
    row = QHBoxLayout()
    row.setSpacing(GAP)
    row.addWidget(edit, 1)
    row.addWidget(made)
    return row
