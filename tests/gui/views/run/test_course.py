"""The course of a run: values under the mouse, legends, saved pictures, layout."""

import csv
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent
from PySide6.QtWidgets import QApplication, QComboBox, QLabel

from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_gui.base import translation
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme, theme_of
from surgeon_gui.state.eta import StageTime
from surgeon_gui.state.quality import AXES
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.text.chart_values import Bars, Stack
from surgeon_gui.text.stages import Mark, Part, PartView
from surgeon_gui.views.run.course import CourseView, PartList
from surgeon_gui.widgets.charts.bar_chart import BarChart
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.legend import Legend
from surgeon_gui.widgets.charts.line_chart import (
    MAX_POINTS_DRAWN,
    LineChart,
    nearest,
    thinned,
)
from surgeon_gui.widgets.charts.plot import Plot
from surgeon_gui.widgets.layouts import scrolling
from surgeon_gui.widgets.tool_tips import plain_tip
from tests.helpers.fake_results import recovered
from tests.helpers.run_pages import states_of
from tests.helpers.windows import find

LIVE = ("perplexity", "costs", "sparsity")
NAMES = (*LIVE, "memory", "times")
WITH_PLOT = tuple(name for name in NAMES if name != "sparsity")
STATES = states_of("run-1")
FINISHED = STATES[-1]


@pytest.fixture
def view(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    view.resize(1100, 1500)
    view.show()
    find(view, "more_charts_button").click()
    view.show_run(FINISHED, now=100.0)
    choose(view, "Perplexity")
    qtbot.waitExposed(view)
    QApplication.processEvents()
    return view


def choose(view, measure):
    box = find(view, "perplexity_measure_combo", QComboBox)
    box.setCurrentIndex(box.findText(measure))


def plot_of(view, name):
    return find(view, f"{name}_plot", Plot)


def move_mouse(plot, x, y):
    """Move the mouse to a position in data coordinates."""
    position = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))
    none = Qt.MouseButton.NoButton
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(position),
        QPointF(plot.viewport().mapToGlobal(position)),
        none,
        none,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(plot.viewport(), event)


def value_at(view, name, x):
    plot = plot_of(view, name)
    (_, _), (low, high) = plot.getViewBox().viewRange()
    move_mouse(plot, x, (low + high) / 2)
    return plot.text.replace("\xa0", " ")


def test_value_under_the_mouse_is_shown(view):
    costs = FINISHED.history[-1].costs
    bin_3 = np.log10(costs.edges[3] * costs.edges[4]) / 2
    second = FINISHED.history[1].evaluation.perplexity
    for name, x, start, end in (
        ("perplexity", 2.3, "Shot 2\n", f"{second:.2f}"),
        ("perplexity", -0.1, "Original\n", "14.20"),
        ("memory", 20.0, "0:2", ""),
        ("times", 2.0, "Shot 2\n", ""),
        ("costs", bin_3, "", f"Removed {costs.removed_weights[3]}"),
    ):
        text = value_at(view, name, x)
        assert text.startswith(start) and text.endswith(end), (name, x)
    assert [line[:4] for line in value_at(view, "memory", 20.0).splitlines()[1:]] == [
        "RAM ",
        "GPU ",
    ]
    choose(view, "Loss")
    assert value_at(view, "perplexity", 0.2).endswith("2.650")
    plot = plot_of(view, "perplexity")
    view.show_run(STATES[20], now=100.0)  # an earlier state
    assert value_at(view, "perplexity", 5.0).startswith("Shot 1")
    QApplication.sendEvent(plot, QEvent(QEvent.Type.Leave))
    assert plot.text == ""
    assert value_at(view, "perplexity", 1.0)
    move_mouse(plot, -1e6, 0.0)  # beyond the axes
    assert plot.text == ""


def test_point_after_recovery_is_labeled(view):
    view.show_run(replace(FINISHED, recovered=recovered(13.0)), now=100.0)
    assert value_at(view, "perplexity", 5.0) == "After recovery\nPerplexity 13.00"
    texts = plot_of(view, "perplexity").items()
    assert "After recovery" in shown_texts(texts)
    view.show_run(FINISHED, now=100.0)
    assert "After recovery" not in shown_texts(texts)


def shown_texts(items):
    texts = (item for item in items if isinstance(item, pg.TextItem))
    return {text.toPlainText() for text in texts if text.isVisible()}


def test_quality_chart_begins_with_loss_and_offers_fidelity(qtbot, view):
    other = CourseView()
    qtbot.addWidget(other)
    assert find(other, "perplexity_measure_combo", QComboBox).currentText() == "Loss"
    choose(view, "Fidelity (KL)")
    lines = value_at(view, "perplexity", 0.0).splitlines()
    assert [line.split()[-1] for line in lines] == ["Original", "0", "0"]
    choose(view, "Same top token")
    assert value_at(view, "perplexity", 0.0).endswith("100 %")


