"""A plot in the colours of the theme that shows the values under the mouse.

`Plot.reading_at` maps a position to the values to show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QSize, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from typing_extensions import override

from surgeon_gui.base.colours import Theme
from surgeon_gui.text.numbers import localize

LEFT_AXIS = 68  # pixels, so that charts below each other line up
_DOT = 9  # pixels, of a marked point
_ABOVE = 10  # z value of the values under the mouse
_BELOW = -200  # z value of the axes, whose grid would otherwise cross the lines
_SIZE = (240, 150)  # pixels, the size hint


class Reading(NamedTuple):
    """The values under the mouse."""

    x: float  # of the vertical line
    text: str
    points: tuple[tuple[float, float], ...] = ()  # to mark


class _Axis(pg.AxisItem):
    """An axis with localized or custom tick labels."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self.format_tick: Callable[[float], str] | None = None
        self.enableAutoSIPrefix(False)

    @override
    def tickStrings(
        self, values: list[float], scale: float, spacing: float
    ) -> list[str]:
        if self.format_tick is None or self.logMode:
            return [localize(x) for x in super().tickStrings(values, scale, spacing)]
        return [self.format_tick(value * scale) for value in values]


class PagePlot(pg.PlotWidget):
    """A plot that leaves the mouse wheel to the page on which it is."""

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class Plot(PagePlot):
    """A plot without mouse interaction except for showing values.

    Create its items once and reuse them: pyqtgraph leaks items that are created anew.
    """

    def __init__(self, name: str, title: str) -> None:
        axes = {side: _Axis(side) for side in ("left", "bottom")}
        super().__init__(axisItems=axes, enableMenu=False)
        self.setObjectName(f"{name}_plot")
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.setMouseTracking(True)
        for axis in axes.values():
            axis.setZValue(_BELOW)
        self.getAxis("left").setWidth(LEFT_AXIS)
        self.reading_at: Callable[[QPointF], Reading | None] = lambda place: None
        self._labels, self._label_colour = ("", ""), ""
        self._mouse: QPointF | None = None  # position in the widget
        self._cross = pg.InfiniteLine(angle=90)
        self._dots = pg.ScatterPlotItem(size=_DOT)
        self._text = pg.TextItem(anchor=(0, 0))
        for item in (self._cross, self._dots, self._text):
            item.setZValue(_ABOVE)
            item.hide()
            self.addItem(item, ignoreBounds=True)

    @property
    def text(self) -> str:
        """The values shown under the mouse; empty if there are none."""
        return self._text.toPlainText() if self._text.isVisible() else ""

    @override
    def sizeHint(self) -> QSize:
        return QSize(*_SIZE)

    def label_axes(self, left: str, bottom: str) -> None:
        """Name the axes."""
        if (left, bottom) != self._labels:
            self._labels = (left, bottom)
            self._label()

    def restyle(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
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
        self._text.setColor(theme.text)
        self._text.fill = pg.mkBrush(theme.raised)
        self._text.border = pg.mkPen(theme.border)

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._mouse = event.position()
        self.read()
        super().mouseMoveEvent(event)

    @override
    def leaveEvent(self, event: QEvent) -> None:
        self.forget_mouse()
        super().leaveEvent(event)

    def forget_mouse(self) -> None:
        """Hide the values under the mouse."""
        self._mouse = None
        self.read()

    def read(self) -> None:
        """Update the values under the mouse; call this when the data change."""
        reading = None
        if self._mouse is not None:
            box = self.getViewBox()
            scene = self.mapToScene(self._mouse.toPoint())
            if box.sceneBoundingRect().contains(scene):
                reading = self.reading_at(box.mapSceneToView(scene))
        for item in (self._cross, self._dots, self._text):
            item.setVisible(reading is not None)
        if reading is None:
            return
        (left, right), (_, top) = self.getViewBox().viewRange()
        is_right = reading.x > (left + right) / 2
        self._cross.setValue(reading.x)
        self._dots.setData(pos=list(reading.points))
        self._text.setText(reading.text)
        self._text.setAnchor((1 if is_right else 0, 0))
        self._text.setPos(reading.x, top)

    def _label(self) -> None:
        for side, label in zip(("left", "bottom"), self._labels, strict=True):
            self.setLabel(side, label, color=self._label_colour)
            # pyqtgraph centres a label when its axis is resized, not when it is set.
            self.getAxis(side).resizeEvent()
