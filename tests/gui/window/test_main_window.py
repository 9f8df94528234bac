"""Runs in a window with a fake engine: every outcome, and pauses."""

from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDragLeaveEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QMessageBox
from superqt import QElidingLabel

from surgeon_engine.api.config.pruning import OF_EXPERTS, Structure
from surgeon_engine.api.config.toml import config_to_toml, read_config
from surgeon_engine.api.verdict import expected_verdict
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.job.targets import with_step
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.text.problems import Step
from surgeon_gui.text.verdicts import PHRASES
from surgeon_gui.views.steps.run_page import RunSettingsPage
from surgeon_gui.window import run_actions
from surgeon_gui.window.log_view import LogView
from surgeon_gui.window.places import Place
from tests.helpers.fake_engine import FAILURE, HINT
from tests.helpers.fake_results import UNSUPPORTED
from tests.helpers.widget_queries import is_on, type_size
from tests.helpers.windows import (
    LONG,
    QUICK,
    cancel_run,
    click,
    drop,
    find,
    find_type,
    load_and_wait,
    open_step,
    run_of,
    run_until,
    start,
    trigger,
    wait_for_status,
    wait_until,
)


def test_each_place_is_reached_and_tells_what_goes_on(qtbot, make_window):
    window = make_window("--pause", "0.02")
    bar = find(window, "sidebar_progress_bar")
    for place in Place:
        click(window, f"place_{place.value}_button")
        assert window.places.current is place
    assert find(window, "place_playground_button").isChecked()
    assert not bar.isVisible()
    load_and_wait(qtbot, window)
    start(window)
    assert window.places.current is Place.RUNS
    assert window.runs.shows_run
    wait_until(qtbot, lambda: bar.value() > 0)
    assert bar.isVisible()
    click(window, "place_new_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert window.places.current is Place.NEW  # nobody is taken elsewhere
    assert not bar.isVisible()
    assert len(run_of(window).history) == QUICK.pruning.shots


def test_next_step_of_a_run_is_opened_as_a_new_job(make_finished):
    window = make_finished()
    before = run_of(window).config
    for name, is_smaller in (("gentler", False), ("smaller", True)):
        click(window, "place_runs_button")
        click(window, f"run_{name}_button")
        assert window.places.current is Place.NEW
        draft = window.session.state.config
        assert draft == with_step(before, is_smaller=is_smaller)
        assert (draft.pruning.sparsity > before.pruning.sparsity) is is_smaller


def test_run_keeps_what_was_expected_and_new_leads_back_from_details(qtbot, window):
    load_and_wait(qtbot, window)
    title = find(window, "plan_label", QLabel).text()
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    expected = run_of(window).expected
    assert expected.low < expected.value < expected.high
    assert title.endswith(PHRASES[expected_verdict(expected.value)])
    assert read_state(Path(run_of(window).folder)).planned == run_of(window).planned
    assert run_of(window).planned
    check_way_from_details(window)


def check_way_from_details(window):
    """Check that New in the sidebar leads back from the details of the model."""
    click(window, "place_new_button")
    click(window, "model_details_button")
    assert find(window, "model_details").isVisible()
    click(window, "place_new_button")
    assert find(window, "new_page").isVisible()


def test_runs_in_the_sidebar_leads_from_a_run_to_the_list(make_finished):
    window = make_finished()
    for choose in (
        lambda: click(window, "place_runs_button"),
        find(window, "go_runs_action", QAction).trigger,
    ):
        assert window.runs.shows_run
        choose()
        assert window.places.current is Place.RUNS
        assert window.runs.currentWidget() is window.runs.home
        window.runs.show_run()
    click(window, "place_playground_button")
    click(window, "place_runs_button")
    assert window.runs.shows_run  # as it was left


def test_cancel_asks_and_says_what_would_be_lost(qtbot, make_window, monkeypatch):
    window = make_window("--pause", "0.01")
    load_and_wait(qtbot, window, LONG)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    type_size(window, "70.0 %")  # for the next run
    assert window.session.state.config.pruning.sparsity == 0.7
    assert run_of(window).config == LONG
    trigger(window, "cancel_action")
    question = find(window, "cancel_question", QMessageBox)
    assert question.isVisible()
    assert "nothing is saved" in question.informativeText()
    click(window, "cancel_no_button")
    assert not question.isVisible()
    assert run_of(window).status is Status.RUNNING
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert is_on(window, "start_button")
    monkeypatch.setattr(run_actions, "has_saved_state", lambda folder: True)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    trigger(window, "cancel_action")
    assert "resume it" in question.informativeText()
    monkeypatch.setattr(run_actions, "has_saved_state", lambda folder: False)
    qtbot.waitUntil(lambda: "nothing is saved" in question.informativeText())
    window.session.cancel()
    assert not question.isVisible()  # there is nothing left to ask
    wait_for_status(qtbot, window, Status.CANCELLED)


@pytest.mark.parametrize("limit", [0.0, 30.0])
def test_cancel_asks_before_the_model_has_been_read_if_that_takes_long(
    qtbot, make_window, monkeypatch, limit
):
    monkeypatch.setattr(run_actions, "_NOTHING_LOST", limit)
    window = make_window("--pause", "0.01")
    load_and_wait(qtbot, window, LONG)
    click(window, "start_button")
    assert run_of(window).model is None
    trigger(window, "cancel_action")
    question = window.findChild(QMessageBox, "cancel_question")
    assert (question is not None and question.isVisible()) is (limit == 0.0)
    if limit == 0.0:
        click(window, "cancel_yes_button")
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
    assert FAILURE not in find(window, "run_time").text()  # once is enough
    click(window, "error_dismiss_button")
    assert not find(window, "error_bar").isVisible()
    assert FAILURE in find(window, "run_time").text()
    assert is_on(window, "start_button")


def test_start_uses_a_number_that_is_being_typed(qtbot, window):
    load_and_wait(qtbot, window)
    open_step(window, Step.TARGET)
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
    open_step(window, Step.CALIBRATION)
    window.activateWindow()
    box = find(window, "calibration_window_length")
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    QTest.keyClicks(box, "600")
    click(window, "start_button")
    assert not window.session.state.shows_run
    assert "600 tokens" in find(window, "plan_warning", QElidingLabel).text()
    assert "600 tokens" in find(window, "calibration_window_length_problem").text()
    assert box.property("invalid")


def test_dragged_files_are_welcome_and_dropped_are_models_or_texts(window, tmp_path):
    check_drag(window, tmp_path)
    drop(window, tmp_path)
    assert window.session.state.config.model.source == str(tmp_path)
    assert find(window, "model_source", QLineEdit).text() == str(tmp_path)
    text = tmp_path / "stories.csv"
    text.write_text("text\nonce\n")
    other = tmp_path / "more.jsonl"
    other.touch()
    picture = tmp_path / "picture.jpg"
    picture.touch()
    drop(window, text, other, picture)
    both = (str(text), str(other))
    assert window.session.state.config.calibration.all_texts == both
    drop(window, picture)
    assert "picture.jpg" in find(window, "error_message").text()
    assert window.session.state.config.model.source == str(tmp_path)
    assert window.session.state.config.calibration.all_texts == both


def check_drag(window, tmp_path):
    """Check that a dragged file lights up the first screen."""

    def edge():
        image = find(window, "empty_state").grab().toImage()
        return {image.pixel(x, 1) for x in range(100, 200)}

    before = edge()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    window.dragEnterEvent(QDragEnterEvent(QPoint(), actions, data, buttons, none))
    assert edge() != before
    window.dragLeaveEvent(QDragLeaveEvent())
    assert edge() == before
    window._on_picture_file_selected(str(tmp_path / "window.png"))
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "window.png") in find_type(window, LogView).all_text()


