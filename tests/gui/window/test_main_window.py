"""Runs in a window with a fake engine, with every outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.toml import config_to_toml, read_config
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.controllers import session
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.views.live.live_view import LiveView
from surgeon_gui.views.steps.run_page import RunPage
from surgeon_gui.window import main_window
from surgeon_gui.window.central_tabs import CentralTabs
from surgeon_gui.window.dropped_files import model_in, text_in
from surgeon_gui.window.log_view import LogView
from tests.helpers.fake_engine import FAILURE, HINT, UNSUPPORTED
from tests.helpers.fake_runs import write_run
from tests.helpers.widget_queries import is_on
from tests.helpers.window_audit import settle
from tests.helpers.windows import (
    LONG,
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    find_type,
    load_and_wait,
    run_of,
    wait_for_status,
)


def test_empty_state_is_shown_before_a_model_is_chosen(window):
    assert find(window, "empty_state").isVisible()
    assert not is_on(window, "start_button")
    assert "Choose a model" in find(window, "plan_label").text()


def test_refused_run_says_that_it_failed_and_offers_no_folder(qtbot, make_window):
    window = make_window("--mishap", "fail", "--at", "load")
    load_and_wait(qtbot, window)
    window.open_step(Step.RUN)
    window.start_run()
    wait_for_status(qtbot, window, Status.FAILED)
    header = find(window, "step_run_header")
    assert header.isChecked()
    assert header.summary == "Failed"
    assert not find(window, "open_run_button").isVisible()


@pytest.mark.thorough
def test_buttons_that_open_a_model_are_there_once(qtbot, window):
    openers = ("use_demo_button", "open_folder_button", "open_gguf_button")
    assert find(window, "empty_demo_button").isVisible()
    assert not any(find(window, name).isVisible() for name in openers)
    load_and_wait(qtbot, window)
    window.open_step(Step.MODEL)
    assert not find(window, "empty_demo_button").isVisible()
    assert all(find(window, name).isVisible() for name in openers)


def test_demo_is_pruned_with_two_clicks(qtbot, window):
    click(window, "empty_demo_button")
    assert not find(window, "empty_state").isVisible()
    qtbot.waitUntil(lambda: is_on(window, "start_button"), timeout=TIMEOUT_MS)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert run_of(window).config.model.source == DEMO


def test_starting_a_run_opens_the_live_tab(qtbot, window):
    load_and_wait(qtbot, window)
    find_type(window, CentralTabs).open_tab("diagnosis_tab")
    click(window, "start_button")
    assert find(window, "live_view").isVisible()


def test_finished_run_shows_its_metrics(qtbot, window):
    load_and_wait(qtbot, window)
    with qtbot.waitSignal(window.run_ended, timeout=TIMEOUT_MS):
        click(window, "start_button")
    assert len(run_of(window).history) == QUICK.pruning.shots
    assert find(window, "phase_label").text().startswith("Finished")
    assert "14.20" in find(window, "perplexity_figure").text()
    assert "target" in find(window, "sparsity_note").text()
    assert is_on(window, "start_button")
    assert not is_on(window, "cancel_button")
    assert "The run finished after" in find(window, "log_text").toPlainText()


def test_buttons_follow_the_status_of_the_run(qtbot, make_window):
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
    assert find(window, "phase_label").text() == "Cancelling…"
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert is_on(window, "start_button")


def test_cancel_asks_if_nothing_is_saved_of_a_long_run(qtbot, make_window, monkeypatch):
    monkeypatch.setattr(main_window, "_UNSAVED_SECONDS", 1e-3)
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window, LONG)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "cancel_button")
    question = find(window, "cancel_question")
    assert question.isVisible()
    assert "nothing is saved yet" in question.informativeText()
    click(window, "cancel_no_button")
    assert not question.isVisible()
    assert run_of(window).status is Status.RUNNING
    find(window, "cancel_action", QAction).trigger()
    click(window, "cancel_yes_button")
    wait_for_status(qtbot, window, Status.CANCELLED)


@pytest.mark.thorough
def test_cancel_does_not_ask_if_the_run_can_go_on(qtbot, make_window, monkeypatch):
    monkeypatch.setattr(main_window, "_UNSAVED_SECONDS", 1e-3)
    monkeypatch.setattr(session, "has_saved_state", lambda folder: True)
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window, LONG)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "cancel_button")
    wait_for_status(qtbot, window, Status.CANCELLED)


def test_failure_shows_hint_and_details_until_dismissed(qtbot, make_window):
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


def test_crash_shows_an_error_and_the_next_run_starts(qtbot, make_window):
    window = make_window("--mishap", "crash", "--at", "curvature")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert "killed by the system" in find(window, "error_message").text()
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert find(window, "error_bar").isVisible()


def test_unreadable_model_shows_an_error_at_its_step(qtbot, window, tmp_path):
    source = tmp_path / "missing"
    source.mkdir()
    window.choose_model(str(source))
    label = find(window, "model_problem", QLabel)
    qtbot.waitUntil(lambda: "no model" in label.text(), timeout=TIMEOUT_MS)
    assert not is_on(window, "start_button")
    assert "no model" in find(window, "plan_label").text()


def test_edits_during_a_run_do_not_change_its_config(qtbot, make_window):
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    find(window, "pruning_sparsity").setValue(70.0)
    assert window.session.state.config.pruning.target.sparsity == 0.7
    assert run_of(window).config == QUICK
    assert "30" in find(window, "plan_label").text()


def test_start_uses_a_number_that_is_being_typed(qtbot, window):
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
    find(window, "start_action", QAction).trigger()
    assert run_of(window).config.pruning.shots == 5
    wait_for_status(qtbot, window, Status.FINISHED)


def test_invalid_number_that_is_being_typed_prevents_the_start(qtbot, window):
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
    plan = find(window, "plan_label").text()
    assert plan.startswith("Step 2: ")
    assert "600 tokens" in plan
    assert "600 tokens" in find(window, "calibration_form_problem").text()
    assert box.property("invalid")


@pytest.mark.thorough
def test_start_uses_a_runs_folder_that_is_being_typed(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    window.open_step(Step.RUN)
    edit = find(window, "run_parent_edit")
    edit.setFocus()
    edit.selectAll()
    QTest.keyClicks(edit, str(tmp_path / "elsewhere"))
    find(window, "start_action", QAction).trigger()
    assert run_of(window).folder.startswith(str(tmp_path / "elsewhere"))
    wait_for_status(qtbot, window, Status.FINISHED)


def test_export_into_the_run_folder_is_an_error(qtbot, window, tmp_path):
    export = ExportConfig(str(tmp_path / "out"))
    load_and_wait(qtbot, window, replace(QUICK, export=export))
    window.start_run(tmp_path / "out" / "run")
    assert not window.session.state.shows_run
    assert "contains the run folder" in find(window, "error_message").text()


def test_unusable_runs_folder_shows_an_error(qtbot, window):
    load_and_wait(qtbot, window)
    window.session.draft.set_run_parent("/" + "a" * 5_000)
    click(window, "start_button")
    assert not window.session.state.shows_run
    assert "cannot be used" in find(window, "error_message").text()


@pytest.mark.thorough
def test_flood_of_events_is_complete_and_drawn_rarely(qtbot, make_window, monkeypatch):
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


def test_dropped_folder_becomes_the_model(qtbot, window, tmp_path):
    drop(window, tmp_path)
    assert window.session.state.config.model.source == str(tmp_path)
    assert find(window, "model_source", QLineEdit).text() == str(tmp_path)


@pytest.mark.thorough
def test_dropped_text_becomes_the_calibration_text(window, tmp_path):
    (tmp_path / "stories.csv").write_text("text\nonce\n")
    drop(window, tmp_path / "stories.csv")
    assert window.session.state.config.calibration.text == str(tmp_path / "stories.csv")
    assert find(window, "calibration_column").isVisible()


def test_other_dropped_file_is_refused_in_a_sentence(window, tmp_path):
    drop(window, tmp_path / "picture.jpg")
    message = find(window, "error_message").text()
    assert message == "picture.jpg is neither a model nor a text."
    assert ".gguf" in find(window, "error_hint").text()


@pytest.mark.thorough
def test_dragged_file_lights_up_the_first_screen(window, tmp_path):
    def edge():
        image = find(window, "empty_state").grab().toImage()
        return {image.pixel(x, y) for x in range(100, 200) for y in range(4)}

    before = edge()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    window.dragEnterEvent(QDragEnterEvent(QPoint(), actions, data, buttons, none))
    assert edge() != before
    window.dragLeaveEvent(QDragLeaveEvent())
    assert edge() == before


def test_dropped_picture_is_neither_model_nor_text(tmp_path):
    picture = tmp_path / "picture.png"
    picture.touch()
    url = QUrl.fromLocalFile(str(picture))
    assert model_in([url]) == ""
    assert text_in([url]) == ""


def test_preview_shows_text_and_token_counts(qtbot, window):
    load_and_wait(qtbot, window)
    click(window, "preview_button")
    preview = find(window, "preview_text", QPlainTextEdit)
    qtbot.waitUntil(lambda: preview.toPlainText() != "", timeout=TIMEOUT_MS)
    assert "The first window." in preview.toPlainText()
    assert "16,384" in find(window, "preview_counts").text()


def test_slider_and_spin_box_show_the_same_sparsity(qtbot, window):
    load_and_wait(qtbot, window)
    find(window, "sparsity_slider").setValue(50)
    assert find(window, "pruning_sparsity").value() == 50.0
    find(window, "pruning_sparsity").setValue(12.5)
    assert find(window, "sparsity_slider").value() == 12
    assert window.session.state.config.pruning.target.sparsity == 0.125
    assert "304,128 weights are removed" in find(window, "goal_label").text()


def test_unsupported_structure_is_disabled_with_the_reason(qtbot, window):
    load_and_wait(qtbot, window)
    for structure in Structure:
        tile = find(window, f"structure_{structure.value}_tile")
        assert tile.isEnabled() == (structure not in UNSUPPORTED)
        for text in (tile.toolTip(), tile.accessibleDescription()):
            assert ("layers are tied." in text) != tile.isEnabled()
    assert "cannot be chosen; see" in find(window, "unsupported_note").text()


def test_saved_job_can_be_loaded(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    job = tmp_path / "my job.toml"
    find_type(window, RunPage).save_job(str(job))
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


@pytest.mark.thorough
def test_unreadable_job_shows_an_error(qtbot, window, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(config_to_toml(QUICK).replace("sparsity", "sparsty"))
    window.load_job(job)
    assert "sparsty" in find(window, "error_message").text()


@pytest.mark.thorough
def test_each_run_gets_its_own_folder(qtbot, window):
    load_and_wait(qtbot, window)
    folders = set()
    for _ in range(2):
        window.start_run()
        wait_for_status(qtbot, window, Status.FINISHED)
        folders.add(run_of(window).folder)
        # Both runs may begin within the same second.
        Path(run_of(window).folder).mkdir(parents=True, exist_ok=True)
    assert len(folders) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("ending", ["png", "svg", "csv"])
def test_charts_can_be_saved(qtbot, window, tmp_path, ending):
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    for name in ("perplexity", "sparsity"):
        path = tmp_path / f"{name}.{ending}"
        find(window, f"{name}_chart").save_picture(path)
        assert path.stat().st_size > 200 if ending != "csv" else path.read_text()
    if ending == "csv":
        rows = (tmp_path / "perplexity.csv").read_text().splitlines()
        assert rows[0].startswith('shot,"built-in, KL (nats per token)"')
        assert len(rows) == 2 + QUICK.pruning.shots


@pytest.mark.thorough
def test_window_can_be_saved_as_an_image(window, tmp_path):
    window.save_picture(tmp_path / "window.png")
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_saved_picture_of_the_window_is_confirmed_in_the_log(window, tmp_path):
    window._on_picture_file_selected(str(tmp_path / "window.png"))
    text = find_type(window, LogView).all_text()
    assert f"The picture was saved to {tmp_path / 'window.png'}." in text
    assert find(window, "log_dock").isVisible()


def test_opened_run_begins_at_the_top_of_every_tab(qtbot, window, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "runs", name)
    window.resize(920, 500)
    tabs = find_type(window, CentralTabs)

    def bars():
        areas = [tabs._tabs.widget(n) for n in tabs._indices.values()]
        return [area.verticalScrollBar() for area in areas]

    window.open_run(tmp_path / "runs" / "a")
    qtbot.waitUntil(lambda: run_of(window).folder.endswith("a"), timeout=TIMEOUT_MS)
    for name in tabs.names:
        tabs.open_tab(name)
        settle()
    for bar in bars():
        bar.setValue(bar.maximum())
    assert sum(bar.value() > 0 for bar in bars()) > 1
    window.open_run(tmp_path / "runs" / "b")
    qtbot.waitUntil(lambda: run_of(window).folder.endswith("b"), timeout=TIMEOUT_MS)
    settle()
    assert [bar.value() for bar in bars()] == [0] * len(bars())
