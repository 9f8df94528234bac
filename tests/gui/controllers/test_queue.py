"""The queue does its runs one after another, also after a restart of the window."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method, PrunableShare
from surgeon_engine.api.messages.commands import StartRun
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.queue.state import QueueStatus
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import read_name
from surgeon_gui.window.central_tabs import CentralTabs
from tests.helpers.exports import write_export
from tests.helpers.fake_engine import FAILURE
from tests.helpers.fake_runs import write_run, write_saved_state
from tests.helpers.locks import write_lock
from tests.helpers.windows import (
    LONG,
    QUICK,
    TIMEOUT_MS,
    click,
    commands_of,
    find,
    find_type,
    load_and_wait,
    run_of,
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
        add(window, target=PrunableShare(share), method=method)


def wait_for_end(qtbot, window):
    wait(qtbot, lambda: queue_of(window).state.is_complete)
    wait(qtbot, lambda: not queue_of(window).state.is_working)


def started_runs(window):
    """Collect the folders of all runs that end in a window."""
    folders = []
    window.session.run_ended.connect(lambda run: folders.append(run.folder))
    return folders


def test_failing_run_is_marked_and_the_next_one_begins(qtbot, make_window, tmp_path):
    window = make_window("--fail-method", "magnitude")
    folders = started_runs(window)
    ends = []
    queue_of(window).ended.connect(ends.append)
    add_three(qtbot, window, failing=Method.MAGNITUDE)
    assert run_of(window).status is Status.IDLE  # nothing begins by itself
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED, S.FAILED, S.FINISHED]
    assert queue_of(window).state.runs[1].problem == FAILURE
    assert [run.folder for run in queue_of(window).state.runs] == folders
    assert len(set(folders)) == 3
    assert ends == [queue_of(window).state]
    names = [read_name(Path(folder)).replace("\xa0", " ") for folder in folders]
    assert names == ["Bundled demo, 10 %, LLM Surgeon", "", *names[2:]]
    assert names[2] == "Bundled demo, 30 %, LLM Surgeon"
    assert not (tmp_path / "runs" / "queue.json").exists()


def test_comparison_of_the_finished_runs_opens_at_the_end(qtbot, make_window):
    window = make_window("--fail-method", "magnitude")
    add_three(qtbot, window, failing=Method.MAGNITUDE)
    tabs = find_type(window, CentralTabs)
    opened = []
    window.session.run_ended.connect(lambda run: opened.append(tabs.open_name))
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert set(opened) == {"live_tab"}  # no run but the last opens another tab
    wait(qtbot, lambda: tabs.open_name == "compare_tab")
    comparison = window._history.comparison
    wait(qtbot, lambda: len(comparison.compared) == 2)
    wait(qtbot, lambda: all(each.run.result for each in comparison.compared))
    sparsities = [each.run.history[-1].sparsity for each in comparison.compared]
    assert sparsities == pytest.approx([0.1, 0.3], abs=0.02)


@pytest.mark.thorough
def test_queue_of_one_run_opens_its_result(qtbot, window):
    load_and_wait(qtbot, window, SHORT)
    add(window, target=PrunableShare(0.2))
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    tabs = find_type(window, CentralTabs)
    wait(qtbot, lambda: tabs.open_name == "result_tab")


@pytest.mark.thorough
def test_runs_added_during_a_run_begin_after_it(qtbot, make_window):
    window = make_window(*SLOW)
    folders = started_runs(window)
    load_and_wait(qtbot, window, SHORT)
    window.start_run()
    first = run_of(window).folder
    add(window, target=PrunableShare(0.1))
    assert queue_of(window).state.is_working
    assert "when the engine is free" in find(window, "queue_summary").text()
    wait_for_end(qtbot, window)
    assert folders[0] == first and len(folders) == 2
    assert statuses(window) == [S.FINISHED]


@pytest.mark.thorough
def test_stop_ends_the_queue_after_the_run_in_progress(qtbot, make_window):
    window = make_window(*SLOW)
    add_three(qtbot, window)
    ends = []
    queue_of(window).ended.connect(ends.append)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    button = find(window, "queue_start_button")
    assert button.text() == "Stop after this run"
    button.click()
    assert button.text() == "Start queue"
    wait(qtbot, lambda: ends)
    wait(qtbot, lambda: not window.session.state.is_busy)
    assert statuses(window) == [S.FINISHED, S.WAITING, S.WAITING]
    button.click()
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3


@pytest.mark.thorough
def test_cancelling_a_run_stops_the_queue(qtbot, make_window):
    window = make_window(*SLOW)
    add_three(qtbot, window, LONG)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "cancel_button")
    wait_for_status(qtbot, window, Status.CANCELLED)
    qtbot.wait(100)
    assert statuses(window) == [S.CANCELLED, S.WAITING, S.WAITING]
    assert not queue_of(window).state.is_working
    assert run_of(window).status is Status.CANCELLED


@pytest.mark.thorough
def test_run_that_cannot_begin_any_more_is_marked(qtbot, window, tmp_path):
    out = tmp_path / "out"
    load_and_wait(qtbot, window, SHORT)
    window.session.draft.edit_part(ExportConfig(str(out)))
    add(window, target=PrunableShare(0.1))
    window.session.draft.edit_part(ExportConfig())
    add(window, target=PrunableShare(0.2))
    out.mkdir()
    (out / "thesis.tex").touch()
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FAILED, S.FINISHED]
    assert "not empty" in queue_of(window).state.runs[0].problem


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


@pytest.mark.thorough
def test_earlier_run_stays_open_while_the_queue_goes_on(qtbot, make_window, tmp_path):
    earlier = write_run(tmp_path / "runs", "earlier")
    window = make_window(*SLOW)
    folders = started_runs(window)
    add_three(qtbot, window)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    window.open_run(earlier)
    wait(qtbot, lambda: window.session.state.opened_run is not None)
    wait(qtbot, lambda: len(folders) == 1 and window.session.state.is_busy)
    assert window.session.state.shown_run.folder == str(earlier)
    assert find(window, "earlier_close_button").isVisible()
    wait_for_end(qtbot, window)


def test_queue_is_paused_at_the_next_start_and_goes_on(qtbot, make_window):
    first = make_window(*SLOW)
    add_three(qtbot, first)
    click(first, "queue_start_button")
    wait_for_status(qtbot, first, Status.RUNNING)
    first.close()
    assert "2 waiting runs stay in the queue." in (
        find(first, "close_question").informativeText()
    )
    with qtbot.waitSignal(first.closed, timeout=TIMEOUT_MS):
        click(first, "close_keep_button")
    assert statuses(first) == [S.FINISHED, S.WAITING, S.WAITING]
    window = make_window()
    assert statuses(window) == [S.FINISHED, S.WAITING, S.WAITING]
    assert find(window, "queue_resume_button").isVisible()
    assert "2 runs wait" in find(window, "queue_offer_label").text()
    qtbot.wait(100)
    assert run_of(window).status is Status.IDLE
    click(window, "queue_resume_button")
    assert not find(window, "queue_resume_button").isVisible()
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3
    wait(qtbot, lambda: len(window._history.comparison.compared) == 3)


@pytest.mark.thorough
def test_failure_while_the_window_closes_stops_the_queue(qtbot, make_window):
    window = make_window("--pause", "0.05", "--mishap", "fail", "--at", "update")
    add_three(qtbot, window)
    click(window, "queue_start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    window.close()
    click(window, "close_keep_button")
    wait_for_status(qtbot, window, Status.FAILED)
    qtbot.wait(200)
    assert window.isVisible()
    assert statuses(window) == [S.FAILED, S.WAITING, S.WAITING]


@pytest.mark.thorough
def test_closing_with_cancel_cancels_that_run_alone(qtbot, make_window):
    first = make_window(*SLOW)
    add_three(qtbot, first, LONG)
    click(first, "queue_start_button")
    wait_for_status(qtbot, first, Status.RUNNING)
    first.close()
    with qtbot.waitSignal(first.closed, timeout=TIMEOUT_MS):
        click(first, "close_cancel_button")
    window = make_window()
    assert statuses(window) == [S.CANCELLED, S.WAITING, S.WAITING]
    click(window, "queue_later_button")
    assert not find(window, "queue_later_button").isVisible()
    assert len(queue_of(window).state.waiting) == 2


def test_queue_of_another_computer_is_taken_over(qtbot, make_window, tmp_path):
    first = make_window()
    add_three(qtbot, first)
    queue_of(first).close()
    write_lock(tmp_path / "runs" / "queue-process.json")
    window = make_window()
    assert statuses(window) == []
    assert queue_of(window).add_obstacle()
    assert "atlas" in find(window, "queue_offer_label").text()
    assert not find(window, "queue_resume_button").isVisible()
    click(window, "queue_take_over_button")
    assert statuses(window) == [S.WAITING] * 3
    assert not find(window, "queue_take_over_button").isVisible()
    assert find(window, "queue_resume_button").isVisible()


def test_queue_of_another_computer_may_stay_there(qtbot, make_window, tmp_path):
    lock = tmp_path / "runs" / "queue-process.json"
    lock.parent.mkdir(exist_ok=True)
    write_lock(lock)
    window = make_window()
    click(window, "queue_later_button")
    assert not find(window, "queue_take_over_button").isVisible()
    assert queue_of(window).add_obstacle()
    assert lock.exists()


def crash_in_the_second_run(qtbot, make_window):
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
    return folder


@pytest.mark.thorough
def test_interrupted_run_is_resumed_first(qtbot, make_window):
    folder = crash_in_the_second_run(qtbot, make_window)
    write_saved_state(folder, 1)
    window = make_window()
    assert queue_of(window).state.next.folder == str(folder)
    assert not find(window, "resume_run_button").isVisible()  # the queue offers it
    click(window, "queue_resume_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3
    assert queue_of(window).state.runs[1].folder == str(folder)
    assert b"RunResumed" in (folder / "events.jsonl").read_bytes()


@pytest.mark.thorough
def test_interrupted_run_without_a_saved_state_begins_anew(qtbot, make_window):
    folder = crash_in_the_second_run(qtbot, make_window)
    shutil.rmtree(folder / "resume", ignore_errors=True)
    window = make_window()
    click(window, "queue_resume_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FINISHED] * 3
    assert queue_of(window).state.runs[1].folder != str(folder)


def test_queue_goes_on_after_a_crash_of_the_engine(qtbot, make_window):
    window = make_window("--mishap", "crash", "--at", "update")
    load_and_wait(qtbot, window, SHORT)
    add(window, target=PrunableShare(0.1))
    add(window, target=PrunableShare(0.2))
    click(window, "queue_start_button")
    wait_for_end(qtbot, window)
    assert statuses(window) == [S.FAILED] * 2


@pytest.mark.thorough
def test_another_window_has_the_queue(qtbot, make_window):
    first, second = make_window(), make_window()
    add_three(qtbot, first)
    load_and_wait(qtbot, second, SHORT)
    button = find(second, "queue_add_button")
    assert not button.isEnabled()
    assert "Another window" in button.toolTip()
    with qtbot.waitSignal(first.closed, timeout=TIMEOUT_MS):
        first.close()
    second.session.draft.edit_part(
        replace(SHORT.pruning, target=PrunableShare(0.4))
    )  # redraws
    click(second, "queue_add_button")
    assert len(queue_of(second).state.waiting) == 4


@pytest.mark.thorough
def test_damaged_queue_is_reported_and_kept(make_window, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "queue.json").write_text("{")
    window = make_window()
    assert "cannot be read" in window.session.state.notice.message
    assert (runs / "queue-damaged.json").read_text() == "{"
    assert not queue_of(window).state.runs


@pytest.mark.thorough
def test_each_runs_folder_has_its_queue(qtbot, window, tmp_path):
    add_three(qtbot, window)
    window.session.draft.set_run_parent(str(tmp_path / "other"))
    assert not queue_of(window).state.runs
    window.session.draft.set_run_parent(str(tmp_path / "runs"))
    assert len(queue_of(window).state.waiting) == 3
    stored = msgspec.json.decode((tmp_path / "runs" / "queue.json").read_bytes())
    assert len(stored["runs"]) == 3


@pytest.mark.thorough
def test_queue_that_cannot_be_written_is_reported(qtbot, window, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    load_and_wait(qtbot, window, SHORT)
    monkeypatch.setattr("surgeon_gui.state.queue.file.write_atomically", fail)
    click(window, "queue_add_button")
    assert "No space left" in window.session.state.notice.message
    assert len(queue_of(window).state.waiting) == 1
