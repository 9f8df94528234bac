"""The queue does its runs one after another, also after a restart of the window."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMessageBox, QTreeWidget

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import StartRun
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.queue.file import QueueFile
from surgeon_gui.state.queue.state import QueuedRun, QueueStatus
from surgeon_gui.state.queue.text import details
from surgeon_gui.state.run import Status, requested
from surgeon_gui.state.runs.reading import read_name, write_text
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.widgets.tool_tips import plain_tip
from tests.helpers.exports import write_export
from tests.helpers.fake_engine import FAILURE, HINT
from tests.helpers.fake_runs import write_saved_state
from tests.helpers.locks import write_lock
from tests.helpers.windows import (
    LONG,
    QUICK,
    TIMEOUT_MS,
    cancel_run,
    click,
    commands_of,
    find,
    find_type,
    load_and_wait,
    open_place,
    run_of,
    run_until,
    trigger,
    wait_for_status,
)

pytestmark = pytest.mark.slow

S = QueueStatus
SLOW = ("--pause", "0.01")
SHARES = (0.1, 0.2, 0.3)
SHORT = replace(QUICK, pruning=replace(QUICK.pruning, shots=1))


def queue_of(window):
    return find_type(window, QueueController)


def statuses(window):
    return [run.status for run in queue_of(window).state.runs]


def wait(qtbot, condition):
    qtbot.waitUntil(lambda: bool(condition()), timeout=TIMEOUT_MS)


def add(window, **pruning):
    """Add the draft with other pruning settings."""
    session = window.session
    session.draft.edit_part(replace(session.state.config.pruning, **pruning))
    click(window, "queue_add_button")


def add_three(qtbot, window, config=SHORT, failing=None):
    """Add three sizes; the second one has the method `failing`."""
    load_and_wait(qtbot, window, config)
    for number, share in enumerate(SHARES):
        method = failing if failing and number == 1 else config.pruning.method
        add(window, sparsity=share, method=method)


def wait_for_end(qtbot, window):
    wait(qtbot, lambda: queue_of(window).state.is_complete)
    wait(qtbot, lambda: not queue_of(window).state.is_working)


def test_failing_run_is_marked_and_the_next_one_begins(qtbot, make_window, tmp_path):
    window = make_window("--fail-method", "magnitude")
    folders, ends, opened = [], [], []
    page = window.runs.page
    window.session.run_ended.connect(lambda run: folders.append(run.folder))
    window.session.run_ended.connect(lambda run: opened.append(page.isVisible()))
    queue_of(window).ended.connect(ends.append)
    add_three(qtbot, window, failing=Method.MAGNITUDE)
    assert run_of(window).status is Status.IDLE  # nothing begins by itself
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED, S.FAILED, S.FINISHED]
    reason = f"{FAILURE} {HINT}"
    assert queue_of(window).state.runs[1].problem == reason
    failed = find(window, "queue_table", QTreeWidget).topLevelItem(1)
    assert (failed.text(1), failed.toolTip(1)) == ("Failed", plain_tip(reason))
    assert [run.folder for run in queue_of(window).state.runs] == folders
    assert len(set(folders)) == 3
    assert ends == [queue_of(window).state]
    # Names are of the user alone: titles are in the language of each window.
    assert not any(read_name(Path(folder)) for folder in folders)
    assert not (tmp_path / "runs" / "queue.json").exists()
    assert opened == [True] * 3  # no run but the last opens another page
    wait(qtbot, find_type(window, CompareView).isVisible)
    comparison = window.runs.comparison
    wait(qtbot, lambda: len(comparison.compared) == 2)
    wait(qtbot, lambda: all(each.run.result for each in comparison.compared))
    sparsities = [each.run.history[-1].sparsity for each in comparison.compared]
    assert sparsities == pytest.approx([0.1, 0.3], abs=0.02)


def test_run_added_during_a_run_begins_after_it(qtbot, make_window):
    window = make_window(*SLOW)
    load_and_wait(qtbot, window, SHORT)
    window.start_run()
    first = run_of(window).folder
    add(window, sparsity=0.1)
    assert queue_of(window).state.is_working
    assert find(window, "queue_summary").text()
    wait_for_end(qtbot, window)
    assert run_of(window).folder != first
    assert statuses(window) == [S.FINISHED]
    wait(qtbot, window.runs.page.isVisible)  # a single run is not compared


def test_start_shows_the_run_that_begins_instead_of_an_opened_one(
    qtbot, make_window, tmp_path
):
    window = make_window(*SLOW)
    add_three(qtbot, window)
    old = requested("", RunConfig(), str(tmp_path / "old"), 0.0)
    window.session.reopen(replace(old, status=Status.CANCELLED, ended=1.0), "Old run")
    click(window, "queue_start_button")
    assert window.session.state.shown_run is run_of(window)
    assert run_of(window).status.is_busy
    window.session.cancel()
    wait(qtbot, lambda: not window.session.state.is_busy)


def test_end_of_the_queue_leaves_the_place_in_use(qtbot, make_window):
    window = make_window()
    add_three(qtbot, window)
    click(window, "queue_start_button")
    open_place(window, "new")
    wait_for_end(qtbot, window)
    comparison = find_type(window, CompareView)
    assert not comparison.isVisible()
    open_place(window, "runs")
    wait(qtbot, comparison.isVisible)


def test_stop_ends_the_queue_after_the_run_in_progress(qtbot, make_window):
    window = make_window(*SLOW)
    add_three(qtbot, window)
    ends = []
    queue_of(window).ended.connect(ends.append)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    button = find(window, "queue_start_button")
    button.click()  # it stops the queue now
    wait(qtbot, lambda: ends)
    wait(qtbot, lambda: not window.session.state.is_busy)
    assert statuses(window) == [S.FINISHED, S.WAITING, S.WAITING]
    button.click()
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3


def test_canceled_run_stops_the_queue_and_its_page_offers_to_go_on(qtbot, make_window):
    window = make_window(*SLOW)
    add_three(qtbot, window, LONG)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    offer = find(window, "queue_offer_label")
    assert not offer.isVisible()
    trigger(window, "cancel_action")
    question = find(window, "cancel_question", QMessageBox)
    assert "2 waiting runs" in question.informativeText()
    click(window, "cancel_yes_button")
    assert statuses(window)[0] is S.CANCELLED  # at once: the window may close now
    wait_for_status(qtbot, window, Status.CANCELLED)
    qtbot.wait(50)
    assert statuses(window) == [S.CANCELLED, S.WAITING, S.WAITING]
    assert not queue_of(window).state.is_working
    assert window.runs.page.isVisible() and "2" in offer.text()
    assert window.runs.queue.controller.state.next.name in offer.text()
    click(window, "queue_resume_button")
    wait(qtbot, lambda: statuses(window) == [S.CANCELLED, S.RUNNING, S.WAITING])
    assert not offer.isVisible()
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)


def test_queue_that_was_not_started_is_not_offered(qtbot, make_window):
    window = make_window(*SLOW)
    add_three(qtbot, window, LONG)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert statuses(window) == [S.WAITING] * 3
    assert not find(window, "queue_offer_label").isVisible()


def test_canceled_run_that_the_user_resumes_is_in_progress_and_has_its_new_end(
    qtbot, make_window
):
    window = make_window(*SLOW)
    load_and_wait(qtbot, window, SHORT)
    add(window, sparsity=0.1)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    write_saved_state(Path(run_of(window).folder), 1)
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert statuses(window) == [S.CANCELLED]
    click(window, "run_resume_button")
    wait(qtbot, lambda: statuses(window) == [S.RUNNING])
    add(window, sparsity=0.2)
    assert queue_of(window).state.is_working  # after the run in progress
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 2


def test_cancelling_a_run_does_not_begin_one_that_was_added_meanwhile(
    qtbot, make_window
):
    window = make_window(*SLOW)
    run_until(qtbot, window, Status.RUNNING, LONG)
    add(window, sparsity=0.1, shots=1)
    assert queue_of(window).state.is_working
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    qtbot.wait(50)
    assert statuses(window) == [S.WAITING]
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED]


def test_run_that_cannot_begin_any_more_is_marked(qtbot, window, tmp_path):
    out = tmp_path / "out"
    load_and_wait(qtbot, window, SHORT)
    window.session.draft.edit_part(ExportConfig(str(out)))
    add(window, sparsity=0.1)
    window.session.draft.edit_part(ExportConfig())
    add(window, sparsity=0.2)
    out.mkdir()
    (out / "thesis.tex").touch()
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FAILED, S.FINISHED]
    assert "not empty" in queue_of(window).state.runs[0].problem


def write_model(folder):
    """Write as much of a model as the window reads of one."""
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 192}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return folder


@pytest.mark.parametrize("is_deleted", [True, False])
def test_model_that_was_never_read_and_is_refused_in_its_turn_stops_no_other(
    qtbot, make_window, tmp_path, is_deleted
):
    """By the window, which misses its folder, or else by the engine."""
    window = make_window(*SLOW, "--fail-method", "magnitude")
    ends = []
    queue_of(window).ended.connect(ends.append)
    run_until(qtbot, window, Status.RUNNING, SHORT)
    model = write_model(tmp_path / "new")
    window.session.draft.choose_model(str(model))
    method = SHORT.pruning.method if is_deleted else Method.MAGNITUDE
    add(window, sparsity=0.1, method=method)
    assert window.session.state.model is None  # the engine is busy
    assert queue_of(window).state.runs[0].estimate is None
    window.session.draft.choose_model(DEMO)
    add(window, sparsity=0.2, method=SHORT.pruning.method)
    if is_deleted:
        shutil.rmtree(model)
    wait_for_end(qtbot, window)
    refused, done = queue_of(window).state.runs
    assert (refused.status, done.status) == (S.FAILED, S.FINISHED)
    reason = f"No model found at {model}." if is_deleted else f"{FAILURE} {HINT}"
    assert refused.problem == reason
    row = find(window, "queue_table", QTreeWidget).topLevelItem(0)
    assert (row.text(1), row.toolTip(1)) == ("Failed", plain_tip(reason))
    assert refused.config.model.source == str(model)  # so that it can be added again
    assert (Path(done.folder) / "events.jsonl").exists()
    assert ends == [queue_of(window).state]


def test_consent_to_replace_files_goes_to_the_queued_run(
    qtbot, window, tmp_path, monkeypatch
):
    out = write_export(tmp_path / "out")
    sent = commands_of(window, monkeypatch)
    load_and_wait(qtbot, window, SHORT)
    window.session.draft.edit_part(ExportConfig(str(out)))
    window.session.draft.allow_to_replace(True)
    click(window, "queue_add_button")
    assert queue_of(window).state.runs[0].may_replace
    assert not window.session.state.may_replace
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert [x.replace for x in sent if isinstance(x, StartRun)] == [True]


def test_queue_is_paused_at_the_next_start_and_goes_on(qtbot, make_window):
    first = make_window(*SLOW)
    add_three(qtbot, first)
    click(first, "queue_start_button")
    wait_for_status(qtbot, first, Status.RUNNING)
    first.close()
    assert "2" in find(first, "close_question").informativeText()
    with qtbot.waitSignal(first.closed, timeout=TIMEOUT_MS):
        click(first, "close_keep_button")
    assert statuses(first) == [S.FINISHED, S.WAITING, S.WAITING]
    window = make_window()
    assert statuses(window) == [S.FINISHED, S.WAITING, S.WAITING]
    assert find(window, "queue_resume_button").isVisible()
    qtbot.wait(100)
    assert run_of(window).status is Status.IDLE
    click(window, "queue_resume_button")
    assert not find(window, "queue_resume_button").isVisible()
    assert window.runs.page.isVisible()
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3
    wait(qtbot, lambda: len(window.runs.comparison.compared) == 3)
    assert find_type(window, CompareView).isVisible()


def test_queue_of_another_computer_is_taken_over(qtbot, make_window, tmp_path):
    first = make_window()
    add_three(qtbot, first)
    queue_of(first).close()
    write_lock(tmp_path / "runs" / "queue-process.json")
    declined = make_window()
    click(declined, "queue_later_button")
    assert not find(declined, "queue_take_over_button").isVisible()
    assert queue_of(declined).add_obstacle()
    window = make_window()
    assert statuses(window) == []
    assert queue_of(window).add_obstacle()
    assert "atlas" in find(window, "queue_offer_label").text()
    assert not find(window, "queue_resume_button").isVisible()
    click(window, "queue_take_over_button")
    assert statuses(window) == [S.WAITING] * 3
    assert not find(window, "queue_take_over_button").isVisible()
    assert find(window, "queue_resume_button").isVisible()


@pytest.mark.parametrize("is_saved", [True, False])
def test_interrupted_run_is_resumed_or_begins_anew(qtbot, make_window, is_saved):
    """Leave the queue as a window does that is killed during its second run."""
    first = make_window(*SLOW)
    add_three(qtbot, first)
    click(first, "queue_start_button")
    wait(qtbot, lambda: statuses(first) == [S.FINISHED, S.RUNNING, S.WAITING])
    wait_for_status(qtbot, first, Status.RUNNING)
    folder = Path(run_of(first).folder)
    first.test_engine.shut_down()
    first.hide()
    queue_of(first)._file.release()  # the lock of a killed process does not count
    shutil.rmtree(folder / "resume", ignore_errors=True)
    if is_saved:
        write_saved_state(folder, 1)
    window = make_window()
    assert not find(window, "resume_run_button").isVisible()  # the queue offers it
    click(window, "queue_resume_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3
    assert (queue_of(window).state.runs[1].folder == str(folder)) is is_saved
    log = (folder / "events.jsonl").read_bytes() if is_saved else b""
    assert (b"RunResumed" in log) is is_saved


def test_queue_goes_on_after_a_crash_of_the_engine(qtbot, make_window):
    window = make_window("--mishap", "crash", "--at", "update")
    load_and_wait(qtbot, window, SHORT)
    for share in (0.1, 0.2):
        add(window, sparsity=share)
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FAILED] * 2
    assert find(window, "error_bar").isVisible()
    assert find(window, "error_message").text()
    table = find(window, "queue_table", QTreeWidget)
    problem = queue_of(window).state.runs[1].problem
    assert problem
    assert problem in table.topLevelItem(1).text(0)
    table.setCurrentItem(table.topLevelItem(1))
    trigger(window, "queue_retry_action")
    assert statuses(window) == [S.FAILED, S.WAITING]
    assert queue_of(window).state.runs[1].problem == ""
    assert table.topLevelItem(1).text(1).startswith("about ")  # it begins anew
    assert not find(window, "queue_retry_action", QAction).isEnabled()
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FAILED] * 2


@pytest.mark.parametrize("is_saved", [True, False])
def test_failed_run_goes_on_from_its_saved_state_when_it_is_tried_again(
    qtbot, make_window, is_saved
):
    window = make_window("--mishap", "crash", "--at", "update")
    load_and_wait(qtbot, window, SHORT)
    add(window, sparsity=0.1)
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    (failed,) = queue_of(window).state.runs
    folder = Path(failed.folder)
    assert failed.status is S.FAILED and folder.is_dir()
    if is_saved:
        write_saved_state(folder, 1)
    table = find(window, "queue_table", QTreeWidget)
    table.setCurrentItem(table.topLevelItem(0))
    trigger(window, "queue_retry_action")
    (waiting,) = queue_of(window).state.runs
    assert waiting.folder == (failed.folder if is_saved else "")
    said = table.topLevelItem(0).toolTip(1)
    goes_on = details(replace(waiting, folder=failed.folder))
    assert (said == plain_tip(goes_on)) is is_saved
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    (ended,) = queue_of(window).state.runs  # the engine crashes in a first shot alone
    assert ended.status is (S.FINISHED if is_saved else S.FAILED)
    assert (ended.folder == failed.folder) is is_saved
    assert (b"RunResumed" in (folder / "events.jsonl").read_bytes()) is is_saved


def test_another_window_has_the_queue(qtbot, make_window):
    first, second = make_window(), make_window()
    add_three(qtbot, first)
    load_and_wait(qtbot, second, SHORT)
    button = find(second, "queue_add_button")
    assert not button.isEnabled()
    taken = find(second, "queue_summary").text()
    assert taken and taken in button.toolTip()
    with qtbot.waitSignal(first.closed, timeout=TIMEOUT_MS):
        first.close()
    second.runs.show_home()
    click(second, "place_runs_button")
    assert find(second, "queue_summary").text() != taken
    second.session.draft.edit_part(replace(SHORT.pruning, sparsity=0.4))  # redraws
    click(second, "queue_add_button")
    assert len(queue_of(second).state.waiting) == 4


def test_window_without_runs_keeps_the_queue_of_another(tmp_path):
    mine, other = QueueFile(tmp_path), QueueFile(tmp_path)
    other.write((QueuedRun("small", SHORT),))
    mine.write(())
    assert mine.path.exists()
    other.write(())
    assert not list(tmp_path.iterdir())


def test_run_that_has_outlived_its_window_is_followed(qtbot, make_window):
    first, second = make_window("--pause", "0.02"), make_window()
    first.session.runs_go_on = True
    load_and_wait(qtbot, first, LONG)
    add(first)
    click(first, "queue_start_button")
    wait_for_status(qtbot, first, Status.RUNNING)
    first.close()
    write_text(RunFolder(Path(run_of(first).folder)).name_path, "by the user")
    load_and_wait(qtbot, second, SHORT)
    add(second)
    click(second, "queue_start_button")
    wait_for_status(qtbot, second, Status.RUNNING)
    assert run_of(second).folder == run_of(first).folder
    assert read_name(Path(run_of(first).folder)) == "by the user"
    assert statuses(second) == [S.RUNNING, S.WAITING]
    second.session.cancel()
    wait_for_status(qtbot, second, Status.CANCELLED)
    assert statuses(second) == [S.CANCELLED, S.WAITING]


def test_damaged_queue_is_reported_and_kept(make_window, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "queue.json").write_text("{")
    window = make_window()
    assert window.session.state.notice
    assert (runs / "queue-damaged.json").read_text() == "{"
    assert not queue_of(window).state.runs


def test_each_runs_folder_has_its_queue_and_one_that_fails_is_reported(
    qtbot, window, tmp_path, monkeypatch
):
    add_three(qtbot, window)
    window.session.draft.set_run_parent(str(tmp_path / "other"))
    assert not queue_of(window).state.runs
    window.session.draft.set_run_parent(str(tmp_path / "runs"))
    assert len(queue_of(window).state.waiting) == 3
    stored = msgspec.json.decode((tmp_path / "runs" / "queue.json").read_bytes())
    assert len(stored["runs"]) == 3
    check_unwritable(window, monkeypatch)


def check_unwritable(window, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    assert window.session.state.notice is None
    monkeypatch.setattr("surgeon_gui.state.queue.file.write_atomically", fail)
    click(window, "queue_add_button")
    assert "No space left" in window.session.state.notice.message
    assert len(queue_of(window).state.waiting) == 4
