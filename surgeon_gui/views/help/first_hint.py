"""The welcome card of the first start."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.text.help import FIRST_STEPS, WELCOME
from surgeon_gui.widgets.controls import button, heading, text_label


class FirstHint(QFrame):
    """Shows the first steps until it is dismissed."""

    dismissed = Signal()
    commands_clicked = Signal()

    def __init__(self, *, is_shown: bool) -> None:
        super().__init__()
        self.setObjectName("first_hint")
        self.setProperty("card", "true")
        texts = QVBoxLayout()
        texts.setSpacing(GAP // 2)
        texts.addWidget(heading(WELCOME))
        texts.addWidget(text_label(FIRST_STEPS, quiet=True))
        keys, close = button("hint_keys_button"), button("hint_dismiss_button")
        keys.clicked.connect(self.commands_clicked)
        close.clicked.connect(self.dismissed)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        row.setSpacing(GAP)
        row.addLayout(texts, 1)
        row.addWidget(keys)
        row.addWidget(close)
        if not is_shown:
            self.hide()
