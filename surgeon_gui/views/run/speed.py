"""The measured speed of both models as a table."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from surgeon_engine.api.messages.benchmark import Measured, conditions
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import SpeedCell, speed_rows, speed_titles
from surgeon_gui.widgets.controls import bold, heading, line_label, text_label
from surgeon_gui.widgets.layouts import in_grid, vertical

_COLUMNS = 4  # with the metric
_SMALLER = 0.85  # font scale of the spreads


class SpeedFacts(QWidget):
    """The table and how it was measured; hidden until there is one."""

    def __init__(self) -> None:
        super().__init__()
        self._table = SpeedTable()
        self._conditions = text_label(quiet=True, name="speed_conditions")
        vertical(self, heading(tr("Speed")), self._table, self._conditions)
        self.hide()

    def show_measured(self, measured: Measured | None) -> None:
        """Show the figures of a measurement; hidden for None."""
        self.setVisible(measured is not None)
        if measured is not None:
            self._table.show_measured(measured)
            self._conditions.setText(conditions(measured))


class SpeedTable(QWidget):
    """Shows each figure with the spread over its rounds below it.

                 Original        Pruned       Ratio
    Prompt          1,204         1,530        1.27
    tokens/s  1,190-1,220   1,500-1,545   1.25-1.29
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("speed_table")
        self.setAccessibleName(tr("Speed of the original and of the pruned model"))
        self._shown: Measured | None = None
        self._cells: list[QLabel] = []
        self._layout = in_grid(self, wide=_COLUMNS, beside=2 * GAP, below=0)

    def show_measured(self, measured: Measured) -> None:
        """Show the figures of a measurement."""
        if measured is self._shown:
            return
        self._shown = measured
        for cell in self._cells:
            self._layout.removeWidget(cell)
            cell.hide()  # deletion is deferred
            cell.deleteLater()
        self._cells.clear()
        for column, title in enumerate(speed_titles(measured), start=1):
            self._add(title, 0, column, is_quiet=True)
        for number, cells in enumerate(speed_rows(measured)):
            row = 1 + 3 * number  # figure, spread, and the gap below
            for column, speed_cell in enumerate(cells):
                self._add_cell(speed_cell, row, column)
            self._layout.setRowMinimumHeight(row + 2, GAP // 2)

    def _add_cell(self, cell: SpeedCell, row: int, column: int) -> None:
        figure = self._add(cell.value, row, column, is_quiet=not column)
        if column:
            figure.setFont(bold(figure.font()))
        if cell.below:
            below = self._add(cell.below, row + 1, column, is_quiet=True)
            font = below.font()
            font.setPointSizeF(font.pointSizeF() * _SMALLER)
            below.setFont(font)

    def _add(
        self, text: str, row: int, column: int, *, is_quiet: bool = False
    ) -> QLabel:
        label = line_label(text, quiet=is_quiet)
        if column:
            label.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._layout.addWidget(label, row, column)
        self._cells.append(label)
        return label
