"""A table of texts in a card that can be saved like a chart."""

from __future__ import annotations

from PySide6.QtCore import QRect, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)
from typing_extensions import override

from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.tool_tips import plain_tip

Table = tuple[tuple[str, ...], ...]  # of texts, the header first
_EDGES = 4
_PADDING, _MAX_HEIGHT = 14, 1000  # pixels, of a title or text
_CELL_MARGINS = 6  # above and below a text, together
_MAX_NAME = 280  # pixels, of the column of labels
_WRAPPED = int(Qt.AlignmentFlag.AlignLeft) | int(Qt.TextFlag.TextWordWrap)


class TableCard(ChartCard):
    """A column of labels and one for each run; as high as its rows."""

    min_column = 150  # pixels; the table scrolls in a narrower window

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._shown: Table = ()
        table = self._table = QTableWidget()
        table.setObjectName(f"{name}_table")
        table.setAccessibleName(title)
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.setWordWrap(True)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.verticalHeader().hide()
        header = table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        header.setHighlightSections(False)
        header.setMinimumSectionSize(self.min_column)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.sectionResized.connect(self._fit)
        self.set_body(table)

    def show_table(self, table: Table) -> None:
        """Replace the shown table; the first row has the titles."""
        if table == self._shown:
            return
        self._shown = table
        self.show_as_empty(len(table) < 2)
        titles, *rows = table or ((),)
        self._table.setColumnCount(len(titles))
        self._table.setRowCount(len(rows))
        for column, title in enumerate(titles):
            item = _item(title)
            item.setData(Qt.ItemDataRole.TextAlignmentRole, _WRAPPED)
            self._table.setHorizontalHeaderItem(column, item)
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                self._table.setItem(row, column, _item(value))
        self._widen_names()
        self._fit()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        return list(self._shown)

    def _widen_names(self) -> None:
        """Give the first column the width that its texts need, within limits."""
        header = self._table.horizontalHeader()
        if not self._shown or not self._shown[0]:
            return
        needed = max(self._table.sizeHintForColumn(0), self.min_column)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(0, min(needed, _MAX_NAME))

    def _fit(self) -> None:
        self._table.resizeRowsToContents()
        self._heighten_rows()
        titles = self._height_of_titles()
        self._table.horizontalHeader().setFixedHeight(titles)
        height = titles + _EDGES
        height += sum(
            self._table.rowHeight(row) for row in range(self._table.rowCount())
        )
        scroll = self._table.horizontalScrollBar()
        others = max(0, self._table.columnCount() - 1)
        needed = self._table.columnWidth(0) + others * self.min_column
        is_wide = needed > self._table.width()
        self._table.setFixedHeight(
            height + (scroll.sizeHint().height() if is_wide else 0)
        )

    def _heighten_rows(self) -> None:
        """Make room for texts that wrap in the padding of their cells.

        Qt computes the heights without it, and cuts a text that just fits then.
        """
        table, metrics = self._table, self._table.fontMetrics()
        for row, texts in enumerate(self._shown[1:]):
            height = table.rowHeight(row)
            for column, text in enumerate(texts):
                room = QRect(0, 0, table.columnWidth(column) - _PADDING, _MAX_HEIGHT)
                wrapped = metrics.boundingRect(room, _WRAPPED, text).height()
                height = max(height, wrapped + _CELL_MARGINS)
            table.setRowHeight(row, height)

    def _height_of_titles(self) -> int:
        """Return the height that the header needs, whose titles wrap."""
        header, titles = self._table.horizontalHeader(), (self._shown or ((),))[0]
        heights = [0]
        for column, title in enumerate(titles):
            room = QRect(0, 0, header.sectionSize(column) - _PADDING, _MAX_HEIGHT)
            wrapped = header.fontMetrics().boundingRect(room, _WRAPPED, title)
            heights.append(wrapped.height())
        return max(heights) + _PADDING


def _item(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setToolTip(plain_tip(text))
    return item
