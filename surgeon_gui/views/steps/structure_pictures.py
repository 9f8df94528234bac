"""Small picture of each structure: kept parts filled, removed parts outlined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from surgeon_engine.api.config.pruning import Structure

_ROWS, _COLUMNS = 5, 8  # of the matrices
_SPACING = 1.5
_REMOVED_ROWS, _REMOVED_COLUMNS = {1, 3}, {2, 5, 6}
_PATTERN = ("1010", "0110", "1001", "0011", "1100")  # 2 of 4 neighbors are kept
_SCATTERED = {
    (0, 1), (0, 4), (0, 6), (1, 0), (1, 3), (1, 7), (2, 2), (2, 5), (3, 1), (3, 4),
    (3, 6), (4, 0), (4, 3), (4, 5), (4, 7),
}  # fmt: skip
_HEADS, _REMOVED_HEADS = 4, {1}
_NEURONS, _REMOVED_NEURONS = 5, {1, 3}


@dataclass(frozen=True, slots=True)
class Ink:
    """Colors of kept and removed parts."""

    kept: QColor
    removed: QColor


def paint_structure(
    painter: QPainter, structure: Structure, place: QRectF, ink: Ink
) -> None:
    """Draw the picture of `structure` into the rectangle `place`."""
    if structure is Structure.HEADS_AND_NEURONS:
        half = (place.width() - 6) / 2
        left = QRectF(place.left(), place.top(), half, place.height())
        _paint_heads(painter, left, ink)
        _paint_neurons(painter, left.translated(half + 6, 0), ink)
    elif structure is Structure.HEADS:
        inset = place.width() * 0.15
        _paint_heads(painter, place.adjusted(inset, 0, -inset, 0), ink)
    elif structure is Structure.NEURONS:
        inset = place.width() * 0.15
        _paint_neurons(painter, place.adjusted(inset, 0, -inset, 0), ink)
    else:
        _paint_matrix(painter, place, ink, _REMOVED[structure])


def _paint_heads(painter: QPainter, place: QRectF, ink: Ink) -> None:
    """Draw attention heads side by side."""
    width = place.width() / _HEADS
    for head in range(_HEADS):
        left = place.left() + head * width
        column = QRectF(left, place.top(), width, place.height())
        is_removed = head in _REMOVED_HEADS
        _set_ink(painter, ink, is_removed=is_removed)
        painter.drawRoundedRect(
            column.adjusted(_SPACING, 1, -_SPACING, -1), width / 3, width / 3
        )


def _paint_neurons(painter: QPainter, place: QRectF, ink: Ink) -> None:
    """Draw neurons between inputs and outputs; kept ones have connections."""
    radius = place.height() / (2.6 * _NEURONS)
    middle = place.center()
    ends = [
        QPointF(x, middle.y() + offset * place.height())
        for x in (place.left() + radius, place.right() - radius)
        for offset in (-0.22, 0.22)
    ]
    step = place.height() / _NEURONS
    neurons = [
        QPointF(middle.x(), place.top() + (number + 0.5) * step)
        for number in range(_NEURONS)
    ]
    painter.setPen(QPen(ink.kept, 0.8))
    for number, neuron in enumerate(neurons):
        if number not in _REMOVED_NEURONS:
            for end in ends:
                painter.drawLine(end, neuron)
    for number, neuron in enumerate(neurons):
        _set_ink(painter, ink, is_removed=number in _REMOVED_NEURONS)
        painter.drawEllipse(neuron, radius, radius)
    _set_ink(painter, ink, is_removed=False)
    for end in ends:
        painter.drawEllipse(end, radius, radius)


def _paint_matrix(
    painter: QPainter, place: QRectF, ink: Ink, is_removed: Callable[[int, int], bool]
) -> None:
    """Draw the weight matrix of a layer."""
    side = min(place.width() / _COLUMNS, place.height() / _ROWS)
    left = place.center().x() - side * _COLUMNS / 2
    top = place.center().y() - side * _ROWS / 2
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            cell = QRectF(left + column * side, top + row * side, side, side)
            cell.adjust(_SPACING / 2, _SPACING / 2, -_SPACING / 2, -_SPACING / 2)
            _set_ink(painter, ink, is_removed=is_removed(row, column))
            painter.drawRect(cell)


def _set_ink(painter: QPainter, ink: Ink, *, is_removed: bool) -> None:
    if is_removed:
        painter.setPen(QPen(ink.removed, 0.6, Qt.PenStyle.DotLine))
        painter.setBrush(Qt.BrushStyle.NoBrush)
    else:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink.kept)


_REMOVED: dict[Structure, Callable[[int, int], bool]] = {
    Structure.ROWS_AND_COLUMNS: lambda r, c: (
        r in _REMOVED_ROWS or c in _REMOVED_COLUMNS
    ),
    Structure.ROWS: lambda r, c: r in _REMOVED_ROWS,
    Structure.COLUMNS: lambda r, c: c in _REMOVED_COLUMNS,
    Structure.N_M: lambda r, c: _PATTERN[(r + c // 4) % len(_PATTERN)][c % 4] == "0",
    Structure.ELEMENTS: lambda r, c: (r, c) in _SCATTERED,
}
