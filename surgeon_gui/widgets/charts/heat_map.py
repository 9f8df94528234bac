"""A heat map of the parts of a model, with a column per block and a row per kind.

mlp.down_proj  ▢ ▢ ▣ ▢   high      the scale beside the map explains the shades
heads          ▢ ▣ ▣ ▢   low
0 1 2 3   block

Or of many small parts, with a row per block. Labels have the room that they need: of
rows that are lower than a line, only some have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPaintEvent,
)
from PySide6.QtWidgets import QToolTip, QWidget
from typing_extensions import override

from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, heat_color, ink_on, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.text.chart_values import Cell
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.tool_tips import plain_tip

_SCALE_WIDTH = 10  # pixels, of the color bar
_SCALE_GAP = 4  # pixels between the color bar and its labels
_MIN_CELL_FOR_GAP = 6  # pixels; smaller cells touch each other
_TEXT_PADDING = 4  # pixels beside the text of a cell


@dataclass(frozen=True, slots=True)
class HeatMapSizes:
    """Minimum sizes of the parts of a map, in pixels."""

    width: int = 0  # the whole map
    row: int = 0
    between_lines: int = 0  # spacing between the labels of rows
    text: int = 0  # cells narrower than this have no text
    has_low_rows: bool = False  # they need no line of text each
    scale: int = 0  # width of the labels of the scale


class HeatMapCard(ChartCard):
    """A card around a heat map."""

    def __init__(
        self,
        name: str,
        title: str,
        when_empty: str,
        room: HeatMapSizes,
        axis: str = tr("Block"),
    ) -> None:
        super().__init__(name, title, when_empty)
        self.map = HeatMap(f"{name}_map", title, room, axis)
        self.set_body(self.map)

    def show_cells(self, cells: Sequence[Cell], scale: tuple[str, ...]) -> None:
        """Show `cells` with a scale, as `HeatMap.show_cells` does."""
        self.map.show_cells(cells, scale)
        self.show_as_empty(not cells)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("part", "row", "block", "value", "shade")
        cells = self.map.cells
        return [header, *((c.name, c.row, c.column, c.label, c.heat) for c in cells)]


class HeatMap(QWidget):
    """Draws cells. `title` is its accessible name, `axis` the label below it."""

    clicked = Signal(str)  # the name of the cell

    def __init__(self, name: str, title: str, room: HeatMapSizes, axis: str) -> None:
        super().__init__()
        self._axis = axis
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.cells: tuple[Cell, ...] = ()
        self._room = room
        self._rows: dict[str, int] = {}  # with their positions
        self._columns: dict[int, int] = {}
        self._scale: tuple[str, ...] = ()

    def show_cells(self, cells: Sequence[Cell], scale: tuple[str, ...]) -> None:
        """Replace the shown cells.

        `scale` labels shades at equal distances, from the faintest to the strongest.
        """
        if tuple(cells) == self.cells and scale == self._scale:
            return
        self.cells, self._scale = tuple(cells), scale
        rows = dict.fromkeys(cell.row for cell in cells)
        self._rows = {row: number for number, row in enumerate(rows)}
        columns = sorted({cell.column for cell in cells})
        self._columns = {column: number for number, column in enumerate(columns)}
        self.updateGeometry()
        self.update()

    @override
    def minimumSizeHint(self) -> QSize:
        line, room = self.fontMetrics().height(), self._room
        needed = 0 if room.has_low_rows else line + room.between_lines
        rows = len(self._rows) * max(room.row, needed)
        return QSize(room.width, rows + 2 * line + 4)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.cells:
            return
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for cell in self.cells:
            self._paint_cell(painter, theme, cell)
        self._paint_labels(painter, theme)
        self._paint_scale(painter, theme)

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        cell = self.cell_at(event.position())
        if cell is not None:
            self.clicked.emit(cell.name)
        super().mousePressEvent(event)

    @override
    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            cell = self.cell_at(event.pos().toPointF())
            tip = plain_tip(cell.tip if cell else "")
            QToolTip.showText(event.globalPos(), tip)
            return True
        return super().event(event)

    def cell_at(self, position: QPointF) -> Cell | None:
        """Return the cell at a position."""
        return next((c for c in self.cells if self.place(c).contains(position)), None)

    def place(self, cell: Cell) -> QRectF:
        """Return the rectangle of a cell."""
        grid = self._grid()
        width = grid.width() / len(self._columns)
        height = grid.height() / len(self._rows)
        x = grid.left() + self._columns[cell.column] * width
        y = grid.top() + self._rows[cell.row] * height
        gap = 1 if min(width, height) > _MIN_CELL_FOR_GAP else 0
        return QRectF(x, y, width - gap, height - gap)

    def _grid(self) -> QRectF:
        """Return the area of the cells, without labels and scale."""
        metrics = self.fontMetrics()
        left = max(metrics.horizontalAdvance(row) for row in self._rows) + GAP
        labels = max(metrics.horizontalAdvance(label) for label in self._scale)
        labels = max(labels + 2, self._room.scale)
        right = 2 * GAP + _SCALE_WIDTH + _SCALE_GAP + labels
        below = metrics.height() * 2 + 4
        return QRectF(self.rect()).adjusted(left, 2, -right, -below)

    def _paint_cell(self, painter: QPainter, theme: Theme, cell: Cell) -> None:
        place = self.place(cell)
        painter.setPen(Qt.PenStyle.NoPen)
        color = heat_color(theme, cell.heat)
        if cell.is_removed:
            painter.setPen(QColor(theme.border))
            color, place = QColor(theme.surface), place.adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setBrush(color)
        painter.drawRoundedRect(place, 2, 2)
        metrics = self.fontMetrics()
        needed = metrics.horizontalAdvance(cell.label) + _TEXT_PADDING
        is_narrow = place.width() < max(needed, self._room.text)
        if is_narrow or place.height() < metrics.height():
            return
        painter.setPen(ink_on(color))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, cell.label)

    def _paint_labels(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self.fontMetrics().height()
        painter.setPen(QColor(theme.muted))
        height = grid.height() / len(self._rows)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        every = max(1, -int(-line // height))
        for row, number in self._rows.items():
            if number % every:
                continue
            top = grid.top() + number * height - max(0.0, line - height) / 2
            area = QRectF(0, top, grid.left() - GAP, max(height, line))
            painter.drawText(area, right, row)
        width = grid.width() / len(self._columns)
        widest = self.fontMetrics().horizontalAdvance(f"{max(self._columns)} ")
        every = max(1, -int(-widest // width))
        for column, number in self._columns.items():
            if number % every:
                continue
            left = grid.left() + number * width
            area = QRectF(left - widest, grid.bottom(), width + 2 * widest, line)
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, str(column))
        below = QRectF(grid.left(), grid.bottom() + line, grid.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self._axis)

    def _paint_scale(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self.fontMetrics().height()
        bar = QRectF(grid.right() + 2 * GAP, grid.top(), _SCALE_WIDTH, grid.height())
        gradient = QLinearGradient(bar.bottomLeft(), bar.topLeft())
        steps = len(theme.heat) - 1
        for index, color in enumerate(theme.heat):
            gradient.setColorAt(index / steps, QColor(color))
        painter.setPen(QColor(theme.border))
        painter.setBrush(gradient)
        painter.drawRect(bar)
        painter.setPen(QColor(theme.muted))
        left, lowest = bar.right() + _SCALE_GAP, bar.bottom() - line
        distance = (lowest - bar.top()) / (len(self._scale) - 1)
        for number, label in enumerate(self._scale):
            area = QRectF(left, lowest - number * distance, self.width() - left, line)
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft, label)
