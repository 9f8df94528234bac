"""The card of a chart that is a plot: it follows the theme and tells values."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF

from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.plot import Plot, Reading


class PlotCard(ChartCard):
    """A card around a plot; subclasses fill `_plot`, read it and give it colours."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._plot = Plot(name, title)
        self._plot.reading_at = self._reading_at

    def forget_mouse(self) -> None:
        """See `ChartCard.forget_mouse`."""
        self._plot.forget_mouse()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._restyle()
        super().changeEvent(event)

    def _reading_at(self, place: QPointF) -> Reading | None:
        """What there is to tell of a place, in the plot's own values."""
        raise NotImplementedError

    def _restyle(self) -> None:
        """Take the colours of the theme; also called while the card is being made."""
        raise NotImplementedError
