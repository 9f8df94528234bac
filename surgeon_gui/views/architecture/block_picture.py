"""Picture of the blocks before and after pruning, and the card around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QScrollArea, QToolTip, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Block, Layer
from surgeon_gui.text import numbers
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.layouts import scrolling
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_BAR, _MAX_BAR = 14, 30  # pixels high, a bar of a block
_BAR_GAP = 4  # pixels between bars
_LAYER_GAP = 1.0  # pixels between the layers of a bar
_MIN_WIDTH = 480  # pixels, of a picture that is saved


class BlockPicture(QWidget):
    """A bar for each block with a segment for each layer.

    The width of a segment is the layer's original size, its fill the kept share.
    """

    layer_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("architecture_picture")
        self.setAccessibleName(tr("Blocks before and after"))
        self.blocks: tuple[Block, ...] = ()
        self._selected = ""

    def show_blocks(self, blocks: Sequence[Block], selected: str) -> None:
        """Show `blocks`, and frame the selected layer."""
        if (tuple(blocks), selected) == (self.blocks, self._selected):
            return
        self.blocks, self._selected = tuple(blocks), selected
        self.setMinimumHeight(len(self.blocks) * (_MIN_BAR + _BAR_GAP))
        self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(220, len(self.blocks) * (_MAX_BAR + _BAR_GAP))

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number, block in enumerate(self.blocks):
            bar = self._bar(number)
            painter.setPen(QColor(theme.muted))
            label = QRectF(0, bar.top(), bar.left() - GAP, bar.height())
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(label, right, str(block.number))
            for layer, place in self._segments(bar, block):
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(theme.border))
                painter.drawRect(place)
                kept = QRectF(place)
                kept.setHeight(place.height() * (1 - layer.sparsity))
                kept.moveBottom(place.bottom())
                painter.setBrush(QColor(theme.accent))
                painter.drawRect(kept)
                if layer.name == self._selected:
                    painter.setPen(QPen(QColor(theme.text), 2))
                    painter.setBrush(Qt.BrushStyle.NoBrush)
                    painter.drawRect(place)

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        layer = self.layer_at(event.position())
        if layer is not None:
            self.layer_clicked.emit(layer.name)
        super().mousePressEvent(event)

    @override
    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            layer = self.layer_at(event.pos().toPointF())
            tip = ""
            if layer is not None:
                tip = tr("{name}\n{share} of {weights} weights removed").format(
                    name=layer.name,
                    share=numbers.percent(layer.sparsity),
                    weights=numbers.count(layer.weights),
                )
            QToolTip.showText(event.globalPos(), plain_tip(tip))
            return True
        return super().event(event)

    def layer_at(self, position: QPointF) -> Layer | None:
        """Return the layer at a position, or None."""
        for number, block in enumerate(self.blocks):
            for layer, place in self._segments(self._bar(number), block):
                if place.contains(position):
                    return layer
        return None

    def _bar(self, number: int) -> QRectF:
        count = max(1, len(self.blocks))
        left = self.fontMetrics().horizontalAdvance("000") + GAP
        pitch = min(_MAX_BAR + _BAR_GAP, self.height() / count)
        height = max(2.0, pitch - _BAR_GAP)
        max_weights = max((block.weights for block in self.blocks), default=1)
        max_width = self.width() - left - 2
        width = max_width * self.blocks[number].weights / max(1, max_weights)
        return QRectF(left, number * pitch + 1, width, height)

    def _segments(self, bar: QRectF, block: Block) -> list[tuple[Layer, QRectF]]:
        segments, left = [], bar.left()
        for layer in block.layers:
            width = bar.width() * layer.weights / max(1, block.weights)
            place = QRectF(left, bar.top(), max(1.0, width - _LAYER_GAP), bar.height())
            segments.append((layer, place))
            left += width
        return segments


class BlockCard(ChartCard):
    """Scrolls if there are many blocks; a saved picture has all of them."""

    def __init__(self, *, scrolls: bool = True) -> None:
        super().__init__(
            "architecture",
            tr("Remaining weights by block"),
            tr("Shows the layers of the model."),
        )
        self.picture = BlockPicture()
        self._scrolls = scrolls
        self.set_body(on_card(self.picture) if scrolls else self.picture)

    def show_blocks(self, blocks: Sequence[Block], selected: str) -> None:
        """Show `blocks`, and frame the selected layer."""
        self.picture.show_blocks(blocks, selected)
        self.show_as_empty(not blocks)

    @override
    def save_picture(self, path: Path) -> None:
        if not self._scrolls or path.suffix == ".csv":
            super().save_picture(path)
            return
        full = BlockCard(scrolls=False)
        full.show_blocks(self.picture.blocks, "")
        full.resize(max(_MIN_WIDTH, self.width()), full.sizeHint().height())
        try:
            full.grab()  # forces the layout, as it was never shown
            full.save_picture(path)
        finally:
            full.deleteLater()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        sizes = ("rows before", "rows after", "columns before", "columns after")
        header = ("block", "layer", *sizes, "weights before", "weights after")
        rows: list[tuple[object, ...]] = [header]
        for block in self.picture.blocks:
            for layer in block.layers:
                before, after = layer.before, layer.after
                shapes = before.rows, after.rows, before.columns, after.columns
                kept = layer.weights - layer.removed
                rows.append((block.number, layer.name, *shapes, layer.weights, kept))
        return rows


def on_card(content: QWidget) -> QScrollArea:
    """Return a transparent scroll area around `content`."""
    area = scrolling(content)
    area.viewport().setAutoFillBackground(False)
    content.setAutoFillBackground(False)
    return area
