"""Runs side by side: what their curves, sizes, figures and settings come to."""

from __future__ import annotations

import csv
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QAction, QImage

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state import comparison
from surgeon_gui.state.comparison import Along, Compared, Measure, Point, Size
from surgeon_gui.state.job import settings_list as all_settings
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.views.comparison.charts import CurvesChart, SizeChart
from surgeon_gui.widgets.charts.series_legend import Legend
from tests.helpers.fake_runs import job, write_run, write_three
from tests.helpers.looking import shown
from tests.helpers.windows import TIMEOUT_MS, click, find


@pytest.fixture
def runs(tmp_path):
    return [
        Compared(folder.name, read_state(folder)) for folder in write_three(tmp_path)
    ]


@pytest.fixture
def comparing(qtbot, tmp_path, window):
    """A window with three runs in its list, and their folders."""
    folders = [str(folder) for folder in write_three(tmp_path / "runs")]
    find(window, "runs_action", QAction).trigger()
    click(window, "runs_refresh_button")
    state = window._history.runs
    qtbot.waitUntil(lambda: len(state.state.records) == 3, timeout=TIMEOUT_MS)
    return window, folders


def tick(qtbot, window, folders, count):
    for folder in folders:
        window._history.runs.tick(folder, True)
    found = window._history.comparing
    qtbot.waitUntil(lambda: len(found.compared) == count, timeout=TIMEOUT_MS)


def test_curves_begin_at_the_original_and_end_after_the_correction(runs):
    first, second, _ = comparison.curves(runs, Along.SPARSITY, Measure.PERPLEXITY)
    assert (first.xs[0], first.ys[0]) == (0.0, pytest.approx(14.2))
    assert first.ys[-1] == pytest.approx(14.9)
    assert len(first.xs) == len(first.ys) == 1 + 3 + 1
    assert len(second.xs) == 1 + 4 + 1
    assert second.xs[-1] == second.xs[-2] == pytest.approx(42, abs=1)


def test_curves_can_be_drawn_over_shots_and_over_what_is_left(runs):
    by_shot = comparison.curves(runs, Along.SHOT, Measure.LOSS)[0]
    assert by_shot.xs == (0, 1, 2, 3, 3)
    assert by_shot.ys[0] == pytest.approx(2.65)
    left = comparison.curves(runs, Along.PARAMETERS, Measure.LOSS)[0].xs
    assert left[0] == pytest.approx(2.828736)
    assert list(left) == sorted(left, reverse=True)


def test_a_perplexity_that_is_none_is_no_point(runs):
    run = runs[0].run
    bad = msgspec.structs.replace(run.history[1].evaluation, perplexity=float("inf"))
    shot = msgspec.structs.replace(run.history[1], evaluation=bad)
    broken = replace(run, history=(run.history[0], shot, run.history[2]))
    (curve,) = comparison.curves(
        [Compared("a", broken)], Along.SHOT, Measure.PERPLEXITY
    )
    assert curve.xs == (0, 1, 3, 3)


def test_the_original_is_one_point_and_the_best_are_marked(runs):
    found = comparison.points(runs, Size.PARAMETERS)
    originals = [point for point in found if point.run is None]
    assert [point.name for point in originals] == ["Bundled demo, original"]
    best = comparison.front(found)
    # "a" is beaten by "b", which is smaller and as good; "c" is worse than both.
    assert [point.name for point in best] == ["b", "Bundled demo, original"]
    assert [point.size for point in best] == sorted(point.size for point in best)


def test_of_two_equal_models_both_are_best():
    same = (Point("x", 1.0, 2.0), Point("y", 1.0, 2.0), Point("z", 1.0, 3.0))
    marked = comparison._with_best_marked(same)
    assert [point.is_best for point in marked] == [True, True, False]


def test_runs_without_files_have_no_size_on_disk(tmp_path, runs):
    cancelled = write_run(tmp_path, "d", ending="cancelled", hour=9)
    every = [*runs, Compared("d", read_state(cancelled))]
    names = {point.name for point in comparison.points(every, Size.FILE)}
    assert names == {"a", "b", "c", "Bundled demo, original"}


def test_only_settings_that_differ_are_listed_in_the_words_of_the_steps(runs):
    titles, *rows = comparison.differences(runs)
    assert titles[1:] == ("a", "b", "c")
    table = {row[0]: row[1:] for row in rows}
    assert set(table) == {"What goes", "Sparsity", "Shots"}
    assert table["What goes"] == ("Heads and neurons", "Heads and neurons", "Neurons")
    assert table["Shots"] == ("3\xa0shots", "4\xa0shots", "3\xa0shots")


def test_a_setting_that_does_not_apply_is_a_dash():
    jobs = [job(), job(structure=Structure.N_M)]
    table = {row[0]: row[1:] for row in all_settings.differences(jobs)}
    assert table["Pattern"] == ("\N{EN DASH}", "2:4")
    assert all_settings.differences([job(), job()]) == ()