def test_run_without_fidelity_shows_perplexity(view):
    choose(view, "Fidelity (KL)")
    old = without_fidelity(FINISHED)
    view.show_run(old, now=100.0)
    box = find(view, "perplexity_measure_combo", QComboBox)
    assert [box.itemText(n) for n in range(box.count())] == ["Perplexity", "Loss"]
    assert value_at(view, "perplexity", 0.0) == "Original\nPerplexity 14.20"
    view.show_run(FINISHED, now=100.0)
    assert box.currentText() == "Fidelity (KL)"


def without_fidelity(run):
    """Return the run as an earlier version has recorded it."""

    def stripped(event):
        plain = msgspec.structs.replace(event.evaluation, fidelity=())
        return msgspec.structs.replace(event, evaluation=plain)

    return replace(
        run,
        baseline=msgspec.structs.replace(run.baseline, fidelity=()),
        history=tuple(map(stripped, run.history)),
    )


def test_recovery_has_a_chart_if_the_run_recovers(view):
    chart = find(view, "recovery_chart")
    assert chart.isVisible() == (FINISHED.config.recovery.level is not Recovery.OFF)
    for level in (Recovery.OFF, Recovery.AUTOMATIC):
        config = replace(FINISHED.config, recovery=RecoveryConfig(level))
        refit = replace(FINISHED, config=config, stage=Stage.REFIT, done=2, total=6)
        view.show_run(refit, now=100.0)
        assert chart.isVisible() == (level is not Recovery.OFF)
    assert "Recovering block 3 of 6." in texts(chart)


def texts(widget):
    return [label.text() for label in widget.findChildren(QLabel)]


def test_further_charts_are_drawn_once_they_are_asked_for(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    view.show()
    view.show_run(FINISHED, now=100.0)
    costs = find(view, "costs_chart", ChartCard)
    assert costs.is_empty
    assert not costs.isVisible()
    find(view, "more_charts_button").click()
    assert not costs.is_empty
    assert costs.isVisible()


def test_only_changed_charts_are_drawn(view, monkeypatch):
    drawn = []
    for kind, method in ((LineChart, "show_line"), (BarChart, "show_bars")):
        monkeypatch.setattr(kind, method, lambda self, _: drawn.append(self))
    view.show_run(replace(FINISHED, done=FINISHED.done + 1), now=101.0)
    names = {chart.objectName() for chart in drawn}
    assert "perplexity_chart" not in names
    assert "costs_chart" not in names
    view.show_run(STATES[20], now=101.0)
    assert {"perplexity_chart", "costs_chart"} <= {c.objectName() for c in drawn}


def test_parts_have_marks_and_times(view):
    label = find(view, "part_measure_label", QLabel)
    assert find(view, "part_measure_time", QLabel).text()
    assert label.accessibleName().startswith("Measure what counts, done, ")
    view.show_run(STATES[4], now=3.0)  # in the first shot
    assert label.text() == "Measure, shot 1 of 5"
    assert "in progress" in label.accessibleName()
    assert find(view, "part_save_label", QLabel).accessibleName().endswith("to come")


def test_count_is_that_of_the_run_that_is_shown(view):
    finished = replace(FINISHED, times=(StageTime(Stage.UPDATE, 1, 1.0),))
    left = FINISHED.model.parameters - 123_000
    shot = msgspec.structs.replace(FINISHED.history[0], parameters=left)
    label = find(view, "part_remove_label", QLabel)
    view.show_run(finished, now=100.0)
    assert "123" not in label.text()
    view.show_run(replace(finished, history=(shot,)), now=100.0)
    assert label.text() == "Remove 123\xa0k weights"


def test_remaining_parameters_are_those_of_the_last_shot(view):
    left, before = FINISHED.history[-1].parameters, FINISHED.model.parameters
    bar = find(view, "remaining_bar")
    assert bar.value() == round(1000 * left / before)
    text = find(view, "remaining_figure", QLabel).text().replace("\xa0", " ")
    assert text == f"{left / 1e6:.3g} M of {before / 1e6:.3g} M"
    view.show_run(STATES[2], now=2.0)
    assert bar.value() == bar.maximum()


def test_charts_with_several_series_have_a_legend(view):
    def names(chart):
        legend = find(view, f"{chart}_chart").findChild(Legend)
        return legend.names if legend.isVisible() else ()

    assert names("costs") == ("Removed", "Kept")
    assert names("memory") == ("RAM", "GPU")
    assert "Measuring" in names("times")
    assert names("perplexity") == ()
    view.show_run(RunState(), now=0.0)
    assert not [x for x in view.findChildren(Legend) if x.isVisible()]


def test_legend_leaves_out_bars_that_are_too_low_to_see(view):
    chart = find(view, "times_chart", BarChart)

    def is_seen(height):
        """Return whether the second stack is in the legend, and in the picture."""
        stacks = (Stack("long", (100.0,), 0), Stack("short", (height,), 1))
        chart.show_bars(Bars("s", "shot", ((0.6, 1.4),), stacks, ("1",)))
        QApplication.processEvents()
        plot, color = chart._plot, QColor(theme_of(chart).series[1]).rgb()
        image = plot.grab().toImage()
        place = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(1.0, 0)))
        rows = range(image.height())
        return "short" in chart.legend.names, color in {
            image.pixel(place.x(), y) for y in rows
        }

    for height in (0.0, 0.1, 0.5):
        assert is_seen(height) == (False, False)
    for height in (3.0, 30.0):
        assert is_seen(height) == (True, True)


