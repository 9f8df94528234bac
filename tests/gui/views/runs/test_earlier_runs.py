"""Earlier runs in a window are opened, resumed and taken over, also during a run."""

import gc
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QMessageBox, QWidget

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import ResumeRun
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui import __main__
from surgeon_gui.controllers import runs as runs_module
from surgeon_gui.state.run import Status
from surgeon_gui.window.places import Place
from tests.helpers.exports import write_export
from tests.helpers.fake_runs import write_run, write_saved_state, write_three
from tests.helpers.locks import write_lock
from tests.helpers.run_cards import action_of, card_of, choose, do, titles
from tests.helpers.widget_queries import facts, question, shown
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    commands_of,
    find,
    load_and_wait,
    open_place,
    run_of,
    run_until,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow

SLOW = ("--pause", "0.01")
SPOKEN = Qt.ItemDataRole.AccessibleTextRole


@pytest.fixture
def make_history(qtbot, tmp_path, make_window):
    """Return a function that makes windows with three runs, whose cards are shown."""

    def make(*options):
        write_three(tmp_path / "runs")
        window = make_window(*options)
        show_runs(qtbot, window, 3)
        return window

    return make


@pytest.fixture
def history(make_history):
    return make_history()


def show_runs(qtbot, window, count):
    open_place(window, "runs")
    wait_until(qtbot, lambda: len(titles(window)) == count)


def reopened(qtbot, window, part):
    choose(window, part)
    do(window, "open")
    wait_until(qtbot, lambda: part in window.session.state.shown_run.name)


def is_shown(window, folder):
    return run_of(window).folder == str(folder)


def test_opened_run_has_its_figures_and_charts_and_can_be_saved(qtbot, history):
    reopened(qtbot, history, "40")
    run = run_of(history)
    assert run.status is Status.FINISHED
    assert len(run.history) == 4
    assert history.runs.shows_run
    assert "Bundled demo" in find(history, "run_name").text()
    click(history, "run_report_link")
    assert "14.20" in facts(history, "result_quality")
    click(history, "run_course_link")
    assert not find(history, "perplexity_chart").is_empty
    history.session.close_opened_run()
    check_saving(qtbot, history)


def test_latest_run_that_is_asked_for_is_shown(qtbot, history, monkeypatch, tmp_path):
    slow = Event()
    read = runs_module._open

    def opened(folder):
        if folder.name == "b":
            slow.wait(TIMEOUT_MS / 1000)
        return read(folder)

    monkeypatch.setattr(runs_module, "_open", opened)
    first, second = (str(tmp_path / "runs" / name) for name in "ba")
    history.runs.runs.reopen(first)
    history.runs.runs.reopen(second)
    wait_until(qtbot, lambda: history.session.state.shown_run.folder == second)
    slow.set()
    qtbot.wait(200)
    assert history.session.state.shown_run.folder == second


def test_settings_of_an_opened_run_become_the_draft_on_a_click(qtbot, history):
    history.runs.home.compare_clicked.emit()
    assert find(history, "compare_note").isVisible()
    click(history, "compare_back_button")
    assert history.runs.home.isVisible()
    load_and_wait(qtbot, history)
    draft = history.session.state.config
    reopened(qtbot, history, "40")
    assert history.session.state.config == draft
    click(history, "run_back_button")
    assert history.runs.home.isVisible()
    reopened(qtbot, history, "40")
    click(history, "run_settings_link")
    click(history, "copy_settings_button")
    run = run_of(history)
    assert history.session.state.config == run.config
    assert history.places.current is Place.NEW
    assert len(run.history) == 4  # it is still in view
    assert find(history, "pruning_shots").value() == 4


def check_saving(qtbot, history):
    load_and_wait(qtbot, history)
    reopened(qtbot, history, "40")
    assert find(history, "report_html_action", QAction).isEnabled()
    click(history, "run_report_link")
    assert find(history, "report_button").isVisible()
    click(history, "run_save_link")
    assert find(history, "save_button").isVisible()
    click(history, "save_button")
    wait_until(qtbot, lambda: history.session.state.shown_run.saved)
    history.session.close_opened_run()
    assert run_of(history).status is Status.IDLE
    assert history.runs.home.isVisible()