def test_all_settings_have_words():
    dataset = RunConfig(calibration=CalibrationConfig(text="hf://datasets/a/b"))
    magnitude = job(method=Method.MAGNITUDE, protect=("block 0",))
    for config in (RunConfig(), dataset, magnitude):
        found = all_settings.settings(config)
        assert all(setting.value for setting in found)
    values = {each.name: each.value for each in found}
    assert values["pruning.protect"] == "block 0"
    assert values["model.source"] == "Bundled demo"
    assert values["pruning.sparsity"] == "30\xa0%"
    assert values["pruning.max_perplexity_increase"] == "no limit"
    assert "pruning.damping" not in values  # magnitudes are not damped
    assert "calibration.column" not in values  # the built-in text is no table
    assert "calibration.rows" not in values
    values = {each.name: each.value for each in all_settings.settings(dataset)}
    assert values["calibration.split"] == "Automatic"
    assert values["calibration.rows"].startswith("2,000")


def test_figures_say_what_each_run_came_to(tmp_path, runs):
    failed = write_run(tmp_path, "d", ending="failed", hour=9)
    titles, *rows = comparison.figures([*runs, Compared("d", read_state(failed))])
    table = {row[0]: row[1:] for row in rows}
    assert len(titles) == 5
    assert table["Status"] == ("Finished", "Finished", "Finished", "Failed")
    assert table["Perplexity, pruned"][0].startswith("14.90 (+")
    assert table["Exported as"][3] == "\N{EN DASH}"
    assert table["Measured on"][0] == "32 windows of 256 tokens, built-in"


def test_it_is_said_where_perplexities_do_not_compare(runs):
    assert comparison.protocol_note(runs) == ""
    other = msgspec.structs.replace(runs[0].run.baseline, windows=8)
    changed = Compared("d", replace(runs[0].run, baseline=other))
    assert "do not compare" in comparison.protocol_note([*runs, changed])


def test_with_fewer_than_two_runs_the_tab_says_what_to_do(qtbot, comparing):
    window, folders = comparing
    window._history._on_compare()
    assert "Tick two or more" in shown(window, "compare_note")
    tick(qtbot, window, folders[:1], 1)
    assert "One run is ticked: Bundled demo, 20" in shown(window, "compare_note")
    find(window, "runs_dock").hide()
    click(window, "compare_runs_button")
    assert find(window, "runs_dock").isVisible()


def test_ticked_runs_are_compared(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    assert find(window, "runs_compare_button").text() == "Compare 3"
    click(window, "runs_compare_button")
    assert find(window, "compare_curves_chart").isVisible()
    assert shown(window, "compare_note") == ""
    table = find(window, "compare_settings_table")
    assert table.rowCount() == 3
    assert table.item(0, 0).text() == "What goes"
    window._history.runs.tick(folders[0], False)
    window._history.runs.tick(folders[1], False)
    assert "One run is ticked" in shown(window, "compare_note")


def test_selected_runs_are_compared_where_none_are_ticked(qtbot, comparing):
    window, _ = comparing
    find(window, "runs_table").selectAll()
    click(window, "runs_compare_button")
    found = window._history.comparing
    qtbot.waitUntil(lambda: len(found.compared) == 3, timeout=TIMEOUT_MS)


def test_each_part_is_saved_as_picture_drawing_and_figures(qtbot, comparing, tmp_path):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    click(window, "runs_compare_button")
    for name, chart in window._history._view.charts.items():
        for ending in ("png", "svg", "csv"):
            chart.save_picture(tmp_path / f"{name}.{ending}")
        assert QImage(str(tmp_path / f"{name}.png")).width() > 400
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    with (tmp_path / "sizes.csv").open() as file:
        titles, *rows = csv.reader(file)
    assert titles[-1] == "best for its size"
    assert len(rows) == 4
    with (tmp_path / "curves.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + 5 + 6 + 5
    with (tmp_path / "settings.csv").open() as file:
        assert next(csv.reader(file))[0] == "Setting"


def test_a_logarithmic_axis_and_another_measure_can_be_chosen(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    click(window, "runs_compare_button")
    chart = find(window, "compare_curves_chart", CurvesChart)
    find(window, "compare_curves_measure_combo").setCurrentIndex(1)
    assert chart.rows()[0] == ("run", "Sparsity (%)", "Loss (nats)")
    click(window, "compare_curves_log_button")
    view = chart._plot.getPlotItem().vb
    bottom, top = view.viewRange()[1]
    assert bottom < np.log10(2.65) < top < 1


def test_the_mouse_reads_the_values_of_a_point(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    click(window, "runs_compare_button")
    chart = find(window, "compare_curves_chart", CurvesChart)
    view = chart._plot.getPlotItem().vb
    there = view.mapViewToScene(QPointF(chart._series[2].xs[1], chart._series[2].ys[1]))
    assert chart.words_at(there).startswith("Bundled demo, 30")
    assert chart.words_at(there + QPointF(0, -400)) == ""


def test_charts_are_drawn_anew_by_the_same_items(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    chart = find(window, "compare_curves_chart", CurvesChart)
    items = list(chart._items)
    for _ in range(20):
        window._history.runs.tick_only(())
        tick(qtbot, window, folders, 3)
    assert chart._items == items


def test_the_dashed_line_of_the_best_stands_in_the_legend(qtbot, runs):
    chart = SizeChart()
    qtbot.addWidget(chart)
    chart.show_runs(runs)
    names = [legend.accessibleName() for legend in chart.findChildren(Legend)]
    assert any("Best for their size" in name for name in names)
    assert any("original" in name for name in names)
    chart.resize(600, 400)
    chart.grab()  # a line without a symbol can be drawn