def test_saved_chart_is_confirmed_with_its_path(qtbot, view, tmp_path):
    chart, path = find(view, "perplexity_chart", ChartCard), tmp_path / "a.png"
    with qtbot.waitSignal(chart.save_failed), qtbot.assertNotEmitted(chart.saved):
        chart._on_file_selected(str(tmp_path / "missing" / "a.png"))
    with qtbot.waitSignal(chart.saved) as saved:
        chart._on_file_selected(str(path))
    assert saved.args == [f"The chart was saved to {path}.", str(path)]
    assert path.is_file()


@pytest.mark.parametrize("name", ["perplexity", "sparsity"])
def test_saved_pictures_have_no_controls_and_no_hover_values(view, name, tmp_path):
    chart = find(view, f"{name}_chart", ChartCard)
    chart.save_picture(tmp_path / "plain.png")
    if name in WITH_PLOT:
        (left, right), _ = plot_of(view, name).getViewBox().viewRange()
        value_at(view, name, (left + right) / 2)
    save = find(view, f"{name}_more_button")
    save.setText("Something else")
    chart.save_picture(tmp_path / "other.png")
    plain, other = (
        QImage(str(tmp_path / "plain.png")),
        QImage(str(tmp_path / "other.png")),
    )
    assert plain.width() == 2 * chart.width()
    assert plain == other
    assert save.isVisible()  # still visible in the window
    area = save.geometry()
    colors = {
        plain.pixel(2 * x, 2 * y)
        for x in range(area.left(), area.right())
        for y in range(area.top(), area.bottom())
    }
    assert len(colors) == 1  # the background of the card


def test_charts_are_explained_and_saved_as_svg_and_csv(view, tmp_path):
    for name in NAMES:
        chart = find(view, f"{name}_chart", ChartCard)
        meaning = chart.accessibleDescription()
        assert meaning == MEANINGS["quality" if name == "perplexity" else name]
        tips = {label.toolTip() for label in chart.findChildren(QLabel)}
        assert plain_tip(meaning) in tips
        for ending in ("svg", "csv"):
            chart.save_picture(tmp_path / f"chart.{ending}")
        root = ET.parse(tmp_path / "chart.svg").getroot()
        assert root.tag.endswith("svg")
        families = {each.get("font-family", "sans-serif") for each in root.iter()}
        assert all(family.endswith("sans-serif") for family in families)
        assert "Save" not in (tmp_path / "chart.svg").read_text()
        with (tmp_path / "chart.csv").open() as file:
            header, *rows = csv.reader(file)
        assert rows
        assert {len(row) for row in rows} == {len(header)}


def test_texts_of_a_low_chart_are_not_cut(view):
    view.resize(400, 300)
    chart, plot = view.charts["perplexity"], plot_of(view, "perplexity")
    chart.setFixedWidth(300)  # its controls are below its title
    QApplication.processEvents()
    assert chart.height() == chart.minimumHeight()
    longest = max(AXES.values(), key=len)
    plot.label_axes(longest, "")
    axis = plot.getAxis("left")
    assert axis.label.boundingRect().width() <= axis.size().height()
    original, box = chart._base_line.label, plot.getViewBox()
    text = original.mapRectToItem(box, original.boundingRect())
    assert text.bottom() <= box.rect().bottom()


