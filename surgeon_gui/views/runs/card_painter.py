"""Paint a run as a card.

┌──────────────────────────────┐
│ SmolLM2-135M · 70.0 MB     … │
│ ● Close to the original      │
│ ▢▣▣▢▣▣▢▣▣▢  attention        │   removed share of each block
│ ▣▣▢▣▣▢▣▣▢▣  MLPs             │
│ today, 4 min               ☐ │
└──────────────────────────────┘
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetrics,
    QPainter,
    QPen,
    QTextLayout,
    QTextOption,
)

from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, LARGE, RADIUS, ROOM, heat_color
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import SEPARATOR
from surgeon_gui.text.verdicts import COLORS
from surgeon_gui.widgets.controls import bold

CARD_GAP = 16  # pixels between cards
_SPOT = 28  # pixels, the spots of the menu and of the tick
_BOX, _DOT = 14, 10  # pixels, the box to tick and the dot of the verdict
_INSET = ROOM - (_SPOT - _BOX) // 2  # aligns the picture in a spot with the content
_PICTURE_LINES = 3.4  # height of the picture of blocks
_MAX_TITLE_LINES = 2
_MIN_CELL_FOR_GAP = 4  # pixels; smaller cells touch each other
_OUTCOME_COLORS = {
    RunOutcome.RUNNING: "accent",
    RunOutcome.FAILED: "bad",
    RunOutcome.DAMAGED: "bad",
    RunOutcome.INTERRUPTED: "warning",
}
_RIGHT = Qt.TextElideMode.ElideRight
_MIDDLE = Qt.TextElideMode.ElideMiddle
_LEFT_MIDDLE = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter


class CardStatus(NamedTuple):
    """Selection, hover and tick of a card."""

    is_selected: bool = False
    is_hovered: bool = False
    is_ticked: bool | None = False  # None: it cannot be ticked


def card_rect(cell: QRect) -> QRect:
    """Return the card in its cell, which has the gap to the next one."""
    return cell.adjusted(0, 0, -CARD_GAP, -CARD_GAP)


def menu_rect(cell: QRect) -> QRect:
    """Return the spot of a card that opens its menu."""
    corner = card_rect(cell).topRight() + QPoint(-_SPOT - _INSET, ROOM - _SPOT // 6)
    return QRect(corner, QSize(_SPOT, _SPOT))


def tick_rect(cell: QRect) -> QRect:
    """Return the spot of a card that ticks it."""
    away = QPoint(_SPOT + _INSET, _SPOT + _INSET)
    return QRect(card_rect(cell).bottomRight() - away, QSize(_SPOT, _SPOT))


def cell_height(font: QFont) -> int:
    """Return the height of a card and the gap below it."""
    text = _height(font)
    lines = _height(bold(font, LARGE)) + text + _PICTURE_LINES * text + text
    return round(lines) + 3 * GAP + 2 * ROOM + CARD_GAP


def title_rect(cell: QRect, font: QFont) -> QRect:
    """Return the first line of the title."""
    inside = card_rect(cell).adjusted(ROOM, ROOM, -ROOM - _SPOT, -ROOM)
    return QRect(inside.topLeft(), QSize(inside.width(), _height(bold(font, LARGE))))


def wrapped(text: str, font: QFont, width: int, most: int) -> list[str]:
    """Return a text in lines of a width; the last one is elided if there are more."""
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout = QTextLayout(text, font)
    layout.setTextOption(option)
    layout.beginLayout()
    lines: list[str] = []
    while (line := layout.createLine()).isValid():
        line.setLineWidth(width)
        start = line.textStart()
        if len(lines) == most - 1:
            last = text[start:].strip()
            lines.append(QFontMetrics(font).elidedText(last, _RIGHT, width))
            break
        lines.append(text[start : start + line.textLength()].rstrip())
    layout.endLayout()
    return lines


def title_lines(title: str, font: QFont, width: int) -> list[str]:
    """Return a title in two lines; one that is too long keeps its end.

    The end is the size of the file, or the part that tells the run from others.
    """
    lines = wrapped(title, font, width, _MAX_TITLE_LINES)
    name, dot, size = title.rpartition(SEPARATOR)
    if not dot or "".join(lines).replace(" ", "") == title.replace(" ", ""):
        return lines
    metrics, rest = QFontMetrics(font), name[len(lines[0]) :].strip()
    if not rest:
        rest = title[len(lines[0]) :].strip()
        return [*lines[:-1], metrics.elidedText(rest, _MIDDLE, width)]
    room = width - metrics.horizontalAdvance(dot + size)
    if room < metrics.horizontalAdvance(rest[:2] + "…"):  # the end fills a line
        name = metrics.elidedText(name, _RIGHT, width)
        return [name, metrics.elidedText(size, _MIDDLE, width)]
    return [*lines[:-1], metrics.elidedText(rest, _RIGHT, room) + dot + size]


class CardPainter:
    """Paints a card with a theme and a font."""

    def __init__(self, painter: QPainter, theme: Theme, font: QFont) -> None:
        self._painter = painter
        self._theme = theme
        self._font = font

    def paint(
        self, cell: QRect, title: str, record: RunRecord, percent: int, do: CardStatus
    ) -> None:
        """Paint a card in its cell."""
        painter, card = self._painter, card_rect(cell)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_frame(card, do)
        inside = card.adjusted(ROOM, ROOM, -ROOM, -ROOM)
        top = self._paint_title(inside, title)
        top = self._paint_verdict(inside, top, record, percent)
        bottom = inside.bottom() + 1 - _height(self._font)
        picture = QRect(inside.left(), top, inside.width(), bottom - GAP - top)
        if record.outcome is RunOutcome.RUNNING and not record.removed:
            self._paint_progress(picture, percent)
        elif record.removed:
            self._paint_blocks(picture, record)
        else:
            self._paint_reason(picture, run_text.outcome_details(record))
        line = QRect(inside.left(), bottom, inside.width() - _SPOT, inside.height())
        line.setBottom(inside.bottom())
        self._write(run_text.when(record, datetime.now()), line)
        self._paint_menu(menu_rect(cell), do)
        if do.is_ticked is not None:
            self._paint_tick(tick_rect(cell), is_ticked=do.is_ticked)

    def _paint_frame(self, card: QRect, do: CardStatus) -> None:
        is_marked = do.is_selected or do.is_hovered
        color = self._theme.accent if is_marked else self._theme.border
        width = 2 if do.is_selected else 1
        self._painter.setPen(QPen(QColor(color), width))
        self._painter.setBrush(QColor(self._theme.surface))
        inset = width / 2
        frame = QRectF(card).adjusted(inset, inset, -inset, -inset)
        self._painter.drawRoundedRect(frame, RADIUS, RADIUS)

    def _paint_title(self, inside: QRect, title: str) -> int:
        """Paint the title; return where it ends."""
        font = bold(self._font, LARGE)
        width, height = inside.width() - _SPOT, _height(font)
        self._painter.setFont(font)
        self._painter.setPen(QColor(self._theme.text))
        top = inside.top()
        for line in title_lines(title, font, width):
            place = QRect(inside.left(), top, inside.width(), height)
            self._painter.drawText(place, int(_LEFT_MIDDLE), line)
            top += height
        return top + GAP // 2

    def _paint_verdict(
        self, inside: QRect, top: int, record: RunRecord, percent: int
    ) -> int:
        """Paint the dot and the word of the verdict; return where they end."""
        color = _OUTCOME_COLORS.get(record.outcome, "muted")
        if record.verdict is not None:
            color = COLORS[record.verdict]
        height = _height(self._font)
        self._painter.setPen(Qt.PenStyle.NoPen)
        self._painter.setBrush(QColor(getattr(self._theme, color)))
        center = QPointF(inside.left() + _DOT / 2, top + height / 2)
        self._painter.drawEllipse(center, _DOT / 2, _DOT / 2)
        place = QRect(inside.left(), top, inside.width(), height)
        place.setLeft(place.left() + _DOT + GAP)
        word = run_text.verdict(record, percent)
        self._write(word, place, color=self._theme.text)
        return top + height + GAP

    def _paint_blocks(self, place: QRect, record: RunRecord) -> None:
        """Paint a row for attention and one for MLPs, or one for both."""
        self._painter.setPen(Qt.PenStyle.NoPen)
        rows = record.removed
        height = (place.height() - 2 * (len(rows) - 1)) / len(rows)
        for row, shares in enumerate(rows):
            top = place.top() + row * (height + 2)
            width = place.width() / max(1, len(shares))
            gap = 1 if width >= _MIN_CELL_FOR_GAP else 0
            for block, share in enumerate(shares):
                left = place.left() + block * width
                cell = QRectF(left, top, width - gap, height)
                self._painter.setBrush(heat_color(self._theme, share))
                self._painter.drawRoundedRect(cell, gap, gap)

    def _paint_progress(self, place: QRect, percent: int) -> None:
        self._painter.setPen(Qt.PenStyle.NoPen)
        bar = QRectF(place.left(), place.top() + GAP, place.width(), GAP)
        done = QRectF(bar.topLeft(), QSize(place.width() * percent // 100, GAP))
        for part, color in ((bar, self._theme.border), (done, self._theme.accent)):
            self._painter.setBrush(QColor(color))
            self._painter.drawRoundedRect(part, GAP / 2, GAP / 2)

    def _paint_reason(self, place: QRect, reason: str) -> None:
        """Paint as much of a text as there is room for."""
        height = _height(self._font)
        lines = wrapped(reason, self._font, place.width(), place.height() // height)
        for number, line in enumerate(lines):
            top = place.top() + number * height
            self._write(line, QRect(place.left(), top, place.width(), height))

    def _paint_menu(self, spot: QRect, do: CardStatus) -> None:
        is_marked = do.is_selected or do.is_hovered
        color = self._theme.text if is_marked else self._theme.faint
        self._painter.setPen(Qt.PenStyle.NoPen)
        self._painter.setBrush(QColor(color))
        for step in (-5, 0, 5):
            center = QPointF(spot.center()) + QPointF(step, 0)
            self._painter.drawEllipse(center, 1.6, 1.6)

    def _paint_tick(self, spot: QRect, *, is_ticked: bool) -> None:
        box = QRectF(0, 0, _BOX, _BOX)
        box.moveCenter(QRectF(spot).center())
        color = self._theme.accent if is_ticked else self._theme.muted
        self._painter.setPen(QPen(QColor(color), 1))
        self._painter.setBrush(QColor(color if is_ticked else self._theme.surface))
        self._painter.drawRoundedRect(box, 3, 3)
        if is_ticked:
            pen = QPen(QColor(self._theme.on_accent), 2)
            pen.setCapStyle(Qt.PenCapStyle.RoundCap)
            self._painter.setPen(pen)
            tick = [QPointF(3.5, 7.5), QPointF(6, 10), QPointF(10.5, 4.5)]
            self._painter.drawPolyline([box.topLeft() + point for point in tick])

    def _write(self, text: str, place: QRect, color: str = "") -> None:
        text = QFontMetrics(self._font).elidedText(text, _RIGHT, place.width())
        self._painter.setFont(self._font)
        self._painter.setPen(QColor(color or self._theme.muted))
        self._painter.drawText(place, int(_LEFT_MIDDLE), text)


def _height(font: QFont) -> int:
    return QFontMetrics(font).height()
