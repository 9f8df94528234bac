"""A picture of the blocks: as broad as they were, filled as far as they still are."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolTip, QWidget

from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Block, Layer
from surgeon_gui.text import numbers

_MIN_BAR, _MAX_BAR = 14, 30  # pixels high, a bar of a block
_APART = 4  # pixels between bars
_NARROW = 1.0  # pixels between the layers of a bar


class BlockPicture(QWidget):
    """A bar for each block, a piece of it for each layer."""

    layer_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("architecture_picture")
        self.setAccessibleName(tr("Blocks before and after"))
        self._blocks: tuple[Block, ...] = ()
        self._selected = ""

    def show_blocks(self, blocks: Sequence[Block], selected: str) -> None:
        """Show `blocks`, with the layer of that name framed."""
        if (tuple(blocks), selected) == (self._blocks, self._selected):
            return
        self._blocks, self._selected = tuple(blocks), selected
        self.setMinimumHeight(len(self._blocks) * (_MIN_BAR + _APART))
        self.update()

    def sizeHint(self) -> QSize:
        """Bars that can be read."""
        return QSize(220, len(self._blocks) * (_MAX_BAR + _APART))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw all bars."""
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number, block in enumerate(self._blocks):
            bar = self._bar(number)
            painter.setPen(QColor(theme.muted))
            label = QRectF(0, bar.top(), bar.left() - GAP, bar.height())
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(label, right, str(block.number))
            for layer, place in self._pieces(bar, block):
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

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Tell which layer was clicked."""
        layer = self.layer_at(event.position())
        if layer is not None:
            self.layer_clicked.emit(layer.name)
        super().mousePressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Name the layer under the mouse."""
        if isinstance(event, QHelpEvent):
            layer = self.layer_at(event.pos().toPointF())
            words = ""
            if layer is not None:
                words = tr("{name}\n{share} of {weights} weights gone").format(
                    name=layer.name,
                    share=numbers.percent(layer.sparsity),
                    weights=numbers.count(layer.weights),
                )
            QToolTip.showText(event.globalPos(), words)
            return True
        return super().event(event)

    def layer_at(self, position: QPointF) -> Layer | None:
        """The layer whose piece is there."""
        for number, block in enumerate(self._blocks):
            for layer, place in self._pieces(self._bar(number), block):
                if place.contains(position):
                    return layer
        return None

    def _bar(self, number: int) -> QRectF:
        count = max(1, len(self._blocks))
        left = self.fontMetrics().horizontalAdvance("000") + GAP
        pitch = min(_MAX_BAR + _APART, self.height() / count)
        height = max(2.0, pitch - _APART)
        widest = max((block.weights for block in self._blocks), default=1)
        room = self.width() - left - 2
        width = room * self._blocks[number].weights / max(1, widest)
        return QRectF(left, number * pitch + 1, width, height)

    def _pieces(self, bar: QRectF, block: Block) -> list[tuple[Layer, QRectF]]:
        pieces, left = [], bar.left()
        for layer in block.layers:
            width = bar.width() * layer.weights / max(1, block.weights)
            place = QRectF(left, bar.top(), max(1.0, width - _NARROW), bar.height())
            pieces.append((layer, place))
            left += width
        return pieces
