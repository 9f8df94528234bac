"""The card of a plot: it follows the theme and shows the value under the cursor."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF
from typing_extensions import override

from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.plot import Plot, Reading


class PlotCard(ChartCard):
    """A card around a plot. Subclasses add its items, values and colours."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._plot = Plot(name, title)
        self._plot.reading_at = self._reading_at

    @override
    def forget_mouse(self) -> None:
        self._plot.forget_mouse()

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._restyle()
        super().changeEvent(event)

    def _reading_at(self, place: QPointF) -> Reading | None:
        """Return the values to show for a position, in the coordinates of the plot."""
        raise NotImplementedError

    def _restyle(self) -> None:
        """Apply the colours of the theme; may be called during construction."""
        raise NotImplementedError