def test_unsupported_structure_is_disabled_with_the_reason(qtbot, window):
    load_and_wait(qtbot, window)
    for structure in Structure:
        tile = find(window, f"structure_{structure.value}_tile")
        assert tile.isHidden() == (structure in OF_EXPERTS)  # it has none
        if tile.isHidden():
            continue
        assert tile.isEnabled() == (structure not in UNSUPPORTED)
        for text in (tile.toolTip(), tile.accessibleDescription()):
            assert ("layers are tied." in text) != tile.isEnabled()
    assert find(window, "unsupported_note").text()


def test_saved_job_can_be_loaded(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    job = tmp_path / "my job.toml"
    find_type(window, RunSettingsPage).save_job(str(job))
    assert read_config(job) == QUICK
    command = find(window, "command_edit")
    assert command.text() == f"surgeon run '{job}' --run-dir {tmp_path / 'runs'}"
    find(window, "pruning_shots").setValue(7)
    assert command.text() == ""
    assert not is_on(window, "copy_command_button")
    window.new.run_page.load_job(str(job))
    assert window.session.state.config == QUICK
    job.write_text(config_to_toml(QUICK).replace("sparsity", "sparsty"))
    window.new.run_page.load_job(str(job))
    assert "sparsty" in find(window, "error_message").text()
    assert find(window, "pruning_shots").value() == QUICK.pruning.shots


def test_run_begins_in_a_new_usable_folder(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    window.session.draft.set_run_parent("/" + "a" * 5_000)
    click(window, "start_button")
    assert find(window, "error_message").text()
    assert not window.session.state.shows_run
    window.session.draft.set_run_parent(str(tmp_path))
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    Path(run_of(window).folder).mkdir(parents=True, exist_ok=True)
    first = run_of(window).folder
    window.start_run()
    assert run_of(window).folder != first
    wait_for_status(qtbot, window, Status.FINISHED)
    open_step(window, Step.RUN)
    edit = find(window, "run_parent_edit")
    edit.setFocus()
    edit.selectAll()
    QTest.keyClicks(edit, str(tmp_path / "elsewhere"))  # not yet entered
    find(window, "start_action", QAction).trigger()
    assert run_of(window).folder.startswith(str(tmp_path / "elsewhere"))


@pytest.fixture
def paused(qtbot, make_window):
    window = make_window("--pause", "0.01")
    run_until(qtbot, window, Status.RUNNING)
    trigger(window, "pause_action")
    assert run_of(window).status is Status.PAUSING
    wait_for_status(qtbot, window, Status.PAUSED)
    return window


def test_pause_is_seen_in_another_window(qtbot, make_window):
    window = make_window("--pause", "0.03")
    run_until(qtbot, window, Status.RUNNING, LONG)
    other = make_window()
    find_type(other, RunsController).reopen(run_of(window).folder)
    wait_for_status(qtbot, other, Status.RUNNING)
    trigger(window, "pause_action")
    wait_for_status(qtbot, other, Status.PAUSED)
    wait_for_status(qtbot, window, Status.PAUSED)
    assert find(other, "pause_button").text() == find(window, "pause_button").text()
    trigger(window, "pause_action")
    wait_for_status(qtbot, other, Status.RUNNING)


def test_resumed_run_finishes(qtbot, paused):
    paused.close()
    assert find(paused, "close_question", QMessageBox).isVisible()
    click(paused, "close_stay_button")
    assert run_of(paused).status is Status.PAUSED
    action = paused.findChild(QAction, "pause_action")
    action.trigger()
    wait_until(qtbot, lambda: run_of(paused).paused_at is None)
    action.trigger()
    wait_for_status(qtbot, paused, Status.PAUSED)
    trigger(paused, "pause_action")
    wait_for_status(qtbot, paused, Status.FINISHED)
    run = run_of(paused)
    assert not run.result.stopped_early
    assert run.paused_seconds > 0
