"""An error that stays visible until it is dismissed."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import bold, button, fixed_font, text_label
from surgeon_gui.widgets.layouts import (
    BAR_MARGINS,
    CARD_MARGINS,
    card,
    in_column,
    in_row,
    vertical,
)
from surgeon_gui.widgets.tool_tips import plain_tip

_DETAILS_HEIGHT = 140


class ErrorBar(QWidget):
    """Shows message, hint and details of an error; hidden if there is none."""

    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("error_bar")
        self._problem: Failed | None = None
        self._message = text_label(name="error_message")
        self._message.setFont(bold(self._message.font()))
        self._hint = text_label(name="error_hint")
        self._details = QPlainTextEdit(readOnly=True)
        self._details.setObjectName("error_details")
        self._details.setAccessibleName(tr("Technical details of the error"))
        self._details.setToolTip(plain_tip(tr("Details for finding the cause.")))
        self._details.setFont(fixed_font())
        self._details.setFixedHeight(_DETAILS_HEIGHT)
        self._details_button = button("error_details_button")
        self._details_button.setCheckable(True)
        self._details_button.toggled.connect(self._details.setVisible)
        copy_button = button("error_copy_button", self._on_copy_clicked)
        dismiss_button = button("error_dismiss_button", self.dismissed)

        texts = in_column(self._message, self._hint, spacing=GAP // 2)
        buttons = (self._details_button, copy_button, dismiss_button)
        top = in_row((texts, 1), *buttons, spacing=None)
        frame = card(top, self._details, margin=CARD_MARGINS, spacing=None)
        frame.setProperty("card", "error")
        vertical(self, frame, margin=BAR_MARGINS)
        self._details.hide()
        self.hide()

    def show_problem(self, problem: Failed | None) -> None:
        """Show an error; hide the bar if it is None."""
        if problem is self._problem:
            return
        self._problem = problem
        self.setVisible(problem is not None)
        if problem is None:
            return
        self._message.setText(problem.message)
        self._hint.setText(problem.hint)
        self._hint.setVisible(bool(problem.hint))
        self._details.setPlainText(problem.details)
        self._details_button.setChecked(False)
        self._details_button.setVisible(bool(problem.details))

    @Slot()
    def _on_copy_clicked(self) -> None:
        if self._problem is not None:
            parts = (self._problem.message, self._problem.hint, self._problem.details)
            QGuiApplication.clipboard().setText("\n\n".join(filter(None, parts)))
