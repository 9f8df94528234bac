"""The tab before the cut: measured, planned with, out of date, cancelled, failed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QComboBox, QSlider

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import Method, Structure, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Corrected, Evaluation
from surgeon_engine.api.run_folder import Report, RunFolder
from surgeon_gui.state.app import Step
from surgeon_gui.state.run import Status
from surgeon_gui.views.diagnosis.curve import QualityCurve
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.gui.window.test_layout import cut_texts
from tests.helpers.configs import changed, pruning_config
from tests.helpers.fake_diagnosis import BASE_LOSS
from tests.helpers.fake_engine import FAILURE, evaluation, model_summary, shot_finished
from tests.helpers.looking import SLOW, shown
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    wait_for_status,
)


@pytest.fixture
def make_diagnosed(qtbot, make_window):
    """Makes windows in which a job has been diagnosed."""

    def make(*options, config=QUICK):
        window = make_window(*options)
        load_and_wait(qtbot, window, config)
        window._centre.open_tab("diagnosis_tab")
        click(window, "diagnose_button")
        wait_until_known(qtbot, window)
        return window

    return make


def diagnosis_of(window):
    return window._before.diagnosis


def wait_until_known(qtbot, window):
    def check():
        return (
            diagnosis_of(window).known is not None
            and not diagnosis_of(window).session.state.is_busy
        )

    qtbot.waitUntil(check, timeout=TIMEOUT_MS)


def planned(window):
    """What would go of each part, in per cent."""
    cells = find(window, "planned_map", HeatMap).cells
    return {(cell.row, cell.column): int(cell.label) for cell in cells}


def edit(window, **settings):
    pruning = window.session.state.config.pruning
    window.session.edit_pruning(changed(pruning, **settings))


def test_step_3_leads_to_a_diagnosis_which_is_planned_with(qtbot, window):
    load_and_wait(qtbot, window)
    window.open_step(Step.TARGET)
    click(window, "target_diagnose_button")
    assert window._centre.open_name == "diagnosis_tab"
    assert find(window, "diagnose_progress").isVisible()
    wait_until_known(qtbot, window)
    assert not find(window, "diagnose_progress").isVisible()
    assert "16,384 tokens" in shown(window, "diagnosis_headline")
    said = shown(window, "diagnosis_plan").replace("\xa0", " ")
    assert "30 % of the prunable weights would go" in said
    assert "most of the neurons of block 0" in said
    assert "original 14.15" in said
    assert "without the correction" in shown(window, "forecast_note")
    found = planned(window)
    assert len(found) == 12
    assert found["neurons", 0] > found["neurons", 5]
    assert len(find(window, "sensitivity_map", HeatMap).cells) == 12
    assert find(window, "forecast_plot").isVisible()


def test_targets_and_rules_are_planned_without_another_measurement(
    qtbot, make_diagnosed
):
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


def test_a_target_that_protections_forbid_is_told(make_diagnosed):
    window = make_diagnosed()
    edit(window, layer_min_density=("*=0.9",))
    # Of three groups of heads a tenth is none: it is neurons alone.
    assert "At most 7.2" in shown(window, "diagnosis_plan")


def test_what_has_changed_is_named_until_it_is_as_it_was(make_diagnosed):
    window = make_diagnosed()
    config = window.session.state.config
    calibration = replace(config.calibration, window_length=128)
    window.session.edit_calibration(calibration)
    assert "Window length" in shown(window, "diagnosis_stale")
    assert not shown(window, "diagnosis_headline")
    assert planned(window)  # what was known stays in sight
    window.session.edit_calibration(config.calibration)
    assert not shown(window, "diagnosis_stale")
    edit(window, structure=Structure.ROWS)
    assert "What goes" in shown(window, "diagnosis_stale")


@pytest.mark.parametrize("target", [Target.PRUNABLE_SHARE, Target.PARAMETERS])
def test_the_target_is_dragged_along_the_curve(make_diagnosed, target):
    pruning = pruning_config(target=target, million_parameters=2.5)
    window = make_diagnosed(config=replace(QUICK, pruning=pruning))
    line = find(window, "forecast_chart", QualityCurve)._target
    line.setValue(55.0)  # as a mouse does
    assert diagnosis_of(window).plan.wanted == pytest.approx(
        0.55 * model_summary().prunable, rel=0.002
    )
    pruning = window.session.state.config.pruning
    assert values_of(pruning)["target"] is target
    assert "55" in line.label.format
    if target is Target.PRUNABLE_SHARE:
        assert find(window, "sparsity_slider", QSlider).value() == 55


def test_a_diagnosis_can_be_cancelled_and_nothing_is_lost(qtbot, make_diagnosed):
    window = make_diagnosed(*SLOW)
    known = diagnosis_of(window).known
    click(window, "diagnose_button")
    for name in ("diagnose_button", "start_button"):
        assert not find(window, name).isEnabled()
    assert "being diagnosed" in find(window, "start_button").toolTip()
    click(window, "diagnose_cancel_button")
    idle = lambda: not window.session.state.is_busy  # noqa: E731
    qtbot.waitUntil(idle, timeout=TIMEOUT_MS)
    assert diagnosis_of(window).known is known
    assert find(window, "diagnose_button").isEnabled()
    assert find(window, "start_button").isEnabled()
    assert planned(window)


def test_a_diagnosis_that_fails_says_why(qtbot, make_window):
    window = make_window("--mishap", "fail", "--at", "curvature")
    load_and_wait(qtbot, window)
    window._centre.open_tab("diagnosis_tab")
    click(window, "diagnose_button")
    failed = lambda: window.session.state.notice is not None  # noqa: E731
    qtbot.waitUntil(failed, timeout=TIMEOUT_MS)
    assert window.session.state.notice.message == FAILURE
    assert diagnosis_of(window).known is None
    assert find(window, "diagnose_button").isEnabled()


def test_what_runs_measure_is_drawn_beside_the_prediction(qtbot, make_diagnosed):
    window = make_diagnosed()
    curve = find(window, "forecast_chart", QualityCurve)
    assert "will be drawn" in shown(window, "forecast_note")
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(diagnosis_of(window).points) == 3
    assert "Dots: measured" in shown(window, "forecast_note")
    kinds = [row[2] for row in curve.rows()[1:]]
    assert kinds.count("measured") == 3
    edit(window, structure=Structure.ROWS)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(diagnosis_of(window).points) == 3  # of the same structure alone


def test_finished_runs_in_the_folder_are_drawn_too(qtbot, make_window, tmp_path):
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
    assert [(p.perplexity, p.is_corrected) for p in points] == [
        (shot_finished(1, 1, 0.3).evaluation.perplexity, False),
        (14.4, True),
    ]


def write_report(folder, config: RunConfig):
    corrected: Evaluation = evaluation(14.4)
    report = Report(
        config=config,
        model=model_summary(),
        versions={},
        device="",
        baseline=evaluation(14.2),
        shots=(shot_finished(1, 1, 0.3),),
        corrected=Corrected((1.0,), 2.7, 2.6, corrected, 1.0),
        exported=None,
        checkpoint="",
        stopped_early=False,
        seconds=1.0,
        seconds_of_stages={},
        peak_memory_bytes=0,
    )
    folder.mkdir(parents=True)
    RunFolder(folder).write_report(report)


@pytest.mark.parametrize(
    "pruning",
    [
        pruning_config(Structure.ELEMENTS),
        pruning_config(Structure.N_M),
        pruning_config(Structure.ROWS),
        pruning_config(method=Method.MAGNITUDE),
    ],
)
def test_every_structure_and_method_has_its_maps_and_no_text_is_cut(
    qtbot, make_diagnosed, pruning, tmp_path
):
    window = make_diagnosed(config=replace(QUICK, pruning=pruning))
    assert planned(window)
    predicts = pruning.method is not Method.MAGNITUDE
    assert find(window, "forecast_plot").isVisible() is predicts
    said = shown(window, "diagnosis_plan")
    assert ("Predicted perplexity" in said) is predicts
    assert ("order" in said) is not predicts
    labels = {c.label for c in find(window, "sensitivity_map", HeatMap).cells}
    find(window, "sensitivity_share_combo", QComboBox).setCurrentIndex(2)
    assert {c.label for c in find(window, "sensitivity_map", HeatMap).cells} != labels
    qtbot.waitUntil(lambda: cut_texts(window) == [], timeout=TIMEOUT_MS)
    for chart in ("sensitivity", "planned", "forecast"):
        path = tmp_path / f"{chart}.csv"
        find(window, f"{chart}_chart").save_picture(path)
        assert (len(path.read_text().splitlines()) > 1) is (
            predicts or chart != "forecast"
        )


def test_another_model_leaves_what_is_known_out_of_date(
    qtbot, make_diagnosed, tmp_path
):
    window = make_diagnosed()
    (tmp_path / "other").mkdir()
    window.choose_model(str(tmp_path / "other"))
    assert "Model" in shown(window, "diagnosis_stale")
    config = replace(QUICK, export=ExportConfig(replace=False))
    load_and_wait(qtbot, window, config)
    assert not shown(window, "diagnosis_stale")
    assert diagnosis_of(window).known.costs.diagnosed.loss == BASE_LOSS
