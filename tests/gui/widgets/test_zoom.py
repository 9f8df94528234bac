"""Charts can be zoomed and enlarged, with the mouse and without it."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAction, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QGridLayout,
    QLabel,
    QScrollArea,
    QSplitter,
    QWidget,
)

from surgeon_gui.text.chart_values import Curve, Line
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.charts.plot import Plot

LINE = Line("Loss", (Curve("Loss", (0.0, 1.0, 2.0), (1.0, 2.0, 3.0)),), last_x=4.0)
LEFT = Qt.MouseButton.LeftButton


class View(QScrollArea):
    """A page with two charts."""

    def __init__(self):
        super().__init__()
        page = QWidget()
        self.grid = QGridLayout(page)
        self.charts = [LineChart(name, name, "") for name in ("perplexity", "memory")]
        for column, chart in enumerate(self.charts):
            self.grid.addWidget(chart, 0, column)
            chart.show_line(LINE)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.resize(900, 500)


@pytest.fixture
def view(qtbot):
    view = View()
    qtbot.addWidget(view)
    view.show()
    qtbot.waitExposed(view)
    QApplication.processEvents()
    return view


@pytest.fixture
def chart(view):
    return view.charts[0]


def plot_in(chart):
    return chart.findChild(Plot)


def shown(chart):
    """Return the shown ranges."""
    return [tuple(each) for each in plot_in(chart).getViewBox().viewRange()]


def width(chart):
    (left, right), _ = shown(chart)
    return right - left


def reset_button(chart):
    return chart.findChild(QWidget, "perplexity_reset_button")


def choose(chart, name):
    """Choose an action of the menu."""
    chart.findChild(QAction, f"perplexity_{name}_action").trigger()


def turn_wheel(plot, modifiers):
    center = QPointF(plot.rect().center())
    event = QWheelEvent(
        center,
        center,
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(plot.viewport(), event)
    return event.isAccepted()


def send(plot, kind, place, buttons):
    """Send a mouse event of the left button to a plot."""
    position, of_screen = QPointF(place), QPointF(plot.viewport().mapToGlobal(place))
    is_move = kind is QEvent.Type.MouseMove
    pressed = Qt.MouseButton.NoButton if is_move else LEFT
    event = QMouseEvent(
        kind, position, of_screen, pressed, buttons, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(plot.viewport(), event)


def test_wheel_zooms_with_ctrl_alone(chart):
    plot, whole = plot_in(chart), shown(chart)
    assert not turn_wheel(plot, Qt.KeyboardModifier.NoModifier)
    assert shown(chart) == whole
    assert turn_wheel(plot, Qt.KeyboardModifier.ControlModifier)
    assert width(chart) < whole[0][1] - whole[0][0]


def test_drag_shows_the_selected_part(chart):
    plot = plot_in(chart)
    box = plot.getViewBox()
    start, end = (
        plot.mapFromScene(box.mapViewToScene(QPointF(*place)))
        for place in ((1.0, 1.5), (3.0, 2.5))
    )
    send(plot, QEvent.Type.MouseButtonPress, start, LEFT)
    for place in ((start + end) / 2, end):
        QTest.qWait(30)  # the scene ignores moves that are too quick
        send(plot, QEvent.Type.MouseMove, place, LEFT)
    send(plot, QEvent.Type.MouseButtonRelease, end, Qt.MouseButton.NoButton)
    (left, right), (bottom, top) = shown(chart)
    assert (left, right) == pytest.approx((1.0, 3.0), abs=0.1)
    assert (bottom, top) == pytest.approx((1.5, 2.5), abs=0.1)


def test_zoom_stays_when_points_are_added_and_ends_with_another_axis(chart):
    whole = shown(chart)
    choose(chart, "zoom_out")
    assert shown(chart) == whole
    choose(chart, "zoom_in")
    part = shown(chart)
    longer = Curve("Loss", (0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 9.0))
    chart.show_line(replace(LINE, curves=(longer,)))
    assert shown(chart) == part
    chart.reset_zoom()
    assert shown(chart)[1][1] > 9.0  # as large as the new points need
    for _ in range(60):
        choose(chart, "zoom_in")
    assert width(chart) > 0
    chart.show_line(replace(LINE, axis="Perplexity"))
    assert not plot_in(chart).is_zoomed
    assert plot_in(chart).getAxis("left").labelText == "Perplexity"


def test_zoom_is_reset_by_a_double_click_on_an_axis_and_by_a_button(chart):
    whole = shown(chart)
    for reset in (
        lambda: QTest.mouseDClick(plot_in(chart).viewport(), LEFT, pos=QPoint(20, 60)),
        lambda: reset_button(chart).click(),
        lambda: (choose(chart, "zoom_out"), choose(chart, "zoom_out")),
    ):
        assert not reset_button(chart).isVisible()
        choose(chart, "zoom_in")
        assert reset_button(chart).isVisible()
        assert shown(chart) != whole
        reset()
        assert shown(chart) == whole
    assert not reset_button(chart).isVisible()


def test_ticks_follow_the_zoom(chart):
    chart.show_line(replace(LINE, last_x=100.0))
    plot_in(chart).zoom(10.0, QPointF(50.0, 2.0))
    (left, right), _ = shown(chart)
    ticks = [x for x, _ in plot_in(chart).getAxis("bottom")._tickLevels[0]]
    assert len(ticks) > 5
    assert all(left <= x <= right for x in ticks)


def test_double_click_on_the_title_enlarges_and_returns(view, chart):
    title = next(x for x in chart.findChildren(QLabel) if x.text() == "perplexity")
    place, size = chart.geometry(), chart.size()
    QTest.mouseDClick(title, LEFT)
    assert chart.is_enlarged
    assert chart.size() == view.viewport().size()
    view.resize(1000, 600)
    assert chart.size() == view.viewport().size()
    view.resize(900, 500)
    QTest.mouseDClick(title, LEFT)
    QApplication.processEvents()
    assert not chart.is_enlarged
    assert chart.size() == size
    assert chart.geometry() == place
    assert view.grid.itemAtPosition(0, 0).widget() is chart


def test_enlarged_card_returns_by_escape_and_by_its_button(view, chart):
    back = chart.findChild(QWidget, "perplexity_return_button")
    for leave in (
        lambda: QTest.keyClick(view, Qt.Key.Key_Escape),
        back.click,
        lambda: chart.show_line(Line("Loss")),  # it becomes empty
    ):
        choose(chart, "enlarge")
        assert back.isVisible()
        leave()
        QApplication.processEvents()
        assert not chart.is_enlarged
        assert not back.isVisible()


def test_card_in_a_splitter_returns_to_its_place(qtbot):
    splitter, page = QSplitter(), QScrollArea()
    page.setWidget(splitter)
    page.setWidgetResizable(True)
    qtbot.addWidget(page)
    charts = [LineChart(name, name, "") for name in ("perplexity", "memory")]
    for each in charts:
        splitter.addWidget(each)
        each.show_line(LINE)
    page.resize(900, 400)
    page.show()
    qtbot.waitExposed(page)
    QApplication.processEvents()
    chart = charts[0]
    size = chart.size()
    choose(chart, "enlarge")
    assert chart.size() == page.viewport().size()
    chart.shrink()
    QApplication.processEvents()
    assert splitter.indexOf(chart) == 0
    assert chart.size() == size


def test_controls_are_below_the_title_of_a_narrow_card(chart, qtbot):
    control = QLabel("a control that is rather long")
    chart.add_control(control)
    title = next(x for x in chart.findChildren(QLabel) if x.text() == "perplexity")
    for width, is_below in ((700, False), (220, True)):
        chart.setParent(None)
        qtbot.addWidget(chart)
        chart.resize(width, 300)
        chart.show()
        QApplication.processEvents()
        assert (control.geometry().top() > title.geometry().bottom()) is is_below
