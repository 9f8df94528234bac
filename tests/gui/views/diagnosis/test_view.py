"""The diagnosis of a model: measuring, planning, out of date, cancelled and failed."""

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QComboBox
from superqt import QElidingLabel

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import FAILURE
from tests.helpers.widget_queries import SLOW, shown, type_size
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    diagnosis_of,
    find,
    load_and_wait,
    open_details,
    wait_until,
)


@pytest.fixture
def make_diagnosed(qtbot, make_window):
    """Return a function that makes windows with a finished diagnosis."""

    def make(*options, config=QUICK):
        window = make_window(*options)
        load_and_wait(qtbot, window, config)
        click(window, "diagnose_button")
        open_details(window)
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
    window.session.draft.edit_part(replace(pruning, **settings))


def test_measured_model_has_a_curve_of_its_own_and_maps(qtbot, window):
    load_and_wait(qtbot, window)
    basis = find(window, "forecast_basis", QElidingLabel)
    assert basis.text() == "estimated from runs of similar models"
    find(window, "diagnose_button").setFocus()
    click(window, "diagnose_button")
    assert window.focusWidget() is find(window, "diagnose_cancel_button")
    assert find(window, "diagnose_progress").isVisible()
    assert not find(window, "diagnose_button").isVisible()
    wait_until_known(qtbot, window)
    assert not find(window, "diagnose_progress").isVisible()
    wait_until(qtbot, lambda: window.focusWidget() is find(window, "size_curve"))
    assert basis.text() == "measured on this model"
    open_details(window)
    assert "16,384 tokens" in shown(window, "diagnosis_headline")
    plan = shown(window, "diagnosis_plan").replace("\xa0", " ")
    for part in ("30 %", "block 0"):
        assert part in plan
    parts = planned(window)
    assert len(parts) == 12
    assert parts["neurons", 0] > parts["neurons", 5]
    assert len(find(window, "sensitivity_map", HeatMap).cells) == 12
    edit(window, dropped_blocks=1)  # not measured by a diagnosis
    assert shown(window, "diagnosis_plan").replace("\xa0", " ") != plan


def test_targets_and_rules_need_no_new_measurement(qtbot, make_diagnosed):
    window = make_diagnosed()
    before = planned(window)
    type_size(window, "60 %")
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


def test_cancelled_diagnosis_keeps_the_previous_result(qtbot, make_diagnosed):
    window = make_diagnosed(*SLOW)
    known = diagnosis_of(window).known
    edit(window, structure=Structure.NEURONS)
    click(window, "diagnose_button")
    assert not find(window, "start_button").isEnabled()
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
    click(window, "diagnose_button")
    failed = lambda: window.session.state.notice is not None  # noqa: E731
    qtbot.waitUntil(failed, timeout=TIMEOUT_MS)
    assert window.session.state.notice.message == FAILURE
    assert diagnosis_of(window).known is None
    assert find(window, "diagnose_button").isEnabled()


def test_method_without_a_prediction_has_maps(make_diagnosed, tmp_path):
    pruning = pruning_config(method=Method.MAGNITUDE)
    window = make_diagnosed(config=replace(QUICK, pruning=pruning))
    assert planned(window)
    assert "not known" in find(window, "forecast_basis", QElidingLabel).text()
    labels = {c.label for c in find(window, "sensitivity_map", HeatMap).cells}
    find(window, "sensitivity_share_combo", QComboBox).setCurrentIndex(2)
    assert {c.label for c in find(window, "sensitivity_map", HeatMap).cells} != labels
    for chart in ("sensitivity", "planned"):
        path = tmp_path / f"{chart}.csv"
        find(window, f"{chart}_chart").save_picture(path)
        assert len(path.read_text().splitlines()) > 1


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
    window.session.draft.choose_model(str(tmp_path / "other"))
    assert "Model" in shown(window, "diagnosis_stale")
    config = replace(QUICK, export=ExportConfig("elsewhere"))
    load_and_wait(qtbot, window, config)
    assert not shown(window, "diagnosis_stale")
    assert planned(window)
