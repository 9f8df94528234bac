"""A list of names and values."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.widgets.controls import line_label, text_label

_MAX_BESIDE = 34  # characters of a value beside its name


class Facts(QWidget):
    """Shows names on the left and values on the right, which can be copied.

    Long values are below their names, except on a wide page.
    """

    def __init__(self, name: str, *, is_wide: bool = False) -> None:
        super().__init__()
        self._is_wide = is_wide
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
        """Replace the shown facts."""
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
                self._place(value_label, row)
        self.setVisible(bool(facts))

    def _place(self, value: QLabel, row: int) -> None:
        """Place a value beside its name, or below it if it is long."""
        self._layout.removeWidget(value)
        if len(value.text()) > _MAX_BESIDE and not self._is_wide:
            self._layout.addWidget(value, 2 * row + 1, 0, 1, 2)
        else:
            self._layout.addWidget(value, 2 * row, 1)

    def _add_row(self) -> None:
        name_label, value_label = line_label(quiet=True), text_label()
        for label in (name_label, value_label):
            label.setParent(self)  # without a parent it would become a window
        name_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        # A long path must not widen the page.
        value_label.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum
        )
        value_label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self._layout.addWidget(name_label, 2 * len(self._rows), 0)
        self._rows.append((name_label, value_label))
