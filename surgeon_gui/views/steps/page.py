"""Base class of the pages of the steps."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QVBoxLayout, QWidget

from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.text.problems import Step
from surgeon_gui.widgets.layouts import Collapsible, add_parts, vertical


class Page(QWidget):
    """Shows its part of the state; user actions go to the session."""

    step: Step

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        outer = vertical(self, margin=(MARGIN, GAP // 2, MARGIN, MARGIN))
        self.settings = QWidget()
        self._is_read_only = False
        self.column, self.below = QVBoxLayout(self.settings), QVBoxLayout()
        self.column.setContentsMargins(0, 0, 0, 0)
        for column in (self.column, self.below):
            column.setSpacing(GAP)
        add_parts(outer, self.settings, self.below)

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

    @Slot(object)
    def reject_edit(self, error: ConfigError) -> None:
        """Report an edit that a form has refused."""
        self.session.draft.reject_edit(self.step, error.message)
