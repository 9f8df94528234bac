"""A list of names with their values."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from surgeon_gui.theme import GAP
from surgeon_gui.widgets.controls import text_label


class Facts(QWidget):
    """Names on the left, values on the right; values can be selected and copied."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._shown: tuple[tuple[str, str], ...] = ()
        self._rows: list[tuple[QLabel, QLabel]] = []
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setHorizontalSpacing(2 * GAP)
        self._layout.setVerticalSpacing(GAP // 2)
        self._layout.setColumnStretch(1, 1)
        self.hide()

    def show_facts(self, facts: tuple[tuple[str, str], ...]) -> None:
        """Show these and no others."""
        if facts == self._shown:
            return
        self._shown = facts
        while len(self._rows) < len(facts):
            self._add_row()
        for row, (name_label, value_label) in enumerate(self._rows):
            is_used = row < len(facts)
            name_label.setVisible(is_used)
            value_label.setVisible(is_used)
            if is_used:
                name_label.setText(facts[row][0])
                value_label.setText(facts[row][1])
        self.setVisible(bool(facts))

    def _add_row(self) -> None:
        name_label, value_label = QLabel(), text_label()
        name_label.setProperty("quiet", True)
        name_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        value_label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self._layout.addWidget(name_label, len(self._rows), 0)
        self._layout.addWidget(value_label, len(self._rows), 1)
        self._rows.append((name_label, value_label))
