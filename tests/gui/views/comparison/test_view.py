"""Comparison of runs: curves, sizes, figures and settings."""

from __future__ import annotations

import csv
from dataclasses import replace

import msgspec
import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QAction, QImage
from PySide6.QtWidgets import QSpinBox

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_gui.controllers.comparison import ComparisonController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state import comparison
from surgeon_gui.state.comparison import ComparedRun, Point, SizeMeasure, XAxis
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.quality import Quality, measures
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.views.comparison.view import (
    CompareView,
    CurvesChart,
    LadderCard,
    SizeChart,
)
from surgeon_gui.views.runs.runs_panel import RunsPanel
from surgeon_gui.widgets.charts.legend import Legend
from tests.helpers.fake_runs import job, write_run, write_three
from tests.helpers.widget_queries import shown
from tests.helpers.windows import click, find, wait_until


@pytest.fixture
def runs(tmp_path):
    return [
        ComparedRun(folder.name, read_state(folder)) for folder in write_three(tmp_path)
    ]


@pytest.fixture
def comparing(qtbot, tmp_path, window):
    """Return a window with three runs in its list, and their folders."""
    folders = [str(folder) for folder in write_three(tmp_path / "runs")]
    find(window, "runs_action", QAction).trigger()
    click(window, "runs_refresh_button")
    runs = runs_of(window)
    wait_until(qtbot, lambda: len(runs.state.records) == 3)
    return window, folders


def runs_of(window):
    return window.findChild(RunsController)


def wait_for_comparison(qtbot, window, count):
    comparison = window.findChild(ComparisonController)
    wait_until(qtbot, lambda: len(comparison.compared) == count)


def plot_of(window):
    return find(window, "compare_curves_plot", pg.PlotWidget)


def tick(qtbot, window, folders, count):
    for folder in folders:
        runs_of(window).tick(folder, True)
    wait_for_comparison(qtbot, window, count)


def test_curves_start_at_the_original_and_end_after_recovery(runs):
    first, second, _ = comparison.curves(runs, XAxis.SPARSITY, Quality.PERPLEXITY)
    assert (first.xs[0], first.ys[0]) == (0.0, pytest.approx(14.2))
    assert first.ys[-1] == pytest.approx(14.9)
    assert len(first.xs) == len(first.ys) == 1 + 3 + 1
    assert len(second.xs) == 1 + 4 + 1
    assert second.xs[-1] == second.xs[-2] == pytest.approx(42, abs=1)
    by_shot = comparison.curves(runs, XAxis.SHOT, Quality.LOSS)[0]
    assert by_shot.xs == (0, 1, 2, 3, 3)
    assert by_shot.ys[0] == pytest.approx(2.65)
    remaining = comparison.curves(runs, XAxis.PARAMETERS, Quality.LOSS)[0].xs
    assert remaining[0] == pytest.approx(2.828736)
    assert list(remaining) == sorted(remaining, reverse=True)
    divergence = comparison.curves(runs, XAxis.SPARSITY, Quality.DIVERGENCE)[0].ys
    last = runs[0].run.evaluation.fidelity[0].divergence.value
    assert (divergence[0], divergence[-1]) == (0.0, last)
    assert comparison.curves(runs, XAxis.SHOT, Quality.AGREEMENT)[0].ys[0] == 100.0


def test_curves_skip_infinite_perplexities(runs):
    run = runs[0].run
    infinite = msgspec.structs.replace(
        run.history[1].evaluation, perplexity=float("inf")
    )
    shot = msgspec.structs.replace(run.history[1], evaluation=infinite)
    broken = replace(run, history=(run.history[0], shot, run.history[2]))
    (curve,) = comparison.curves(
        [ComparedRun("a", broken)], XAxis.SHOT, Quality.PERPLEXITY
    )
    assert curve.xs == (0, 1, 3, 3)


def test_points_have_one_original_and_mark_the_best(tmp_path, runs):
    for measure in (Quality.PERPLEXITY, Quality.AGREEMENT):
        found = comparison.points(runs, SizeMeasure.PARAMETERS, measure)
        originals = [point.name for point in found if point.run is None]
        assert originals == ["Bundled demo, original"]
        best = comparison.front(found)
        # "b" is smaller than "a" and as good; "c" is worse than both.
        assert [point.name for point in best] == ["b", "Bundled demo, original"]
        assert [point.size for point in best] == sorted(point.size for point in best)
    unsaved = read_state(write_run(tmp_path, "d", ending="cancelled", hour=9))
    begun = ComparedRun("e", RunState())
    files = comparison.points(
        [*runs, ComparedRun("d", unsaved), begun], SizeMeasure.FILE, Quality.PERPLEXITY
    )
    assert comparison.curves([begun], XAxis.SHOT, Quality.LOSS)[0].xs == ()
    assert {point.name for point in files} == {"a", "b", "c", *originals}


