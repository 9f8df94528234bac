"""The mouse wheel over a plot scrolls the page."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QScrollArea, QVBoxLayout, QWidget

from surgeon_gui.widgets.charts.plot import PagePlot


def test_wheel_over_axes_and_lines_scrolls_the_page(qtbot):
    page = QWidget()
    plot = PagePlot(enableMenu=False)
    column = QVBoxLayout(page)
    column.addWidget(plot)
    plot.setMinimumHeight(2000)
    area = QScrollArea(widgetResizable=True)
    area.setWidget(page)
    qtbot.addWidget(area)
    area.resize(400, 300)
    area.show()
    bar = area.verticalScrollBar()
    for x in (20, 200):  # over the left axis, and over the lines
        before, place = bar.value(), QPointF(x, bar.value() + 100)
        event = QWheelEvent(
            place,
            plot.viewport().mapToGlobal(place),
            QPoint(),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(plot.viewport(), event)
        assert bar.value() > before
