"""The table of a comparison: a column for each file; it can be saved like a chart."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, Qt, QTimer, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)
from typing_extensions import override

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.base.translation import tr
from surgeon_gui.state import comparison, ladder
from surgeon_gui.state.comparison import ComparedRun
from surgeon_gui.state.ladder import Table
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import described, label_of
from surgeon_gui.widgets.forms.inputs import WholeInput
from surgeon_gui.widgets.tool_tips import plain_tip

_CONTEXT = settings_of(PruningConfig)["context"].option.limits
_MIN_COLUMN = 120  # pixels; the table scrolls in a narrower window
_EDGES = 4
_PADDING, _MAX_HEIGHT = 14, 1000  # pixels, of a title or text
_CELL_MARGINS = 6  # above and below a text, together
_MIN_NAME, _MAX_NAME = 160, 280  # pixels, of the column of labels
_WRAPPED = int(Qt.AlignmentFlag.AlignLeft) | int(Qt.TextFlag.TextWordWrap)


class FilesCard(ChartCard):
    """A column of labels and one for each file, with the memory at one context."""

    def __init__(self) -> None:
        super().__init__("compare_files", tr("Files"), "")
        self._runs: Sequence[ComparedRun] = ()
        self._is_chosen = False  # the context, by the user
        field = FIELDS["pruning.context"]
        self._context = WholeInput(_CONTEXT, field)
        self.add_control(label_of(field, self._context.widget))
        self.add_control(described(self._context.widget, "compare_context_box"))
        self._context.edited.connect(self._on_context_edited)
        self._shown: Table = ()
        table = self._table = QTableWidget()
        table.setObjectName("compare_files_table")
        table.setAccessibleName(tr("Files"))
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
        header.setMinimumSectionSize(_MIN_COLUMN)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        # Later, because the columns change one after the other.
        self._fitting = QTimer(self, singleShot=True, interval=0)
        self._fitting.timeout.connect(self._fit)
        header.sectionResized.connect(self._fitting.start)
        self.set_body(table)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the files of these runs and their originals."""
        self._runs = runs
        if not self._is_chosen:
            self._context.show(ladder.default_context([each.run for each in runs]))
        self._redraw()

    @Slot()
    def _on_context_edited(self) -> None:
        self._is_chosen = True
        self._redraw()

    def _redraw(self) -> None:
        self.show_table(comparison.table(self._runs, self._context.value))

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
        self._fit()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        return list(self._shown)

    def _widen_names(self) -> None:
        """Give the first column the width that its texts need, within limits.

        If it then fits, it leaves the others their minimum, and its texts wrap.
        """
        header = self._table.horizontalHeader()
        if not self._shown or not self._shown[0]:
            return
        needed = max(self._table.sizeHintForColumn(0), _MIN_COLUMN)
        width = min(needed, _MAX_NAME)
        room = self._table.viewport().width()
        room -= (self._table.columnCount() - 1) * _MIN_COLUMN
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(0, room if _MIN_NAME <= room < width else width)

    @Slot()
    def _fit(self) -> None:
        """Give columns, rows and header the sizes that the texts need."""
        self._widen_names()
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
        needed = self._table.columnWidth(0) + others * _MIN_COLUMN
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