def test_unfinished_runs_can_be_opened(qtbot, tmp_path, window):
    outcomes = set()
    for ending in ("cancelled", "killed", "failed"):
        folder = write_run(tmp_path / "runs", ending, ending=ending)
        window.runs.open_run(folder)
        wait_until(qtbot, partial(is_shown, window, folder))
        outcomes.add(find(window, "run_title").text())
        assert not find(window, "sparsity_chart").is_empty
    assert len(outcomes) == 3
    reason = run_of(window).error.message
    assert reason in shown(window, "error_message")
    window.session.dismiss_problem()
    assert reason in shown(window, "run_time")
    config = run_of(window).config
    click(window, "run_again_button")
    assert window.session.state.config == config
    assert window.places.current is Place.NEW


def test_run_is_opened_from_the_command_line(tmp_path):
    opened = []
    options = __main__.make_parser().parse_args(["--open", str(tmp_path)])
    runs = SimpleNamespace(open_run=opened.append)
    __main__.load_job(SimpleNamespace(runs=runs), options)
    assert opened == [tmp_path]


def test_model_is_opened_from_the_command_line_and_by_file_managers(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").touch()
    chosen = []
    session = SimpleNamespace(draft=SimpleNamespace(choose_model=chosen.append))
    for model in ("model.gguf", str(tmp_path), "demo", "hf://org/name"):
        options = __main__.make_parser().parse_args([model])
        __main__.load_job(SimpleNamespace(session=session), options)
    file = str(tmp_path / "model.gguf")
    assert chosen == [file, str(tmp_path), "demo", "hf://org/name"]


def test_run_continues_while_an_earlier_one_is_shown(qtbot, make_history):
    window = make_history(*SLOW)
    run_until(qtbot, window, Status.RUNNING)
    live = run_of(window).run
    reopened(qtbot, window, "40")
    state = window.session.state
    assert state.run.run == live
    assert state.run.status.is_busy
    assert len(state.shown_run.history) == 4
    assert find(window, "cancel_action", QAction).isEnabled()
    window.runs.open_run(Path(state.run.folder))  # closes the earlier one
    assert window.session.state.opened_run is None
    reopened(qtbot, window, "40")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert window.session.state.run.run == live
    assert len(window.session.state.shown_run.history) == 4  # the earlier one
    window.session.close_opened_run()
    assert window.session.state.shown_run.run == live


def test_run_in_progress_is_listed_and_cannot_be_deleted(
    qtbot, make_history, monkeypatch
):
    trashed = []
    monkeypatch.setattr(runs_module, "send2trash", trashed.append)
    window = make_history(*SLOW)
    load_and_wait(qtbot, window)
    window.start_run()
    wait_until(qtbot, lambda: len(titles(window)) == 4)
    index = card_of(window, "30")
    wait_until(qtbot, lambda: "Running, " in index.data(SPOKEN))
    choose(window, "30")
    do(window, "delete")
    assert shown(window, "error_message")
    window.session.dismiss_problem()
    with qtbot.waitSignal(window.runs.runs.opened):
        do(window, "open")  # it is in view
    assert window.session.state.notice is None
    wait_for_status(qtbot, window, Status.FINISHED)
    wait_until(qtbot, lambda: "Running" not in card_of(window, "").data(SPOKEN))
    assert trashed == []


def test_runs_opened_and_closed_leak_no_objects(qtbot, history, tmp_path):
    def open_and_close(times):
        for number in range(times):
            history.runs.open_run(tmp_path / "runs" / "abc"[number % 3])
            wait_until(qtbot, lambda: history.session.state.shown_run.name)
            find(history, "run_course_link").setChecked(True)
            find(history, "more_charts_button").setChecked(True)
            history.runs.page.grab()
            history.session.close_opened_run()

    open_and_close(6)  # until caches are filled
    widgets, before = len(history.findChildren(QWidget)), object_counts()
    open_and_close(12)
    assert len(history.findChildren(QWidget)) == widgets
    added = object_counts() - before
    assert added.total() < 12, added  # plots keep a few paths, but not one per run


def object_counts():
    """Return the number of live objects of each class of Surgeon, Qt and pyqtgraph."""
    gc.collect()
    classes = [type(x) for x in gc.get_objects()]
    packages = ("surgeon_", "PySide6", "pyqtgraph")
    return Counter(
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in classes
        if str(cls.__module__).startswith(packages)
    )


@pytest.fixture
def broken_off(qtbot, tmp_path, make_window):
    """Return a window with a run that was interrupted after its first shot."""
    folder = write_run(tmp_path / "runs", "broken", ending="killed")
    write_saved_state(folder)
    window = make_window()
    wait_until(qtbot, find(window, "resume_label").isVisible)
    return window


def assert_resumed(qtbot, window):
    wait_for_status(qtbot, window, Status.FINISHED)
    assert [shot.shot for shot in run_of(window).history] == [1, 2, 3]
    assert "resume_label" not in shown_names(window)


def shown_names(window):
    return {x.objectName() for x in window.findChildren(QLabel) if x.isVisible()}


def test_interrupted_run_is_offered_at_the_start_and_resumed(qtbot, broken_off):
    assert "after shot 1 of 3" in shown(broken_off, "resume_label")
    broken_off.runs.open_run(Path(broken_off.runs.runs.state.to_resume.folder))
    wait_until(qtbot, find(broken_off, "run_resume_button").isVisible)
    assert not find(broken_off, "resume_run_button").isVisible()
    broken_off.session.close_opened_run()
    click(broken_off, "resume_run_button")
    assert_resumed(qtbot, broken_off)


def test_resumed_run_asks_before_it_replaces_an_export(
    qtbot, make_window, tmp_path, monkeypatch
):
    out = write_export(tmp_path / "out")
    config = RunConfig(export=ExportConfig(str(out)))
    write_saved_state(write_run(tmp_path / "runs", "a", config, ending="killed"))
    window = make_window()
    sent = commands_of(window, monkeypatch)
    wait_until(qtbot, find(window, "resume_label").isVisible)
    for answer in ("cancel", "yes"):
        click(window, "resume_run_button")
        wait_until(qtbot, lambda: question(window).isVisible())
        assert str(out) in question(window).text()
        click(window, f"replace_{answer}_button")
    assert [x.replace for x in sent if isinstance(x, ResumeRun)] == [True]
    wait_for_status(qtbot, window, Status.FINISHED)


def test_interrupted_run_is_resumed_later_from_the_list(qtbot, broken_off):
    click(broken_off, "resume_later_button")
    assert "resume_label" not in shown_names(broken_off)
    show_runs(qtbot, broken_off, 1)
    choose(broken_off, "demo")
    do(broken_off, "resume")
    assert_resumed(qtbot, broken_off)


def test_run_of_another_computer_is_taken_over_once_confirmed(
    qtbot, make_window, tmp_path
):
    folder = write_run(tmp_path / "runs", "broken", ending="killed")
    write_saved_state(folder)
    write_lock(RunFolder(folder).process_path)
    window = make_window()
    show_runs(qtbot, window, 1)
    resume = action_of(window, "resume")
    box = find(window, "take_over_question", QMessageBox)
    for answered, is_kept in (("no", True), ("yes", False)):
        choose(window, "demo")
        assert not resume.isVisible()
        do(window, "open")
        wait_until(qtbot, box.isVisible)
        assert "atlas" in box.text()
        click(window, f"take_over_{answered}_button")
        assert RunFolder(folder).is_being_worked_on == is_kept
    wait_until(qtbot, lambda: choose(window, "demo") and resume.isVisible())
