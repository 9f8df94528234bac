"""Plots: the mouse wheel scrolls the page, and axes suit their values."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QAction, QColor, QWheelEvent
from PySide6.QtWidgets import QApplication

from surgeon_gui.base.colours import DARK
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.text.chart_values import Line
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.charts.plot import PagePlot
from tests.helpers.windows import find


@pytest.mark.parametrize("x", [10, 200], ids=["axis", "lines"])
def test_wheel_is_left_to_the_page(qtbot, x):
    plot = PagePlot("some", "Some plot")
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show()
    event = QWheelEvent(
        QPointF(x, 100),
        QPointF(x, 100),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(plot.viewport(), event)
    assert not event.isAccepted()


def test_plot_is_created_with_the_first_data_in_the_theme_of_the_window(qtbot, qapp):
    chart = LineChart("perplexity", "Quality", "Nothing.")
    qtbot.addWidget(chart)
    chart.show()
    assert chart.findChildren(PagePlot) == []
    chart.show_line(Line("KL"))
    find(chart, "perplexity_zoom_in_action", QAction).trigger()
    chart.reset_zoom()
    assert chart.findChildren(PagePlot) == []  # still nothing to show
    try:
        apply_theme(qapp, ThemeChoice.DARK)
        for last in (1.0, 2.0):
            chart.show_line(Line("KL", (0.0, 1.0), (0.5, last)))
        (plot,) = chart.findChildren(PagePlot)
        assert plot.backgroundBrush().color() == QColor(DARK.surface)
    finally:
        apply_theme(qapp, ThemeChoice.LIGHT)


@pytest.mark.parametrize("ys", [(0.0,), (0.0, 0.2), (0.1, 0.12)])
def test_axis_of_values_that_are_not_negative_has_no_negative_ticks(qtbot, ys):
    chart = LineChart("perplexity", "Quality", "Nothing.")
    qtbot.addWidget(chart)
    chart.resize(400, 800)
    chart.show()
    xs = tuple(float(x) for x in range(len(ys)))
    chart.show_line(Line("KL", xs, ys))
    low, high = chart._plot.getViewBox().viewRange()[1]
    assert low < min(ys) <= max(ys) < high
    axis = chart._plot.getAxis("left")
    (_, ticks), *_ = axis.tickValues(low, high, 700)
    assert min(ticks) >= 0
