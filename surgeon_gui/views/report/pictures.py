"""The charts of a run as pictures for a report: light, whatever the window looks like.

They are drawn by a live view of their own that is never on a screen, and goes with the
window. It is made once: plots that are made anew leak.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from surgeon_gui.base.colours import LIGHT
from surgeon_gui.base.theme import GAP, apply_theme_to
from surgeon_gui.state.report import Picture
from surgeon_gui.state.run import RunState
from surgeon_gui.views.live.live_view import LiveView
from surgeon_gui.widgets.charts.chart_card import ChartCard, picture_file

_WIDTH = 820  # pixels; a little more than in the report, for finer lettering
_HEIGHT = 300
_SCALE = 2  # for paper


class RunPictures:
    """Draws the charts of any run."""

    def __init__(self, window: QWidget | None = None) -> None:
        self._view = LiveView()
        self._charts = self._view.findChildren(ChartCard)
        self._sheet = QWidget(window, Qt.WindowType.Window)
        self._sheet.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
        column = QVBoxLayout(self._sheet)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        for chart in self._charts:
            column.addWidget(chart)  # below each other, each as wide as the page
            chart.setFixedWidth(_WIDTH)
            chart.setMinimumHeight(_HEIGHT)
            for kind in (QPushButton, QComboBox):
                for control in chart.findChildren(kind):
                    control.setMaximumSize(0, 0)  # a picture has nothing to press
        apply_theme_to(self._sheet, LIGHT)

    def of(self, run: RunState) -> Iterator[Picture]:
        """The charts in which there is something to see, one after the other.

        Between two of them the window may do something else; another run is only asked
        for when this one is through.
        """
        end = run.ended if run.ended is not None else run.began
        self._view.show_run(run, end)
        self._sheet.show()
        try:
            self._sheet.adjustSize()
            for chart in self._charts:
                if not chart.is_empty:
                    yield Picture(chart.accessibleName(), _png_of(chart))
        finally:
            self._sheet.hide()


def _png_of(chart: ChartCard) -> bytes:
    size = QSize(chart.width() * _SCALE, chart.height() * _SCALE)
    image = QImage(size, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(_SCALE)
    image.fill(Qt.GlobalColor.white)
    chart.render(image, QPoint())
    return picture_file(image)
