"""The card of a plot: it shows the value under the cursor."""

from __future__ import annotations

from PySide6.QtCore import QPointF
from typing_extensions import override

from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.plot import Plot, Reading


class PlotCard(ChartCard):
    """A card around a plot. Subclasses add its items and values."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._plot = Plot(name, title)
        self._plot.reading_at = self._reading_at

    @override
    def forget_mouse(self) -> None:
        self._plot.forget_mouse()

    def _reading_at(self, place: QPointF) -> Reading | None:
        """Return the values to show for a position, in the coordinates of the plot."""
        raise NotImplementedError
