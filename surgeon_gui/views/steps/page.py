"""Base class of the pages of the steps."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.text.problems import Step, sentence
from surgeon_gui.widgets.layouts import vertical


class Page(QWidget):
    """Shows its part of the state; user actions go to the session."""

    step: Step

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.column = vertical(self, margin=(MARGIN, GAP // 2, MARGIN, MARGIN))

    def show_state(self, state: AppState) -> None:
        """Show `state`."""
        raise NotImplementedError

    def problems(self, state: AppState) -> dict[str, str]:
        """Return the first problem of each setting of the step, as a sentence."""
        found = reversed(state.problems.get(self.step, ()))
        return {each.setting: sentence(each) for each in found}

    @Slot(object)
    def reject_edit(self, error: ConfigError) -> None:
        """Report an edit that a form has refused."""
        self.session.draft.reject_edit(self.step, error.message)