def test_failed_save_raises_and_leaves_no_file(view, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("the disk is full")

    chart = find(view, "perplexity_chart", ChartCard)
    monkeypatch.setattr(Path, "replace", fail)
    for ending in ("png", "svg", "csv"):
        with pytest.raises(OSError):
            chart.save_picture(tmp_path / "nowhere" / f"chart.{ending}")
        with pytest.raises(OSError, match="full"):
            chart.save_picture(tmp_path / f"chart.{ending}")
    assert not list(tmp_path.iterdir())


def test_part_in_progress_is_bold_and_a_later_one_muted_in_each_theme(qtbot):
    parts, application = PartList(), QApplication.instance()
    qtbot.addWidget(parts)
    parts.show()
    try:
        for number, choice in enumerate((ThemeChoice.DARK, ThemeChoice.LIGHT)):
            apply_theme(application, choice)
            now, later = PartView(Part.WRITE, Mark.NOW, 1.0 + number), Mark.NEXT
            parts.show_parts((now, PartView(Part.SAVE, later)))
            assert find(parts, "part_write_label").font().bold()
            # This color has enough contrast, see tests/gui/base/test_colors.py.
            color = find(parts, "part_save_label").palette().windowText().color()
            assert color.name() == theme_of(parts).muted
        parts.show_parts((PartView(Part.WRITE, Mark.DONE, 3.0),))
        assert not find(parts, "part_write_label").font().bold()
    finally:
        application.setStyleSheet("")


@pytest.mark.parametrize(("width", "columns"), [(500, 1), (760, 2), (1500, 3)])
def test_number_of_columns_depends_on_the_width(qtbot, width, columns):
    view = CourseView()
    area = scrolling(view)
    qtbot.addWidget(area)
    area.resize(width, 2600)
    area.show()
    view.show_run(FINISHED, now=100.0)
    QApplication.processEvents()
    names = ("part_list", "perplexity_chart", "sparsity_chart")
    lefts = {find(view, name).mapTo(view, QPoint()).x() // 100 for name in names}
    assert len(lefts) == columns
    for name in ("perplexity_chart", "sparsity_chart"):
        assert find(view, name).width() > 380
        assert find(view, name).height() >= 200


def test_thinned_keeps_the_extremes_of_long_lines():
    xs = np.arange(100_001.0)
    ys = np.sin(xs / 900)
    ys[31_415], ys[77_777] = 9.0, -9.0
    x, y = thinned(xs, ys)
    assert len(x) <= MAX_POINTS_DRAWN + 2
    assert y.max() == 9.0
    assert y.min() == -9.0
    assert (x[0], x[-1]) == (0.0, 100_000.0)
    assert np.all(np.diff(x) > 0)
    assert np.array_equal(ys[x.astype(int)], y)


def test_nearest_returns_the_nearest_point_and_the_first_of_equal_ones():
    for x, index in ((-5, 0), (0.4, 0), (0.6, 1), (1.9, 2), (3.0, 2), (9, 2)):
        assert nearest((0.0, 1.0, 2.0), x) == index
    assert nearest((0.0, 2.0, 2.0), 5.0) == 1


def test_axis_labels_are_centered(qtbot):
    plot = Plot("some", "Some")
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show()
    for label in ("Loss", "Perplexity of the model"):
        plot.label_axes(label, label)
        axis = plot.getAxis("left")
        middle = axis.label.pos().y() - axis.label.boundingRect().width() / 2
        assert abs(middle - axis.size().height() / 2) <= 1


def test_tick_labels_use_the_decimal_separator_of_the_language(qtbot, monkeypatch):
    plot = Plot("some", "Some")
    qtbot.addWidget(plot)
    axis = plot.getAxis("left")
    assert axis.tickStrings([0.5, 1.5], 1.0, 0.5) == ["0.5", "1.5"]
    monkeypatch.setattr(translation, "_language", "de")
    assert axis.tickStrings([0.5, 1.5], 1.0, 0.5) == ["0,5", "1,5"]


def test_what_leads_a_run_fits_into_a_window_of_1024_by_700(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    view.resize(784, 490)  # the room for it below the head of the page
    view.show()
    view.show_run(FINISHED, now=100.0)
    QApplication.processEvents()
    leading = [find(view, f"{name}_chart") for name in ("perplexity", "sparsity")]
    for each in (*leading, find(view, "remaining_bar")):
        assert each.mapTo(view, each.rect().bottomLeft()).y() <= 490, each.objectName()


def test_run_that_ended_before_its_model_was_loaded_has_no_empty_charts(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    canceled = replace(STATES[0], model=None, status=Status.CANCELLED)
    for run, has_charts in ((FINISHED, True), (canceled, False), (STATES[0], True)):
        view.show_run(run, now=100.0)
        for name in ("perplexity_chart", "remaining_bar", "more_charts_button"):
            assert find(view, name).isVisibleTo(view) is has_charts, name
