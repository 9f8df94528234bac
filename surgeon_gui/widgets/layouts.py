"""Layouts made from their parts in one call, and containers of widgets.

    vertical(self, title, (table, 1), in_row(note, STRETCH, close))

A part is a widget or a layout, a pair of one and its stretch, or `STRETCH`, which takes
the space that is left.
"""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QFocusEvent, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLayout,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN, PAGE, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.tool_tips import plain_tip

STRETCH = None
CARD_MARGINS = (MARGIN, GAP, MARGIN, GAP)  # left, top, right, bottom
BAR_MARGINS = (PAGE, GAP, PAGE, MARGIN)  # around a bar below a page
Margin = int | tuple[int, int, int, int]
Part = QWidget | QLayout | tuple[QWidget | QLayout, int] | None
_Box = TypeVar("_Box", bound=QBoxLayout)


def vertical(
    parent: QWidget, *parts: Part, margin: Margin = 0, spacing: int | None = GAP
) -> QVBoxLayout:
    """Lay out a widget as a column; spacing None: the style's."""
    return _filled(QVBoxLayout(parent), parts, margin, spacing)


def horizontal(
    parent: QWidget, *parts: Part, margin: Margin = 0, spacing: int | None = GAP
) -> QHBoxLayout:
    """Lay out a widget as a row; spacing None: the style's."""
    return _filled(QHBoxLayout(parent), parts, margin, spacing)


def in_column(*parts: Part, spacing: int | None = GAP) -> QVBoxLayout:
    """Return a column for another layout; spacing None: the other layout's."""
    return _filled(QVBoxLayout(), parts, 0, spacing)


def in_row(*parts: Part, spacing: int | None = GAP) -> QHBoxLayout:
    """Return a row for another layout; spacing None: the other layout's."""
    return _filled(QHBoxLayout(), parts, 0, spacing)


def _filled(
    layout: _Box, parts: tuple[Part, ...], margin: Margin, spacing: int | None
) -> _Box:
    sides = (margin,) * 4 if isinstance(margin, int) else margin
    layout.setContentsMargins(*sides)
    if spacing is not None:
        layout.setSpacing(spacing)
    add_parts(layout, *parts)
    return layout


def in_grid(
    parent: QWidget | None = None,
    *,
    wide: int | None = None,
    beside: int = GAP,
    below: int = GAP,
) -> QGridLayout:
    """Return a layout in which column `wide` takes the space that is left.

    `beside` and `below`: the pixels between columns and between rows.
    """
    made = QGridLayout(parent)
    made.setContentsMargins(0, 0, 0, 0)
    made.setHorizontalSpacing(beside)
    made.setVerticalSpacing(below)
    if wide is not None:
        made.setColumnStretch(wide, 1)
    return made


def add_parts(layout: QBoxLayout, *parts: Part) -> None:
    """Add parts at the end of a layout."""
    for part in parts:
        each, stretch = part if isinstance(part, tuple) else (part, 0)
        if each is None:
            layout.addStretch()
        elif isinstance(each, QWidget):
            layout.addWidget(each, stretch)
        else:
            layout.addLayout(each, stretch)


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return a layout with widgets side by side, aligned left."""
    return in_row(*widgets, STRETCH)


def answer_row(*buttons: QPushButton) -> QHBoxLayout:
    """Return a layout with the buttons below a dialog, aligned right."""
    return in_row(STRETCH, *buttons)


def with_button(wide: QWidget, *buttons: QWidget) -> QHBoxLayout:
    """Return a layout with a wide widget and the buttons that belong to it."""
    return in_row((wide, 1), *buttons)


def on_top(*parts: Part, spacing: int | None = GAP) -> QWidget:
    """Return a widget with parts below each other at its top."""
    made = QWidget()
    vertical(made, *parts, STRETCH, spacing=spacing)
    return made


def stack(layout: QBoxLayout, *, is_stacked: bool) -> None:
    """Place the parts of a layout below each other, or beside each other."""
    directions = QBoxLayout.Direction
    layout.setDirection(
        directions.TopToBottom if is_stacked else directions.LeftToRight
    )


def card(*parts: Part, margin: Margin = MARGIN, spacing: int | None = GAP) -> QFrame:
    """Return a frame that looks like a card, with parts below each other if any."""
    frame = QFrame()
    frame.setProperty("card", "true")
    if parts:
        vertical(frame, *parts, margin=margin, spacing=spacing)
    return frame


def inside_card(
    parent: QWidget,
    *parts: Part,
    margin: Margin = CARD_MARGINS,
    spacing: int | None = GAP,
) -> QVBoxLayout:
    """Fill a widget with a card that has these parts; return the column of parts."""
    frame = card()
    vertical(parent, frame)
    return vertical(frame, *parts, margin=margin, spacing=spacing)


def scrolling(content: QWidget) -> QScrollArea:
    """Return a frameless area around `content` that scrolls vertically."""
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area


class Collapsible(QWidget):
    """A title with an arrow that shows or hides the content below; closed at first."""

    def __init__(self, title: str, name: str, content: QWidget) -> None:
        super().__init__()
        self._content = content
        self.button = QToolButton()
        self.button.setObjectName(name)
        self.button.setText(title)
        self.button.setAccessibleName(title)
        self.button.setToolTip(plain_tip(tr("Show or hide this section.")))
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.toggled.connect(self._on_toggled)
        vertical(self, self.button, content, spacing=None)
        self._on_toggled(False)

    @Slot(bool)
    def _on_toggled(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.button.setArrowType(arrow)
        self._content.setVisible(is_open)


class PageArea(QScrollArea):
    """Scrolls a column; the bar takes its room from the column's right margin."""

    def __init__(self, content: QWidget, column: QVBoxLayout) -> None:
        super().__init__()
        self._column, self._margins = column, column.contentsMargins()
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.verticalScrollBar().rangeChanged.connect(self._make_room)
        self._make_room()

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        is_forwards = event.reason() is Qt.FocusReason.TabFocusReason
        if is_forwards or event.reason() is Qt.FocusReason.BacktabFocusReason:
            self.focusNextPrevChild(is_forwards)  # the area shows no focus

    @Slot()
    def _make_room(self) -> None:
        bar, margins = self.verticalScrollBar(), self._margins
        room = bar.sizeHint().width() if bar.maximum() > 0 else 0
        right = max(0, margins.right() - room)
        self._column.setContentsMargins(
            margins.left(), margins.top(), right, margins.bottom()
        )


class LowColumn(QWidget):
    """A column that scrolls only if its parts cannot be low enough for their area."""

    @override
    def heightForWidth(self, width: int) -> int:
        layout = self.layout()
        assert layout is not None
        return layout.totalMinimumHeightForWidth(width)


class CardRow(QWidget):
    """Gives its cards the same width; `narrow`: pixels below which they are stacked."""

    def __init__(self, *cards: QWidget, narrow: int) -> None:
        super().__init__()
        self._cards, self._narrow = cards, narrow
        self._row = horizontal(self, *((each, 1) for each in cards), spacing=ROOM)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        shown = [each for each in self._cards if not each.isHidden()]
        widest = max((each.minimumSizeHint().width() for each in shown), default=0)
        needed = len(shown) * (widest + ROOM) - ROOM
        is_stacked = event.size().width() < max(needed, self._narrow)
        stack(self._row, is_stacked=is_stacked)

    # The layout would not let the row become narrower than its cards are together.
    @override
    def minimumSizeHint(self) -> QSize:
        widths = [each.minimumSizeHint().width() for each in self._cards]
        return QSize(max(widths), super().minimumSizeHint().height())
