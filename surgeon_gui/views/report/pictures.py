"""Draw the charts of a run as pictures for a report, always in the light theme.

A view of its own draws them. It is never shown on a screen, is made once because
plots that are made anew leak, and is deleted with the window.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QPushButton, QWidget

from surgeon_gui.base.colors import LIGHT
from surgeon_gui.base.theme import apply_theme_to
from surgeon_gui.state.quality import Quality
from surgeon_gui.state.report_parts import Picture
from surgeon_gui.state.run import RunState
from surgeon_gui.views.run.course import CourseView
from surgeon_gui.widgets.charts.chart_card import ChartCard, image_bytes
from surgeon_gui.widgets.layouts import vertical

_WIDTH = 820  # pixels; wider than in the report, so that the text becomes finer
_HEIGHT = 300
_SCALE = 2  # for print
_CHARTS = ("perplexity", "costs", "experts", "recovery", "sparsity")


class RunPictures:
    """Draws the charts of any run."""

    def __init__(self, window: QWidget | None = None) -> None:
        self._view = CourseView(Quality.DIVERGENCE)
        self._charts = [self._view.charts[name] for name in _CHARTS]
        self._sheet = QWidget(window, Qt.WindowType.Window)
        self._sheet.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
        column = vertical(self._sheet)
        for chart in self._charts:
            column.addWidget(chart)
            chart.setFixedWidth(_WIDTH)
            chart.setMinimumHeight(_HEIGHT)
            for kind in (QPushButton, QComboBox):
                for control in chart.findChildren(kind):
                    control.setMaximumSize(0, 0)  # no controls in a picture
        apply_theme_to(self._sheet, LIGHT)

    def of(self, run: RunState) -> Iterator[Picture]:
        """Yield the charts that are not empty, one by one.

        The event loop may run between two of them. Exhaust the iterator before asking
        for another run.
        """
        end = run.ended if run.ended is not None else run.began
        self._view.show_all(run, end)
        for chart in self._charts:
            chart.setVisible(not chart.is_empty)
        self._sheet.show()
        try:
            self._sheet.adjustSize()
            for chart in self._charts:
                if not chart.is_empty:
                    yield Picture(chart.accessibleName(), _png(chart))
        finally:
            self._sheet.hide()


def _png(chart: ChartCard) -> bytes:
    size = QSize(chart.width() * _SCALE, chart.height() * _SCALE)
    image = QImage(size, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(_SCALE)
    image.fill(Qt.GlobalColor.white)
    chart.render(image, QPoint())
    return image_bytes(image)
