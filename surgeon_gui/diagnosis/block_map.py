"""A map of parts of a model: a column for each block, a row for each kind of part.

neurons  ▢ ▢ ▣ ▢   most      what a shade means stands at the scale beside the map
heads    ▢ ▣ ▣ ▢   least
         0 1 2 3   block
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QToolTip, QWidget

from surgeon_gui.diagnosis.sensitivity import Cell
from surgeon_gui.theme import GAP, Theme, heat_colour, ink_on, theme_of
from surgeon_gui.translation import tr

_SCALE_WIDTH = 10  # pixels, of the colour bar
_LEAST_ROW = 18  # pixels
_GAP_FROM = 6  # cells this large stand apart
_TEXT_ROOM = 4  # pixels beside the text of a cell


class BlockMap(QWidget):
    """Draws cells; `name` is its object name, `title` what a screen reader says."""

    clicked = Signal(str)  # the name of the cell

    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.cells: tuple[Cell, ...] = ()
        self.selected = ""
        self._rows: list[str] = []
        self._columns: list[int] = []
        self._scale = ("", "")

    def show_cells(self, cells: Sequence[Cell], scale: tuple[str, str]) -> None:
        """Show `cells`; `scale` says what the faintest and the strongest shade mean."""
        if tuple(cells) == self.cells and scale == self._scale:
            return
        self.cells, self._scale = tuple(cells), scale
        self._rows = list(dict.fromkeys(cell.row for cell in cells))
        self._columns = sorted({cell.column for cell in cells})
        self.updateGeometry()
        self.update()

    def select(self, name: str) -> None:
        """Frame the cell of that name."""
        if name != self.selected:
            self.selected = name
            self.update()

    def minimumSizeHint(self) -> QSize:
        """Room for a line in each row, and for the numbers of blocks."""
        line = self.fontMetrics().height()
        rows = len(self._rows) * max(_LEAST_ROW, line + 2)
        return QSize(200, rows + 2 * line + 4)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw it all."""
        if not self.cells:
            return
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for cell in self.cells:
            self._paint_cell(painter, theme, cell)
        self._paint_labels(painter, theme)
        self._paint_scale(painter, theme)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Tell which cell was clicked."""
        cell = self.cell_at(event.position())
        if cell is not None:
            self.clicked.emit(cell.name)
        super().mousePressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Say under the mouse what a cell stands for."""
        if isinstance(event, QHelpEvent):
            cell = self.cell_at(event.pos().toPointF())
            QToolTip.showText(event.globalPos(), cell.tip if cell else "")
            return True
        return super().event(event)

    def cell_at(self, position: QPointF) -> Cell | None:
        """The cell that is there."""
        return next((c for c in self.cells if self.place(c).contains(position)), None)

    def place(self, cell: Cell) -> QRectF:
        """Where a cell is drawn."""
        grid = self._grid()
        width = grid.width() / len(self._columns)
        height = grid.height() / len(self._rows)
        x = grid.left() + self._columns.index(cell.column) * width
        y = grid.top() + self._rows.index(cell.row) * height
        gap = 1 if min(width, height) > _GAP_FROM else 0
        return QRectF(x, y, width - gap, height - gap)

    def _grid(self) -> QRectF:
        metrics = self.fontMetrics()
        left = max(metrics.horizontalAdvance(row) for row in self._rows) + GAP
        labels = max(metrics.horizontalAdvance(label) for label in self._scale)
        right = 2 * GAP + _SCALE_WIDTH + 4 + labels + 2
        below = metrics.height() * 2 + 4
        return QRectF(self.rect()).adjusted(left, 2, -right, -below)

    def _paint_cell(self, painter: QPainter, theme: Theme, cell: Cell) -> None:
        place = self.place(cell)
        framed = cell.name == self.selected
        painter.setPen(QPen(QColor(theme.text), 2) if framed else Qt.PenStyle.NoPen)
        colour = heat_colour(theme, cell.heat)
        painter.setBrush(colour)
        inside = place.adjusted(1, 1, -1, -1) if framed else place
        painter.drawRoundedRect(inside, 2, 2)
        metrics = self.fontMetrics()
        needed = metrics.horizontalAdvance(cell.label) + _TEXT_ROOM
        if place.width() < needed or place.height() < metrics.height():
            return
        painter.setPen(ink_on(colour))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, cell.label)

    def _paint_labels(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self.fontMetrics().height()
        painter.setPen(QColor(theme.muted))
        height = grid.height() / len(self._rows)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for number, row in enumerate(self._rows):
            area = QRectF(0, grid.top() + number * height, grid.left() - GAP, height)
            painter.drawText(area, right, row)
        width = grid.width() / len(self._columns)
        widest = self.fontMetrics().horizontalAdvance(f"{self._columns[-1]} ")
        every = max(1, -int(-widest // width))
        for number in range(0, len(self._columns), every):
            left = grid.left() + number * width
            area = QRectF(left - widest, grid.bottom(), width + 2 * widest, line)
            column = str(self._columns[number])
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, column)
        below = QRectF(grid.left(), grid.bottom() + line, grid.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, tr("Block"))

    def _paint_scale(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self.fontMetrics().height()
        bar = QRectF(grid.right() + 2 * GAP, grid.top(), _SCALE_WIDTH, grid.height())
        gradient = QLinearGradient(bar.bottomLeft(), bar.topLeft())
        steps = len(theme.heat) - 1
        for index, colour in enumerate(theme.heat):
            gradient.setColorAt(index / steps, QColor(colour))
        painter.setPen(QColor(theme.border))
        painter.setBrush(gradient)
        painter.drawRect(bar)
        painter.setPen(QColor(theme.muted))
        left = bar.right() + 4
        for y, label in zip((bar.bottom() - line, bar.top()), self._scale, strict=True):
            area = QRectF(left, y, self.width() - left, line)
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft, label)
