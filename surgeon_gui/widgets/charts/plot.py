"""A plot in the colours of the theme that tells the values under the mouse.

Its owner says, as a function from the place of the mouse, what there is to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QSize, Qt
from PySide6.QtGui import QMouseEvent

from surgeon_gui.base.colours import Theme
from surgeon_gui.text.numbers import localize

LEFT_AXIS = 68  # pixels, so that charts below each other line up
_DOT = 9  # pixels, of the point that is read
_ABOVE = 10  # everything else, in the order of painting
_BELOW = -200  # the lines, which would otherwise be striped by the grid
_SIZE = (240, 150)  # that is enough for a plot; it takes what it gets


class Reading(NamedTuple):
    """What is under the mouse."""

    x: float  # where the cross line goes
    words: str
    points: tuple[tuple[float, float], ...] = ()  # that are marked


class _Axis(pg.AxisItem):
    """An axis whose numbers can be said in other words."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self.say: Callable[[float], str] | None = None
        self.enableAutoSIPrefix(False)

    def tickStrings(
        self, values: list[float], scale: float, spacing: float
    ) -> list[str]:
        """See `pyqtgraph.AxisItem.tickStrings`."""
        if self.say is None or self.logMode:
            return [localize(x) for x in super().tickStrings(values, scale, spacing)]
        return [self.say(value * scale) for value in values]


class Plot(pg.PlotWidget):
    """All items are made once: pyqtgraph leaks those that are made anew."""

    def __init__(self, name: str, title: str) -> None:
        axes = {side: _Axis(side) for side in ("left", "bottom")}
        super().__init__(axisItems=axes)
        self.setObjectName(f"{name}_plot")
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hideButtons()
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.setMouseTracking(True)
        for axis in axes.values():
            axis.setZValue(_BELOW)
        self.getAxis("left").setWidth(LEFT_AXIS)
        self.reading_at: Callable[[QPointF], Reading | None] = lambda place: None
        self._labels, self._label_colour = ("", ""), ""
        self._place: QPointF | None = None  # of the mouse, in the widget
        self._cross = pg.InfiniteLine(angle=90)
        self._dots = pg.ScatterPlotItem(size=_DOT)
        self._words = pg.TextItem(anchor=(0, 0))
        for item in (self._cross, self._dots, self._words):
            item.setZValue(_ABOVE)
            item.hide()
            self.addItem(item, ignoreBounds=True)

    @property
    def words(self) -> str:
        """What is told of the place under the mouse; empty: nothing."""
        return self._words.toPlainText() if self._words.isVisible() else ""

    def sizeHint(self) -> QSize:
        """See `QWidget.sizeHint`."""
        return QSize(*_SIZE)

    def label_axes(self, left: str, bottom: str) -> None:
        """Name the axes."""
        if (left, bottom) != self._labels:
            self._labels = (left, bottom)
            self._label()

    def restyle(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._label_colour = theme.muted
        self.setBackground(theme.surface)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(pg.mkPen(theme.border))
            axis.setTextPen(pg.mkPen(theme.muted))
        self.showGrid(x=False, y=True, alpha=0.25)
        self._label()
        self._cross.setPen(pg.mkPen(theme.muted))
        self._dots.setBrush(pg.mkBrush(theme.text))
        self._dots.setPen(pg.mkPen(theme.surface))
        self._words.setColor(theme.text)
        self._words.fill = pg.mkBrush(theme.raised)
        self._words.border = pg.mkPen(theme.border)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Tell what is under the mouse."""
        self._place = event.position()
        self.read()
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """Tell nothing any more."""
        self.forget_mouse()
        super().leaveEvent(event)

    def forget_mouse(self) -> None:
        """Take away what was told of the place under the mouse."""
        self._place = None
        self.read()

    def read(self) -> None:
        """Tell anew what is under the mouse; to be called when the data change."""
        reading = None
        if self._place is not None:
            box = self.getViewBox()
            scene = self.mapToScene(self._place.toPoint())
            if box.sceneBoundingRect().contains(scene):
                reading = self.reading_at(box.mapSceneToView(scene))
        for item in (self._cross, self._dots, self._words):
            item.setVisible(reading is not None)
        if reading is None:
            return
        (left, right), (_, top) = self.getViewBox().viewRange()
        is_right = reading.x > (left + right) / 2
        self._cross.setValue(reading.x)
        self._dots.setData(pos=list(reading.points))
        self._words.setText(reading.words)
        self._words.setAnchor((1 if is_right else 0, 0))
        self._words.setPos(reading.x, top)

    def _label(self) -> None:
        for side, words in zip(("left", "bottom"), self._labels, strict=True):
            self.setLabel(side, words, color=self._label_colour)
            # pyqtgraph centres a label when its axis is resized, not when it is set.
            self.getAxis(side).resizeEvent()
