"""The welcome card of the first start."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame

from surgeon_gui.base.theme import GAP
from surgeon_gui.text.help import FIRST_STEPS, WELCOME
from surgeon_gui.widgets.controls import button, heading, text_label
from surgeon_gui.widgets.layouts import CARD_MARGINS, horizontal, in_column


class FirstHint(QFrame):
    """Shows the first steps until it is dismissed."""

    dismissed = Signal()
    commands_clicked = Signal()

    def __init__(self, *, is_shown: bool) -> None:
        super().__init__()
        self.setObjectName("first_hint")
        self.setProperty("card", "true")
        texts = in_column(
            heading(WELCOME), text_label(FIRST_STEPS, quiet=True), spacing=GAP // 2
        )
        keys, close = (
            button("hint_keys_button", self.commands_clicked),
            button("hint_dismiss_button", self.dismissed),
        )
        horizontal(self, (texts, 1), keys, close, margin=CARD_MARGINS)
        if not is_shown:
            self.hide()
