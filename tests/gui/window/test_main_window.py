"""A whole run in the window over a fake engine, through every way it can end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.toml import config_to_toml, read_config
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.state.app import Step
from surgeon_gui.state.run import Status
from surgeon_gui.views.live.live_view import LiveView
from surgeon_gui.window.dropped_files import model_in, text_in
from tests.helpers.fake_engine import FAILURE, HINT, UNSUPPORTED
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    run_of,
    wait_for_status,
)


def is_on(window, name):
    return find(window, name).isEnabled()


def test_before_a_model_is_chosen_there_is_an_invitation(window):
    assert find(window, "empty_state").isVisible()
    assert not is_on(window, "start_button")
    assert "Choose a model" in find(window, "plan_label").text()


def test_the_demo_is_two_clicks_away(qtbot, window):
    click(window, "empty_demo_button")
    assert not find(window, "empty_state").isVisible()
    qtbot.waitUntil(lambda: is_on(window, "start_button"), timeout=TIMEOUT_MS)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert run_of(window).config.model.source == DEMO


def test_a_run_that_starts_is_shown(qtbot, window):
    load_and_wait(qtbot, window)
    window._centre.open_tab("diagnosis_tab")
    click(window, "start_button")
    assert find(window, "live_view").isVisible()


def test_a_finished_run_shows_its_figures(qtbot, window):
    load_and_wait(qtbot, window)
    with qtbot.waitSignal(window.run_ended, timeout=TIMEOUT_MS):
        click(window, "start_button")
    assert len(run_of(window).history) == QUICK.pruning.shots
    assert find(window, "phase_label").shown_text().startswith("Finished")
    assert "14.20" in find(window, "perplexity_figure").text()
    assert "target" in find(window, "sparsity_note").text()
    assert is_on(window, "start_button")
    assert not is_on(window, "cancel_button")
    assert "has finished" in find(window, "log_text").toPlainText()


def test_buttons_follow_the_run(qtbot, make_window):
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    assert not is_on(window, "start_button")
    assert is_on(window, "cancel_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    assert is_on(window, "stop_button")
    click(window, "stop_button")
    assert run_of(window).status is Status.STOPPING
    assert not is_on(window, "stop_button")
    assert find(window, "stop_button").text() == "Stopping…"
    wait_for_status(qtbot, window, Status.FINISHED)
    assert run_of(window).result.stopped_early
    assert len(run_of(window).history) < QUICK.pruning.shots


def test_cancel_ends_the_run(qtbot, make_window):
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "cancel_button")
    assert find(window, "phase_label").shown_text() == "Cancelling…"
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert is_on(window, "start_button")


def test_a_failure_is_shown_with_hint_and_details_and_can_be_dismissed(
    qtbot, make_window
):
    window = make_window("--mishap", "fail", "--at", "update")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert find(window, "error_bar").isVisible()
    assert find(window, "error_message").text() == FAILURE
    assert find(window, "error_hint").text() == HINT
    assert not find(window, "error_details").isVisible()
    click(window, "error_details_button")
    assert "Traceback" in find(window, "error_details").toPlainText()
    click(window, "error_dismiss_button")
    assert not find(window, "error_bar").isVisible()
    assert is_on(window, "start_button")


def test_a_crash_is_a_sentence_and_the_next_run_works(qtbot, make_window):
    window = make_window("--mishap", "crash", "--at", "curvature")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert "killed by the system" in find(window, "error_message").text()
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert find(window, "error_bar").isVisible()


def test_a_model_that_cannot_be_read_is_told_at_its_step(qtbot, window, tmp_path):
    source = tmp_path / "missing"
    source.mkdir()
    window.choose_model(str(source))
    label = find(window, "model_problem", QLabel)
    qtbot.waitUntil(lambda: "no model" in label.text(), timeout=TIMEOUT_MS)
    assert not is_on(window, "start_button")
    assert "no model" in find(window, "plan_label").text()


def test_the_config_is_frozen_at_the_start(qtbot, make_window):
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    find(window, "pruning_sparsity").setValue(70.0)
    assert window.session.state.config.pruning.target.sparsity == 0.7
    assert run_of(window).config == QUICK
    assert "30" in find(window, "plan_label").text()


def test_the_run_uses_a_number_that_is_still_being_typed(qtbot, window):
    load_and_wait(qtbot, window)
    window.open_step(Step.TARGET)
    window.activateWindow()
    box = find(window, "pruning_shots")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    QTest.keyClicks(box, "5")
    window.session.changed.emit()  # as with each batch of events
    assert window.session.state.config.pruning.shots == QUICK.pruning.shots
    window._menus.actions["start_action"].trigger()
    assert run_of(window).config.pruning.shots == 5
    wait_for_status(qtbot, window, Status.FINISHED)


def test_what_is_still_being_typed_can_keep_a_run_from_starting(qtbot, window):
    load_and_wait(qtbot, window)
    window.open_step(Step.CALIBRATION)
    window.activateWindow()
    box = find(window, "calibration_window_length")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    QTest.keyClicks(box, "600")
    click(window, "start_button")
    assert not window.session.state.shows_run
    assert "600 tokens" in find(window, "plan_label").text()


def test_the_run_goes_where_a_line_says_that_is_still_being_typed_in(
    qtbot, window, tmp_path
):
    load_and_wait(qtbot, window)
    window.open_step(Step.RUN)
    line = find(window, "run_parent_edit")
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, str(tmp_path / "elsewhere"))
    window._menus.actions["start_action"].trigger()
    assert run_of(window).folder.startswith(str(tmp_path / "elsewhere"))
    wait_for_status(qtbot, window, Status.FINISHED)


def test_an_export_into_the_runs_own_folder_is_refused(qtbot, window, tmp_path):
    export = ExportConfig(str(tmp_path / "out"))
    load_and_wait(qtbot, window, replace(QUICK, export=export))
    window.start_run(tmp_path / "out" / "run")
    assert not window.session.state.shows_run
    assert "run's own folder" in find(window, "error_message").text()


def test_a_runs_folder_that_cannot_be_used_is_told(qtbot, window):
    load_and_wait(qtbot, window)
    window.session.set_run_parent("/" + "a" * 5_000)
    click(window, "start_button")
    assert not window.session.state.shows_run
    assert "cannot be used" in find(window, "error_message").text()


def test_a_flood_is_drawn_a_few_times_and_arrives_whole(
    qtbot, make_window, monkeypatch
):
    drawn = []
    monkeypatch.setattr(LiveView, "show_run", lambda view, run, now: drawn.append(run))
    window = make_window("--flood", "3000")
    load_and_wait(qtbot, window)
    drawn.clear()
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(run_of(window).history) == QUICK.pruning.shots
    assert len(drawn) < 300


def drop(window, path):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(400, 300),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    window.dropEvent(event)


def test_a_folder_dropped_on_the_window_is_the_model(qtbot, window, tmp_path):
    drop(window, tmp_path)
    assert window.session.state.config.model.source == str(tmp_path)
    assert find(window, "model_source", QLineEdit).text() == str(tmp_path)


def test_a_text_dropped_on_the_window_is_the_calibration_text(window, tmp_path):
    (tmp_path / "stories.csv").write_text("text\nonce\n")
    drop(window, tmp_path / "stories.csv")
    assert window.session.state.config.calibration.text == str(tmp_path / "stories.csv")
    assert find(window, "calibration_column").isVisible()


def test_other_files_are_not_models(tmp_path):
    picture = tmp_path / "picture.png"
    picture.touch()
    url = QUrl.fromLocalFile(str(picture))
    assert model_in([url]) == ""
    assert text_in([url]) == ""


def test_the_text_is_previewed(qtbot, window):
    load_and_wait(qtbot, window)
    click(window, "preview_button")
    preview = find(window, "preview_text", QPlainTextEdit)
    qtbot.waitUntil(lambda: preview.toPlainText() != "", timeout=TIMEOUT_MS)
    assert "The first window." in preview.toPlainText()
    assert "16,384" in find(window, "preview_counts").text()


def test_slider_and_box_show_one_sparsity(qtbot, window):
    load_and_wait(qtbot, window)
    find(window, "sparsity_slider").setValue(50)
    assert find(window, "pruning_sparsity").value() == 50.0
    find(window, "pruning_sparsity").setValue(12.5)
    assert find(window, "sparsity_slider").value() == 12
    assert window.session.state.config.pruning.target.sparsity == 0.125
    assert "304,128 weights go" in find(window, "goal_label").text()


def test_a_structure_that_the_model_lacks_is_disabled_with_its_reason(qtbot, window):
    load_and_wait(qtbot, window)
    for structure in Structure:
        tile = find(window, f"structure_{structure.value}_tile")
        assert tile.isEnabled() == (structure not in UNSUPPORTED)
        assert tile.toolTip().endswith("layers are tied.") != tile.isEnabled()
    assert "layers are tied" in find(window, "unsupported_note").text()


def test_a_job_is_saved_and_loaded_again(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    job = tmp_path / "my job.toml"
    window._run_page.save_job(str(job))
    assert read_config(job) == QUICK
    command = find(window, "command_edit")
    assert command.text() == f"surgeon run '{job}' --run-dir {tmp_path / 'runs'}"
    find(window, "pruning_shots").setValue(7)
    assert command.text() == ""
    assert command.placeholderText() == "Save the job first"
    assert not is_on(window, "copy_command_button")
    window.load_job(job)
    assert window.session.state.config == QUICK
    assert find(window, "pruning_shots").value() == QUICK.pruning.shots


def test_a_job_that_cannot_be_read_is_told(qtbot, window, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(config_to_toml(QUICK).replace("sparsity", "sparsty"))
    window.load_job(job)
    assert "sparsty" in find(window, "error_message").text()


def test_runs_get_folders_of_their_own(qtbot, window):
    load_and_wait(qtbot, window)
    folders = set()
    for _ in range(2):
        window.start_run()
        wait_for_status(qtbot, window, Status.FINISHED)
        folders.add(run_of(window).folder)
        # Both runs may begin within the same second.
        Path(run_of(window).folder).mkdir(parents=True, exist_ok=True)
    assert len(folders) == 2


@pytest.mark.parametrize("ending", ["png", "svg", "csv"])
def test_charts_are_saved(qtbot, window, tmp_path, ending):
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    for name in ("perplexity", "parameters", "sparsity"):
        path = tmp_path / f"{name}.{ending}"
        find(window, f"{name}_chart").save_picture(path)
        assert path.stat().st_size > 200 if ending != "csv" else path.read_text()
    if ending == "csv":
        rows = (tmp_path / "perplexity.csv").read_text().splitlines()
        assert rows[0] == "shot,perplexity"
        assert len(rows) == 2 + QUICK.pruning.shots


def test_the_window_is_saved_as_a_picture(window, tmp_path):
    window.save_picture(tmp_path / "window.png")
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
