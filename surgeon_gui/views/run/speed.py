"""The measured speed of both models as a table."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from surgeon_engine.api.messages.benchmark import Measured, conditions
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import speed_rows, speed_titles
from surgeon_gui.widgets.controls import bold, heading, line_label, text_label
from surgeon_gui.widgets.layouts import in_grid, vertical

_COLUMNS = 4  # with the metric
_SMALLER = 0.85  # font scale of the spreads


class SpeedFacts(QWidget):
    """A table, and how it was measured; hidden until there is a measurement."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: Measured | None = None
        self._table = QWidget()
        self._conditions = text_label(quiet=True, name="speed_conditions")
        parts = (heading(tr("Speed")), self._table, self._conditions)
        self._column = vertical(self, *parts)
        self.hide()

    def show_measured(self, measured: Measured | None) -> None:
        """Show the figures of a measurement; hidden for None."""
        self.setVisible(measured is not None)
        if measured is None or measured is self._shown:
            return
        self._shown = measured
        before, self._table = self._table, _table_of(measured)
        self._column.replaceWidget(before, self._table)
        before.setParent(None)  # deletion is deferred
        before.deleteLater()
        self._conditions.setText(conditions(measured))


def _table_of(measured: Measured) -> QWidget:
    """Return a table of figures, each with the spread over its rounds below it.

                 Original        Pruned       Ratio
    Prompt          1,204         1,530        1.27
    tokens/s  1,190-1,220   1,500-1,545   1.25-1.29
    """
    table = QWidget()
    table.setObjectName("speed_table")
    table.setAccessibleName(tr("Speed of the original and of the pruned model"))
    grid = in_grid(table, wide=_COLUMNS, beside=2 * GAP, below=0)
    for column, title in enumerate(speed_titles(measured), start=1):
        grid.addWidget(_label(title, column, is_quiet=True), 0, column)
    for number, cells in enumerate(speed_rows(measured)):
        row = 1 + 3 * number  # figure, spread, and the gap below
        for column, cell in enumerate(cells):
            figure = _label(cell.value, column, is_quiet=not column)
            below = _label(cell.below, column, is_quiet=True)
            if column:
                figure.setFont(bold(figure.font()))
            font = below.font()
            font.setPointSizeF(font.pointSizeF() * _SMALLER)
            below.setFont(font)
            grid.addWidget(figure, row, column)
            grid.addWidget(below, row + 1, column)
        grid.setRowMinimumHeight(row + 2, GAP // 2)
    return table


def _label(text: str, column: int, *, is_quiet: bool) -> QLabel:
    label = line_label(text, quiet=is_quiet)
    if column:
        label.setAlignment(Qt.AlignmentFlag.AlignRight)
    return label
