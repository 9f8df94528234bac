"""Plots that can be zoomed and show the values under the mouse, and their cards.

`Plot.reading_at` maps a position to the values to show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseDragEvent
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QMouseEvent, QPainter, QWheelEvent
from PySide6.QtWidgets import QPushButton
from typing_extensions import override

from surgeon_gui.base.colors import Theme
from surgeon_gui.base.translation import tr
from surgeon_gui.text.numbers import localize
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import button

LEFT_AXIS = 68  # pixels, so that charts below each other line up
_DOT = 9  # pixels, of a marked point
_ABOVE = 10  # z value of the values under the mouse
_BELOW = -200  # z value of the axes, whose grid would otherwise cross the lines
_SIZE = (240, 150)  # pixels, the size hint
_ZOOM_STEP = 1.25  # zoom factor for one step of the wheel
_MAX_ZOOM = 1e4
_MIN_DRAG = 5  # pixels; a shorter drag is a click
_WHEEL_STEP = 120  # one step of the wheel, in eighths of a degree

_SIDES = ("left", "bottom")

Range = tuple[float, float]
Ticks = Sequence[tuple[float, str]]
_MENU_ZOOM = 1.5  # by one choice of the menu


class Reading(NamedTuple):
    """The values under the mouse."""

    x: float  # position of the vertical line
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
        if self.format_tick is None:
            return [localize(x) for x in super().tickStrings(values, scale, spacing)]
        return [self.format_tick(value * scale) for value in values]

    @override
    def generateDrawSpecs(self, p: QPainter) -> Any:
        """Return what to draw: all labels of numbers with as many decimals."""
        specs = super().generateDrawSpecs(p)
        if specs is None or self.format_tick is not None:
            return specs
        axis, ticks, texts = specs
        labels = _with_equal_decimals([text for *_, text in texts])
        padded = zip(texts, labels, strict=True)
        return axis, ticks, [(*place, label) for (*place, _), label in padded]


def _with_equal_decimals(labels: list[str]) -> list[str]:
    """Add zeros to the decimals of numbers; other labels are returned as they are."""
    point = localize(".")
    parts = [label.partition(point) for label in labels]
    if not all(f"{whole}{rest}".lstrip("-").isdigit() for whole, _, rest in parts):
        return labels
    decimals = max((len(rest) for *_, rest in parts), default=0)
    if not decimals:
        return labels
    return [f"{whole}{point}{rest.ljust(decimals, '0')}" for whole, _, rest in parts]


class _ZoomBox(pg.ViewBox):
    """A view box in which a drag selects the part to show."""

    selected = Signal(QRectF)

    @override
    def mouseDragEvent(self, ev: MouseDragEvent, axis: int | None = None) -> None:
        if ev.button() is not Qt.MouseButton.LeftButton or axis is not None:
            ev.ignore()
            return
        ev.accept()
        start, end = ev.buttonDownPos(), ev.pos()
        if not ev.isFinish():
            self.updateScaleBox(start, end)
            return
        self.rbScaleBox.hide()
        area = QRectF(start, end).normalized()
        if min(area.width(), area.height()) >= _MIN_DRAG:
            self.selected.emit(self.mapToView(area).boundingRect())


class Plot(pg.PlotWidget):
    """A plot that can be zoomed and shows the values under the mouse.

    A drag selects the part to show. Ctrl and the wheel zoom at the mouse; the wheel
    alone is left to the page. A double click shows everything again.

    Create its items once and reuse them: pyqtgraph leaks items that are created anew.
    """

    zoom_changed = Signal(bool)  # whether a part is shown

    def __init__(self, name: str, title: str) -> None:
        axes = {side: _Axis(side) for side in _SIDES}
        box = _ZoomBox(enableMenu=False)
        super().__init__(axisItems=axes, viewBox=box, enableMenu=False)
        self.setObjectName(f"{name}_plot")
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.setMouseTracking(True)
        self.getAxis("left").setWidth(LEFT_AXIS)
        for axis in axes.values():
            axis.setZValue(_BELOW)
        self.is_zoomed = False
        self._whole: tuple[Range, Range] | None = None
        self._ticks: Callable[[float, float], Ticks] | None = None
        self.reading_at: Callable[[QPointF], Reading | None] = lambda place: None
        self._labels, self._label_color = ("", ""), ""
        self._mouse: QPointF | None = None  # position in the widget
        self._cross = pg.InfiniteLine(angle=90)
        self._dots = pg.ScatterPlotItem(size=_DOT)
        self._text = pg.TextItem(anchor=(0, 0))
        for item in (self._cross, self._dots, self._text):
            item.setZValue(_ABOVE)
            item.hide()
            self.addItem(item, ignoreBounds=True)
        box.selected.connect(self._on_selected)
        box.sigRangeChanged.connect(self._update_ticks)

    @override
    def sizeHint(self) -> QSize:
        return QSize(*_SIZE)

    def fit(self, x: Range, y: Range) -> None:
        """Set the ranges of the whole chart; a zoomed plot keeps the shown part."""
        self._whole = (x, y)
        if not self.is_zoomed:
            self._show(x, y)

    def zoom(self, factor: float, at: QPointF | None = None) -> None:
        """Divide the shown ranges by `factor`, around a point or their middle."""
        ranges = self.getViewBox().viewRange()
        middle = [sum(each) / 2 for each in ranges]
        center = middle if at is None else [at.x(), at.y()]
        left_right, bottom_top = (
            (c + (low - c) / factor, c + (high - c) / factor)
            for c, (low, high) in zip(center, ranges, strict=True)
        )
        self._show_part(left_right, bottom_top)

    @Slot()
    def reset_zoom(self) -> None:
        """Show the whole chart."""
        self._set_zoomed(False)
        if self._whole is not None:
            self._show(*self._whole)

    def set_ticks(self, ticks: Callable[[float, float], Ticks] | None) -> None:
        """Let a function choose the ticks below the plot for each shown range."""
        self._ticks = ticks
        self.getAxis("bottom").setTicks(None)
        self._update_ticks()

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        event.accept()
        steps = event.angleDelta().y() / _WHEEL_STEP
        scene = self.mapToScene(event.position().toPoint())
        self.zoom(_ZOOM_STEP**steps, self.getViewBox().mapSceneToView(scene))

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        super().mouseDoubleClickEvent(event)
        self.reset_zoom()
        event.accept()

    @Slot(QRectF)
    def _on_selected(self, area: QRectF) -> None:
        self._show_part((area.left(), area.right()), (area.top(), area.bottom()))

    def _show_part(self, x: Range, y: Range) -> None:
        """Show the given ranges within the chart, or the whole if they hold it."""
        if self._whole is None:
            return
        part = [_overlap(*each) for each in zip((x, y), self._whole, strict=True)]
        if tuple(part) == self._whole:
            self.reset_zoom()
            return
        if all(_is_large(*each) for each in zip(part, self._whole, strict=True)):
            self._set_zoomed(True)
            self._show(*part)

    def _show(self, x: Range, y: Range) -> None:
        self.setRange(xRange=x, yRange=y, padding=0)

    def _set_zoomed(self, is_zoomed: bool) -> None:
        if is_zoomed != self.is_zoomed:
            self.is_zoomed = is_zoomed
            self.zoom_changed.emit(is_zoomed)

    @Slot()
    def _update_ticks(self) -> None:
        shown, _ = self.getViewBox().viewRange()
        if self._ticks is not None:
            self.getAxis("bottom").setTicks([list(self._ticks(*shown))])

    @property
    def text(self) -> str:
        """The values shown under the mouse; empty if there are none."""
        return self._text.toPlainText() if self._text.isVisible() else ""

    def label_axes(self, left: str, bottom: str) -> None:
        """Name the axes."""
        if (left, bottom) != self._labels:
            self._labels = (left, bottom)
            self._label()

    def restyle(self, theme: Theme) -> None:
        """Apply the colors of a theme to the axes and the values."""
        self.setBackground(theme.surface)
        for side in _SIDES:
            axis = self.getAxis(side)
            axis.setPen(pg.mkPen(theme.border))
            axis.setTextPen(pg.mkPen(theme.muted))
        self.showGrid(x=False, y=True, alpha=0.25)
        self._label_color = theme.muted
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
        for side, label in zip(_SIDES, self._labels, strict=True):
            self.setLabel(side, label, color=self._label_color)
            # pyqtgraph centers a label when its axis is resized, not when it is set.
            self.getAxis(side).resizeEvent()


def padded(low: float, high: float, share: float = 0.02) -> Range:
    """Return a range with some room on both sides."""
    room = share * (high - low)
    return low - room, high + room


def _overlap(part: Range, whole: Range) -> Range:
    return max(part[0], whole[0]), min(part[1], whole[1])


def _is_large(part: Range, whole: Range) -> bool:
    """Return whether a part is large enough to be shown."""
    return (part[1] - part[0]) * _MAX_ZOOM > whole[1] - whole[0]


class PlotCard(ChartCard):
    """A card around a `Plot`.

    The plot is created with the first data: it takes 20 ms, and most charts of a window
    stay empty. Subclasses add its items in `_add_items`, once: pyqtgraph leaks items
    that are created anew.
    """

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._reset = button(f"{name}_reset_button", self.reset_zoom)
        self._reset.hide()
        self._below.addWidget(self._reset, 0, Qt.AlignmentFlag.AlignTop)

    @override
    def show_as_empty(self, is_empty: bool) -> None:
        if not is_empty and self._body is None:
            plot = Plot(self._name, self.accessibleName())
            plot.reading_at = self._reading_at
            plot.zoom_changed.connect(self._reset.setVisible)
            self._add_items(plot)
            self.set_body(plot)
            self._restyle()
        super().show_as_empty(is_empty)

    @property
    def _plot(self) -> Plot:
        assert isinstance(self._body, Plot)
        return self._body

    def _add_items(self, plot: Plot) -> None:
        raise NotImplementedError

    def _reading_at(self, place: QPointF) -> Reading | None:
        """Return the values to show for a position, in the coordinates of the plot."""
        raise NotImplementedError

    @override
    def _restyle(self) -> None:
        if self._body is not None:
            self._apply_theme()

    def _apply_theme(self) -> None:
        raise NotImplementedError

    @override
    def _add_actions(self) -> None:
        closer = self._add_action("zoom_in", tr("Zoom in"))
        closer.triggered.connect(partial(self._zoom, _MENU_ZOOM))
        farther = self._add_action("zoom_out", tr("Zoom out"))
        farther.triggered.connect(partial(self._zoom, 1 / _MENU_ZOOM))
        self._menu.addSeparator()
        super()._add_actions()

    @override
    def _last_buttons(self) -> list[QPushButton]:
        return [*super()._last_buttons(), self._reset]

    @Slot()
    @override
    def reset_zoom(self) -> None:
        if self._body is not None:
            self._plot.reset_zoom()

    @override
    def forget_mouse(self) -> None:
        if self._body is not None:
            self._plot.forget_mouse()

    def _zoom(self, factor: float) -> None:
        if self._body is not None:
            self._plot.zoom(factor)
