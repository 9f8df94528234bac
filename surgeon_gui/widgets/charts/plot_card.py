"""Cards around a plot that can be zoomed; one shows the values under the mouse."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPointF, Qt, Slot
from PySide6.QtWidgets import QPushButton
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.plot import PagePlot, Plot, Reading
from surgeon_gui.widgets.controls import button

_MENU_ZOOM = 1.5  # by one choice of the menu


class PlotCard(ChartCard):
    """A card around a plot that can be zoomed.

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
            plot = self._create_plot()
            plot.zoom_changed.connect(self._reset.setVisible)
            self._add_items(plot)
            self.set_body(plot)
            self._restyle()
        super().show_as_empty(is_empty)

    @property
    def _plot(self) -> PagePlot:
        assert isinstance(self._body, PagePlot)
        return self._body

    def _create_plot(self) -> PagePlot:
        return PagePlot(self._name, self.accessibleName())

    def _add_items(self, plot: PagePlot) -> None:
        """Add the items of the subclass to a new plot."""
        raise NotImplementedError

    @override
    def _restyle(self) -> None:
        if self._body is not None:
            self._apply_theme()

    def _apply_theme(self) -> None:
        """Apply the colours of the theme to the plot and its items."""
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

    def _zoom(self, factor: float, _: bool = False) -> None:
        if self._body is not None:
            self._plot.zoom(factor)


class HoverPlotCard(PlotCard):
    """A card around a plot that shows the values under the mouse."""

    @property
    @override
    def _plot(self) -> Plot:
        plot = super()._plot
        assert isinstance(plot, Plot)
        return plot

    @override
    def _create_plot(self) -> Plot:
        plot = Plot(self._name, self.accessibleName())
        plot.reading_at = self._reading_at
        return plot

    @override
    def forget_mouse(self) -> None:
        if self._body is not None:
            self._plot.forget_mouse()

    def _reading_at(self, place: QPointF) -> Reading | None:
        """Return the values to show for a position, in the coordinates of the plot."""
        raise NotImplementedError
