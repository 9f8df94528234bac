"""Bar about a lost connection with another computer."""

from __future__ import annotations

from PySide6.QtCore import Signal

from surgeon_gui.state.app import AppState
from surgeon_gui.state.computers import can_reconnect, connection_problem
from surgeon_gui.views.runs.earlier_bar import Bar
from surgeon_gui.widgets.controls import button, text_label


class ConnectionBar(Bar):
    """Hidden while the engine is here, or there is a connection with it."""

    again_clicked = Signal()
    computers_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._text = text_label()
        self._text.setObjectName("connection_label")
        self._again = button(
            "connection_again_button", self.again_clicked, primary=True
        )
        self._computers = button("connection_computers_button", self.computers_clicked)
        self.lay_out(self._text, self._again, self._computers)
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show what is wrong with the connection."""
        problem = connection_problem(state)
        self.setVisible(bool(problem))
        self._text.setText(problem)
        self._again.setEnabled(can_reconnect(state))
