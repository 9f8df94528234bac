"""Plots: the mouse wheel scrolls the page, and axes suit their values."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QAction, QColor, QImage, QPainter, QWheelEvent
from PySide6.QtWidgets import QApplication

from surgeon_gui.base.colors import DARK
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.text.chart_values import Curve, Line
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.charts.plot import Plot, _with_equal_decimals
from tests.helpers.window_audit import settle
from tests.helpers.windows import find


@pytest.fixture
def chart(qtbot):
    chart = LineChart("perplexity", "Quality", "Nothing.")
    qtbot.addWidget(chart)
    return chart


@pytest.mark.parametrize("x", [10, 200], ids=["axis", "lines"])
def test_wheel_is_left_to_the_page(qtbot, x):
    plot = Plot("some", "Some plot")
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


def line_of(xs, ys):
    """Return the content of a chart with one curve."""
    return Line("KL", (Curve("KL", xs, ys),))


def test_plot_is_created_with_the_first_data_in_the_theme_of_the_window(chart, qapp):
    chart.show()
    assert chart.findChildren(Plot) == []
    chart.show_line(Line("KL"))
    find(chart, "perplexity_zoom_in_action", QAction).trigger()
    chart.reset_zoom()
    assert chart.findChildren(Plot) == []  # still nothing to show
    try:
        apply_theme(qapp, ThemeChoice.DARK)
        for last in (1.0, 2.0):
            chart.show_line(line_of((0.0, 1.0), (0.5, last)))
        (plot,) = chart.findChildren(Plot)
        assert plot.backgroundBrush().color() == QColor(DARK.surface)
    finally:
        apply_theme(qapp, ThemeChoice.LIGHT)


@pytest.mark.parametrize(
    "ys",
    [(0.0, 0.1, 0.2, 0.3, 0.25), (99.0, 90.0, 80.0, 70.0, 78.0)],
    ids=["rising", "falling"],
)
def test_label_of_the_last_point_covers_no_curve(chart, ys):
    xs = (0.0, 1.0, 2.0, 3.0, 3.0)  # recovery has no shot of its own
    other = Curve("other", xs, tuple(0.5 * y for y in ys))
    chart.show()
    for curves in ((), (other,)):
        line = Line(
            "KL", (Curve("KL", xs, ys), *curves), last_x=3.0, last_text="After it"
        )
        chart.show_line(line)
        for height in (500, 210, 150, 100, 500):
            chart.resize(420, height)
            settle()
            is_visible = chart._last_text.isVisible()
            assert is_visible or height < 500
            assert not is_visible or height > 100
            if is_visible:
                assert covered(chart, line) == []


def test_label_of_the_last_point_is_beside_that_of_the_baseline(chart):
    chart.show()
    chart.resize(300, 400)
    text = "Long text after the recovery"
    for last in np.linspace(0.7, 1.1, 9):
        ys = (1.0, 1.5, last)
        line = line_of((0.0, 1.0, 1.0), ys)
        chart.show_line(replace(line, last_text=text, baseline=1.0))
        settle()
        items = (chart._last_text, chart._base_line.label)
        one, other = (x.textItem.sceneBoundingRect() for x in items)
        assert not chart._last_text.isVisible() or not one.intersects(other)


def covered(chart, line):
    """Return the points of the curves that the label of the last point covers."""
    text, box = chart._last_text.textItem, chart._plot.getViewBox()
    place = text.mapRectToScene(text.boundingRect())
    assert box.sceneBoundingRect().contains(place)
    place = place.adjusted(3, 3, -3, -3)  # less the margins of the label
    at = np.linspace(0, len(line.xs) - 1, 1000)
    points = [
        box.mapViewToScene(QPointF(x, y))
        for curve in line.curves
        for x, y in zip(
            *(np.interp(at, range(len(c)), c) for c in (curve.xs, curve.ys)),
            strict=True,
        )
    ]
    return [point for point in points if place.contains(point)]


@pytest.mark.parametrize("ys", [(0.0,), (0.0, 0.2), (0.1, 0.12)])
def test_axis_of_values_that_are_not_negative_has_no_negative_ticks(chart, ys):
    chart.resize(400, 800)
    chart.show()
    xs = tuple(float(x) for x in range(len(ys)))
    chart.show_line(line_of(xs, ys))
    low, high = chart._plot.getViewBox().viewRange()[1]
    assert low < min(ys) <= max(ys) < high
    axis = chart._plot.getAxis("left")
    (_, ticks), *_ = axis.tickValues(low, high, 700)
    assert min(ticks) >= 0


def test_labels_of_an_axis_have_as_many_decimals(chart):
    chart.resize(400, 300)
    chart.show()
    chart.show_line(line_of((0.0, 1.0), (0.0, 0.28)))
    axis, image = chart._plot.getAxis("left"), QImage(9, 9, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    labels = [text for *_, text in axis.generateDrawSpecs(painter)[2]]
    painter.end()
    assert {"0.00", "0.05", "0.10", "0.25"} <= set(labels)
    assert _with_equal_decimals(["10⁻⁵", "0.5"]) == ["10⁻⁵", "0.5"]
