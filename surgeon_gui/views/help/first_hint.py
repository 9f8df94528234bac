"""The card that greets whoever starts Surgeon for the first time."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.text.help import FIRST_STEPS, WELCOME
from surgeon_gui.widgets.controls import button, heading, text_label


class FirstHint(QFrame):
    """Three sentences; gone for good once it is dismissed."""

    dismissed = Signal()
    commands_clicked = Signal()

    def __init__(self, *, is_shown: bool) -> None:
        super().__init__()
        self.setObjectName("first_hint")
        self.setProperty("card", "true")
        words = QVBoxLayout()
        words.setSpacing(GAP // 2)
        words.addWidget(heading(WELCOME))
        words.addWidget(text_label(FIRST_STEPS, quiet=True))
        keys, close = button("hint_keys_button"), button("hint_dismiss_button")
        keys.clicked.connect(self.commands_clicked)
        close.clicked.connect(self.dismissed)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        row.setSpacing(GAP)
        row.addLayout(words, 1)
        row.addWidget(keys)
        row.addWidget(close)
        if not is_shown:
            self.hide()
