"""A map of the model: a column for each block, a row for each kind of layer.

self_attn.q_proj  ▢ ▢ ▣ ▢          the darker a cell, the more of
mlp.down_proj     ▢ ▣ ▣ ▢          that layer has been removed
                  0 1 2 3  block
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QLinearGradient,
    QPainter,
    QPaintEvent,
)
from PySide6.QtWidgets import QToolTip, QWidget

from surgeon_engine.events import LayerSparsity
from surgeon_gui import numbers
from surgeon_gui.run_state import RunState
from surgeon_gui.theme import GAP, Theme, heat_colour, ink_on, theme_of
from surgeon_gui.translation import tr
from surgeon_gui.widgets.chart_card import ChartCard

_SCALE_WIDTH = 10  # of the colour bar
_SCALE_ROOM = 66  # with its labels
_LEAST_CELL_FOR_TEXT = 34  # pixels


class LayerMap(ChartCard):
    """The card around the map."""

    def __init__(self) -> None:
        super().__init__(
            "sparsity",
            tr("Sparsity by block and layer"),
            tr("Shows which layers lose how much, as soon as the model is loaded."),
        )
        self._map = _Map()
        self.set_body(self._map)

    def show_run(self, run: RunState) -> None:
        """Show what has been removed so far."""
        layers = run.layers
        self.show_as_empty(not layers)
        self._map.show_layers(layers)

    def rows(self) -> list[tuple[object, ...]]:
        """See `ChartCard.rows`."""
        header = ("layer", "block", "kind", "weights", "removed", "sparsity")
        return [
            header,
            *(
                (x.name, x.block, x.kind, x.weights, x.removed, x.sparsity)
                for x in self._map.layers
            ),
        ]


class _Map(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("sparsity_map")
        self.setAccessibleName(tr("Sparsity by block and layer"))
        self.layers: tuple[LayerSparsity, ...] = ()
        self._kinds: list[str] = []
        self._blocks: list[int] = []

    def show_layers(self, layers: tuple[LayerSparsity, ...]) -> None:
        if layers == self.layers:
            return
        self.layers = layers
        self._kinds = list(dict.fromkeys(layer.kind for layer in layers))
        self._blocks = sorted({layer.block for layer in layers})
        rows = len(self._kinds) + 2  # and the numbers of blocks, and their title
        self.setMinimumHeight(rows * self._line_height() + 4)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.layers:
            return
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for layer in self.layers:
            self._paint_cell(painter, theme, layer)
        self._paint_labels(painter, theme)
        self._paint_scale(painter, theme)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            layer = self.layer_at(event.pos().toPointF())
            QToolTip.showText(event.globalPos(), _in_words(layer) if layer else "")
            return True
        return super().event(event)

    def layer_at(self, position: QPointF) -> LayerSparsity | None:
        """The layer whose cell is there."""
        for layer in self.layers:
            if self._cell(layer).contains(position):
                return layer
        return None

    def _grid(self) -> QRectF:
        """The area of the cells: what is left beside labels and scale."""
        metrics = self.fontMetrics()
        left = max((metrics.horizontalAdvance(kind) for kind in self._kinds), default=0)
        below = metrics.height() * 2 + 4
        return QRectF(self.rect()).adjusted(left + GAP, 2, -_SCALE_ROOM - GAP, -below)

    def _cell(self, layer: LayerSparsity) -> QRectF:
        grid = self._grid()
        width = grid.width() / len(self._blocks)
        height = grid.height() / len(self._kinds)
        column = self._blocks.index(layer.block)
        row = self._kinds.index(layer.kind)
        x, y = grid.left() + column * width, grid.top() + row * height
        gap = 1 if min(width, height) > 6 else 0
        return QRectF(x, y, width - gap, height - gap)

    def _paint_cell(
        self, painter: QPainter, theme: Theme, layer: LayerSparsity
    ) -> None:
        cell = self._cell(layer)
        painter.setPen(Qt.PenStyle.NoPen)
        colour = heat_colour(theme, layer.sparsity)
        painter.setBrush(colour)
        painter.drawRoundedRect(cell, 2, 2)
        if cell.width() < _LEAST_CELL_FOR_TEXT or cell.height() < self._line_height():
            return
        painter.setPen(ink_on(colour))
        whole = f"{layer.sparsity * 100:.0f}"
        painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, whole)

    def _paint_labels(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self._line_height()
        painter.setPen(QColor(theme.muted))
        height = grid.height() / len(self._kinds)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for row, kind in enumerate(self._kinds):
            area = QRectF(0, grid.top() + row * height, grid.left() - GAP, height)
            painter.drawText(area, right, kind)
        width = grid.width() / len(self._blocks)
        widest = self.fontMetrics().horizontalAdvance(f"{self._blocks[-1]} ")
        every = max(1, -int(-widest // width))
        for column in range(0, len(self._blocks), every):
            area = QRectF(
                grid.left() + column * width - widest, grid.bottom(), width, line
            ).adjusted(0, 0, 2 * widest, 0)
            number = str(self._blocks[column])
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, number)
        below = QRectF(grid.left(), grid.bottom() + line, grid.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, tr("Block"))

    def _paint_scale(self, painter: QPainter, theme: Theme) -> None:
        grid, line = self._grid(), self._line_height()
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
        for y, label in (
            (bar.top(), "100 %"),
            (bar.center().y() - line / 2, "50"),
            (bar.bottom() - line, "0"),
        ):
            area = QRectF(left, y, self.width() - left, line)
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft, label)

    def _line_height(self) -> int:
        return self.fontMetrics().height()


def _in_words(layer: LayerSparsity) -> str:
    return tr("{name}\n{sparsity} removed: {removed} of {weights} weights").format(
        name=layer.name,
        sparsity=numbers.percent(layer.sparsity),
        removed=numbers.count(layer.removed),
        weights=numbers.count(layer.weights),
    )