def test_equal_models_are_both_best():
    same = (Point("x", 1.0, 2.0), Point("y", 1.0, 2.0), Point("z", 1.0, 3.0))
    marked = comparison._with_best_marked(same)
    assert [point.is_best for point in marked] == [True, True, False]


def test_only_different_settings_are_listed(runs):
    titles, *rows = comparison.differences(runs)
    assert titles[1:] == ("a", "b", "c")
    table = {row[0]: row[1:] for row in rows}
    assert set(table) == {"What to prune", "Sparsity", "Shots"}
    heads, same, neurons = table["What to prune"]
    assert heads == same != neurons
    assert table["Shots"] == ("3\xa0shots", "4\xa0shots", "3\xa0shots")
    patterns = settings_list.differences([job(), job(structure=Structure.N_M)])
    # What does not apply is a dash.
    assert {row[0]: row[1:] for row in patterns}["Pattern"] == ("\N{EN DASH}", "2:4")
    assert settings_list.differences([job(), job()]) == ()


def test_all_settings_have_texts():
    dataset = RunConfig(calibration=CalibrationConfig(text="hf://datasets/a/b"))
    magnitude = job(method=Method.MAGNITUDE, protect=("block 0",))
    for config in (RunConfig(), dataset, magnitude):
        settings = settings_list.settings(config)
        assert all(setting.value for setting in settings)
    values = {setting.name: setting.value for setting in settings}
    assert values["pruning.protect"] == "block 0"
    assert values["model.source"] == "Bundled demo"
    assert values["pruning.sparsity"] == "30\xa0%"
    assert values["pruning.max_perplexity_increase"] == "no limit"
    assert "pruning.damping" not in values  # magnitudes are not damped
    assert "calibration.column" not in values  # the built-in text is no table
    assert "calibration.rows" not in values
    values = {x.name: x.value for x in settings_list.settings(dataset)}
    assert values["calibration.split"] == "Automatic"
    assert values["calibration.rows"].startswith("2,000")
    assert "calibration.more_texts" not in values
    more = (MoreText("hf://datasets/a/b", 0.25), MoreText("notes/c.txt", 0.125))
    mixed = RunConfig(calibration=CalibrationConfig(more_texts=more))
    values = {x.name: x.value for x in settings_list.settings(mixed)}
    assert values["calibration.more_texts"] == "25\xa0% a/b, 12.5\xa0% c.txt"
    assert "calibration.split" not in values
    assert values["calibration.rows"].startswith("2,000")


def test_figures_of_each_run(tmp_path, runs):
    failed = read_state(write_run(tmp_path, "d", ending="failed", hour=9))
    failed = replace(failed, recovered=None, history=())
    titles, *rows = comparison.figures([*runs, ComparedRun("d", failed)])
    table = {row[0]: row[1:] for row in rows}
    assert len(titles) == 5
    assert table["Status"] == ("Finished", "Finished", "Finished", "Failed")
    assert table["Perplexity, pruned"][0].startswith("14.90 (+")
    assert "0.043 to 0.053" in table["Fidelity, built-in"][0]
    assert "Fidelity, text by the model itself" in table
    for name in ("Exported as", "Fidelity, built-in"):
        assert table[name][3] == "\N{EN DASH}"


@pytest.mark.parametrize("changes", [{"windows": 8}, {"beginning": "<bos>"}])
def test_protocol_note_warns_about_incomparable_perplexities(runs, changes):
    assert comparison.protocol_note(runs) == ""
    other = msgspec.structs.replace(runs[0].run.baseline, **changes)
    changed = ComparedRun("d", replace(runs[0].run, baseline=other))
    assert comparison.protocol_note([*runs, changed])
    rows = {row[0]: row[1:] for row in comparison.figures([changed])[1:]}
    assert str(*changes.values()) in rows["Measured on"][0]


def without_fidelity(compared):
    baseline = msgspec.structs.replace(compared.run.baseline, fidelity=())
    return replace(compared, run=replace(compared.run, baseline=baseline))


def test_divergence_is_the_first_measure_if_all_runs_have_it(runs):
    assert measures(each.run for each in runs)[0] is Quality.DIVERGENCE
    old = without_fidelity(runs[0])
    assert measures(each.run for each in [old, *runs[1:]])[0] is Quality.PERPLEXITY
    assert measures([old.run]) == (Quality.PERPLEXITY, Quality.LOSS)


