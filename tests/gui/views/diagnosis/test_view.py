"""The Diagnosis tab: measuring, planning, out of date, cancelled and failed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtWidgets import QComboBox, QSlider
from surgeon_gui.views.diagnosis.curve import Prediction, QualityCurve

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import Method, Structure, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.run_folder import Report, RunFolder
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.helpers.configs import changed, pruning_config
from tests.helpers.fake_diagnosis import BASE_LOSS
from tests.helpers.fake_engine import FAILURE, evaluation, model_summary, shot_finished
from tests.helpers.fake_results import recovered
from tests.helpers.widget_queries import SLOW, shown
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    diagnosis_of,
    find,
    find_type,
    load_and_wait,
    open_tab,
    wait_for_status,
)


@pytest.fixture
def make_diagnosed(qtbot, make_window):
    """Return a function that makes windows with a finished diagnosis."""

    def make(*options, config=QUICK):
        window = make_window(*options)
        load_and_wait(qtbot, window, config)
        open_tab(window, "diagnosis_tab")
        click(window, "diagnose_button")
        wait_until_known(qtbot, window)
        return window

    return make


def wait_until_known(qtbot, window):
    def check():
        return (
            diagnosis_of(window).known is not None
            and not diagnosis_of(window).session.state.is_busy
        )

    qtbot.waitUntil(check, timeout=TIMEOUT_MS)


def planned(window):
    """Return the planned removal of each part in percent."""
    cells = find(window, "planned_map", HeatMap).cells
    return {(cell.row, cell.column): int(cell.label) for cell in cells}


def edit(window, **settings):
    pruning = window.session.state.config.pruning
    window.session.draft.edit_part(changed(pruning, **settings))


def test_button_in_step_3_diagnoses_and_opens_the_tab(qtbot, window):
    load_and_wait(qtbot, window)
    window.open_step(Step.TARGET)
    click(window, "diagnose_button")
    assert find(window, "diagnosis_view").isVisible()
    assert find(window, "diagnose_progress").isVisible()
    wait_until_known(qtbot, window)
    assert not find(window, "diagnose_progress").isVisible()
    assert "16,384 tokens" in shown(window, "diagnosis_headline")
    plan = shown(window, "diagnosis_plan").replace("\xa0", " ")
    for part in ("30 %", "block 0", "14.15"):
        assert part in plan
    assert shown(window, "forecast_note")
    parts = planned(window)
    assert len(parts) == 12
    assert parts["neurons", 0] > parts["neurons", 5]
    assert len(find(window, "sensitivity_map", HeatMap).cells) == 12
    assert find(window, "forecast_plot").isVisible()
    edit(window, dropped_blocks=1)  # not measured by a diagnosis
    assert shown(window, "diagnosis_plan").replace("\xa0", " ") != plan


def test_targets_and_rules_need_no_new_measurement(qtbot, make_diagnosed):
    window = make_diagnosed()
    before = planned(window)
    window.open_step(Step.TARGET)
    find(window, "sparsity_slider", QSlider).setValue(60)
    after = planned(window)
    assert all(after[part] >= before[part] for part in before)
    assert sum(after.values()) > sum(before.values())
    edit(window, protect=("block 0",))
    assert planned(window)["neurons", 0] == planned(window)["heads", 0] == 0
    edit(window, protect=(), layer_min_density=("block 0=0.9",))
    assert planned(window)["neurons", 0] <= 10
    edit(window, layer_min_density=(), sparsity=0.3)
    assert planned(window) == before
    assert not shown(window, "diagnosis_stale")
    edit(window, layer_min_density=("*=0.9",))
    # A tenth of three groups of heads rounds to none: only neurons can be removed.
    assert "7.2" in shown(window, "diagnosis_plan")


def test_target_line_can_be_dragged(make_diagnosed):
    target = Target.PARAMETERS  # its unit stays
    pruning = pruning_config(target=target, million_parameters=2.5)
    window = make_diagnosed(config=replace(QUICK, pruning=pruning))
    plot = find(window, "forecast_plot", pg.PlotWidget).getPlotItem()
    lines = [x for x in plot.items if isinstance(x, pg.InfiniteLine) and x.movable]
    (line,) = lines
    line.setValue(55.0)  # like a drag with the mouse
    assert diagnosis_of(window).plan.target_weights == pytest.approx(
        0.55 * model_summary().prunable, rel=0.002
    )
    pruning = window.session.state.config.pruning
    assert values_of(pruning)["target"] is target
    assert "55" in line.label.format
    assert find(window, "sparsity_slider", QSlider).value() == 55


def test_cancelled_diagnosis_keeps_the_previous_result(qtbot, make_diagnosed):
    window = make_diagnosed(*SLOW)
    known = diagnosis_of(window).known
    click(window, "diagnose_button")
    for name in ("diagnose_button", "start_button"):
        assert not find(window, name).isEnabled()
    assert find(window, "start_button").toolTip()
    click(window, "diagnose_cancel_button")
    idle = lambda: not window.session.state.is_busy  # noqa: E731
    qtbot.waitUntil(idle, timeout=TIMEOUT_MS)
    assert diagnosis_of(window).known is known
    assert find(window, "diagnose_button").isEnabled()
    assert find(window, "start_button").isEnabled()
    assert planned(window)


def test_failed_diagnosis_shows_the_error(qtbot, make_window):
    window = make_window("--mishap", "fail", "--at", "curvature")
    load_and_wait(qtbot, window)
    open_tab(window, "diagnosis_tab")
    click(window, "diagnose_button")
    failed = lambda: window.session.state.notice is not None  # noqa: E731
    qtbot.waitUntil(failed, timeout=TIMEOUT_MS)
    assert window.session.state.notice.message == FAILURE
    assert diagnosis_of(window).known is None
    assert find(window, "diagnose_button").isEnabled()


def test_measurements_of_runs_are_drawn_beside_the_prediction(qtbot, make_diagnosed):
    window = make_diagnosed()
    curve = find(window, "forecast_chart", QualityCurve)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(diagnosis_of(window).points) == 3
    open_tab(window, "diagnosis_tab")
    kinds = [row[2] for row in curve.rows()[1:]]
    assert kinds.count("measured") == 3
    edit(window, structure=Structure.ROWS)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(diagnosis_of(window).points) == 3  # only of the same structure


def test_measurements_of_finished_runs_in_the_folder_are_drawn(
    qtbot, make_window, tmp_path
):
    for name, config in (
        ("same", QUICK),
        ("other", replace(QUICK, model=ModelConfig("/elsewhere"))),
    ):
        write_report(tmp_path / "runs" / name, config)
    (tmp_path / "runs" / "rubbish").mkdir()
    window = make_window()
    load_and_wait(qtbot, window)
    diagnosis_of(window).diagnose()
    wait_until_known(qtbot, window)
    points = diagnosis_of(window).points
    assert [(p.perplexity, p.is_recovered) for p in points] == [
        (shot_finished(1, 1, 0.3).evaluation.perplexity, False),
        (14.4, True),
    ]


def write_report(folder, config: RunConfig):
    report = Report(
        config=config,
        model=model_summary(),
        versions={},
        device="",
        baseline=evaluation(14.2),
        shots=(shot_finished(1, 1, 0.3),),
        exported=None,
        checkpoint="",
        stopped_early=False,
        seconds=1.0,
        seconds_of_stages={},
        peak_memory_bytes=0,
        recovered=recovered(14.4),
    )
    folder.mkdir(parents=True)
    RunFolder(folder).write_report(report)


def test_method_without_a_prediction_has_maps(make_diagnosed, tmp_path):
    pruning = pruning_config(method=Method.MAGNITUDE)
    window = make_diagnosed(config=replace(QUICK, pruning=pruning))
    assert planned(window)
    assert find_type(window, QualityCurve).is_empty
    labels = {c.label for c in find(window, "sensitivity_map", HeatMap).cells}
    find(window, "sensitivity_share_combo", QComboBox).setCurrentIndex(2)
    assert {c.label for c in find(window, "sensitivity_map", HeatMap).cells} != labels
    for chart in ("sensitivity", "planned", "forecast"):
        path = tmp_path / f"{chart}.csv"
        find(window, f"{chart}_chart").save_picture(path)
        assert (len(path.read_text().splitlines()) > 1) is (chart != "forecast")


def test_other_settings_make_the_result_out_of_date_until_they_are_restored(
    qtbot, make_diagnosed, tmp_path
):
    window = make_diagnosed()
    calibration = window.session.state.config.calibration
    window.session.draft.edit_part(replace(calibration, window_length=128))
    assert shown(window, "diagnosis_stale")
    assert not shown(window, "diagnosis_headline")
    assert planned(window)  # the previous result stays visible
    window.session.draft.edit_part(calibration)
    assert not shown(window, "diagnosis_stale")
    (tmp_path / "other").mkdir()
    window.choose_model(str(tmp_path / "other"))
    assert "Model" in shown(window, "diagnosis_stale")
    config = replace(QUICK, export=ExportConfig("elsewhere"))
    load_and_wait(qtbot, window, config)
    assert not shown(window, "diagnosis_stale")
    assert diagnosis_of(window).known.costs.diagnosed.loss == BASE_LOSS


def test_band_reaches_up_to_three_times_the_predicted_rise(qtbot):
    """Its rule is in docs/results.md, "Accuracy of the diagnosis"."""
    curve = QualityCurve()
    qtbot.addWidget(curve)
    shares, losses = np.array([0.0, 0.5]), np.array([2.687, 2.804])
    curve.show_prediction(Prediction(shares, losses, 2.687, 0.5, ()))
    rows = curve.rows()[1:]
    assert [kind for *_, kind in rows] == ["at best"] * 2 + ["up to"] * 2
    best, worst = rows[1][1], rows[3][1]
    assert best == pytest.approx(16.51, abs=0.02)  # of the demo at 50 %
    assert worst == pytest.approx(20.8, abs=0.1)  # measured: 20.76
    label = curve._target.label.format.replace("\xa0", " ")
    assert label == "50 %: 16.51 to 20.86"
    assert "at best" in find(curve, "forecast_note").text()