def test_protocol_note_covers_the_further_texts(runs):
    baseline = runs[0].run.baseline
    first, other = baseline.fidelity
    shorter = msgspec.structs.replace(other, windows=8)
    changed = msgspec.structs.replace(baseline, fidelity=(first, shorter))
    compared = ComparedRun("d", replace(runs[0].run, baseline=changed))
    assert comparison.protocol_note([*runs, compared])
    job_of_other = replace(runs[0].run.config, model=ModelConfig("other"))
    compared = ComparedRun("d", replace(runs[0].run, config=job_of_other))
    assert comparison.protocol_note([*runs, compared])
    assert comparison.protocol_note([*runs, without_fidelity(runs[0])]) == ""


def test_tab_with_fewer_than_two_runs_explains_what_to_do(qtbot, comparing):
    window, folders = comparing
    window.findChild(RunsPanel).compare_clicked.emit()
    assert shown(window, "compare_note")
    tick(qtbot, window, folders[:1], 1)
    assert "Bundled demo, 20" in shown(window, "compare_note")
    find(window, "runs_dock").hide()
    click(window, "compare_runs_button")
    assert find(window, "runs_dock").isVisible()


def test_ticked_runs_are_compared(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    titles = runs_of(window).state.titles
    compared = window.findChild(ComparisonController).compared
    assert {each.name for each in compared} == {*titles.values()}
    click(window, "runs_compare_button")
    assert find(window, "compare_curves_chart").isVisible()
    assert shown(window, "compare_note") == ""
    table = find(window, "compare_settings_table")
    items = plot_of(window).getPlotItem().listDataItems()
    runs_of(window).tick_only(())
    tick(qtbot, window, folders, 3)
    assert plot_of(window).getPlotItem().listDataItems() == items
    assert table.rowCount() == 3
    assert table.item(0, 0).text() == "What to prune"
    runs_of(window).tick(folders[0], False)
    runs_of(window).tick(folders[1], False)
    assert shown(window, "compare_note")
    runs_of(window).tick_only(())
    wait_for_comparison(qtbot, window, 0)
    find(window, "runs_table").selectAll()  # compared if none is ticked
    click(window, "runs_compare_button")
    wait_for_comparison(qtbot, window, 3)


def test_charts_and_tables_are_saved_in_each_format(qtbot, comparing, tmp_path):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    click(window, "runs_compare_button")
    for name, chart in window.findChild(CompareView).charts.items():
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


def test_log_axis_and_measure_can_be_chosen(qtbot, comparing):
    window, folders = comparing
    tick(qtbot, window, folders, 3)
    click(window, "runs_compare_button")
    chart = find(window, "compare_curves_chart", CurvesChart)
    measure = find(window, "compare_curves_measure_combo")
    assert measure.currentText() == "Fidelity (KL)"
    points = [(x, y) for name, x, y in chart.rows()[1:] if "30" in name]
    view = plot_of(window).getPlotItem().vb
    position = view.mapViewToScene(QPointF(*points[1]))
    assert chart.text_at(position).startswith("Bundled demo, 30")
    assert chart.text_at(position + QPointF(0, -400)) == ""
    click(window, "compare_curves_log_button")  # without the 0 of the original
    assert chart.rows()[0] == ("run", "Sparsity (%)", "KL (nats per token), built-in")
    assert min(row[2] for row in chart.rows()[1:]) > 0
    click(window, "compare_curves_log_button")
    measure.setCurrentIndex(measure.findText("Loss"))
    assert chart.rows()[0] == ("run", "Sparsity (%)", "Loss (nats per token), built-in")
    sizes = find(window, "compare_size_chart", SizeChart)
    assert sizes.rows()[0][2] == "Loss (nats per token), built-in"
    click(window, "compare_curves_log_button")
    bottom, top = view.viewRange()[1]
    assert bottom < np.log10(2.65) < top < 1


def test_ladder_follows_the_context(qtbot, runs):
    card = LadderCard()
    qtbot.addWidget(card)
    card.show_runs(runs)
    box = card.findChild(QSpinBox, "compare_context_box")
    assert box.value() == 512  # of the model
    titles, *rows = card.rows()
    assert titles[3] == "Memory with 512 tokens"
    assert {row[0] for row in rows} == {"a", "b", "c", "Bundled demo, original"}
    box.setValue(100_000)
    titles, *longer = card.rows()
    assert titles[3] == "Memory with 100,000 tokens"
    assert "512" in longer[0][4]  # as many as the model supports
    card.show_runs(runs[:2])
    assert box.value() == 100_000
    assert len(card.rows()) == 1 + 3


def test_legend_has_the_line_of_the_best(qtbot, runs):
    chart = SizeChart()
    qtbot.addWidget(chart)
    chart.show_runs(runs, Quality.DIVERGENCE)
    names = [legend.accessibleName() for legend in chart.findChildren(Legend)]
    assert any("Best for their size" in name for name in names)
    assert any("original" in name for name in names)
    chart.resize(600, 400)
    chart.grab()  # also draws a line without symbols
