"""The Runs dock: search, rename, open and delete, also during a run."""

from __future__ import annotations

import gc
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QComboBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QTreeView,
    QWidget,
)

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.messages.commands import ResumeRun
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui import __main__
from surgeon_gui.controllers import runs as runs_module
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import (
    read_name,
    read_notes,
    read_tags,
    write_tags,
)
from surgeon_gui.views.runs.runs_table import COLUMNS, NAME, TitleDelegate, elided_title
from tests.helpers.exports import write_export
from tests.helpers.fake_runs import job, write_run, write_saved_state, write_three
from tests.helpers.locks import write_lock
from tests.helpers.widget_queries import facts, question, shown
from tests.helpers.window_audit import settle
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    commands_of,
    find,
    load_and_wait,
    run_of,
    run_until,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow

SLOW = ("--pause", "0.01")


@pytest.fixture
def make_history(qtbot, tmp_path, make_window):
    """Return a function that makes windows with three runs in the open Runs dock."""

    def make(*options, runs=3):
        write_three(tmp_path / "runs")
        window = make_window(*options)
        find(window, "runs_action", QAction).trigger()
        wait_until(qtbot, lambda: len(titles(window)) == runs)
        return window

    return make


@pytest.fixture
def history(make_history):
    return make_history()


def view_of(window):
    return find(window, "runs_table", QTreeView)


def titles(window):
    model = view_of(window).model()
    return [model.index(row, NAME).data() for row in range(model.rowCount())]


def choose(window, part):
    """Select the run whose title contains `part`."""
    view = view_of(window)
    row = next(n for n, title in enumerate(titles(window)) if part in title)
    view.setCurrentIndex(view.model().index(row, NAME))
    return view


def do(window, name):
    action = find(window, f"runs_{name}_action", QAction)
    assert action.isEnabled()
    action.trigger()


def answer(window, button):
    box = find(window, "delete_question", QMessageBox)
    assert box.isVisible()
    click(window, button)


def reopened(qtbot, window, part):
    choose(window, part)
    do(window, "open")
    wait_until(qtbot, lambda: part in window.session.state.shown_run.name)


def is_shown(window, folder):
    return run_of(window).folder == str(folder)


def test_latest_run_is_first_and_columns_can_be_sorted(history):
    assert [t.split(", ")[1][:2] for t in titles(history)] == ["30", "40", "20"]
    names = [column.title for column in COLUMNS]
    assert isinstance(view_of(history).itemDelegateForColumn(NAME), TitleDelegate)
    view_of(history).sortByColumn(names.index("Target"), Qt.SortOrder.AscendingOrder)
    assert [t.split(", ")[1][:2] for t in titles(history)] == ["20", "30", "40"]
    column = names.index("Perplexity")
    view_of(history).sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert titles(history)[0].endswith("30\xa0%")
    tip = view_of(history).model().index(0, NAME).data(Qt.ItemDataRole.ToolTipRole)
    assert titles(history)[0] in tip
    column = names.index("KL")
    view_of(history).sortByColumn(column, Qt.SortOrder.DescendingOrder)
    index = view_of(history).model().index(0, column)
    assert index.data() == "0.31"
    assert "0.28 to 0.34" in index.data(Qt.ItemDataRole.ToolTipRole)


def test_search_filters_the_list_or_shows_a_note(history):
    search = find(history, "runs_search_edit")
    search.setText("40")
    assert len(titles(history)) == 1
    search.setText("opt")
    assert titles(history) == []
    assert shown(history, "runs_note")
    settle()
    space = find(history, "runs_space_note", QLabel)
    assert space.height() == space.sizeHint().height()  # it stays at the bottom
    assert space.text().startswith("3 ")
    search.clear()
    assert len(titles(history)) == 3


def test_run_is_renamed_by_editing_its_name(qtbot, history, tmp_path):
    view = choose(history, "40")
    do(history, "rename")
    editor = view.viewport().findChild(QLineEdit)
    assert editor.text().startswith("Bundled demo, 40")
    editor.setText("the best")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    wait_until(qtbot, lambda: "the best" in titles(history))
    assert read_name(tmp_path / "runs" / "b") == "the best"


def test_return_opens_a_run_with_its_charts(qtbot, history):
    view = choose(history, "40")
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Return)
    wait_until(qtbot, lambda: "40" in history.session.state.shown_run.name)
    run = run_of(history)
    assert run.status is Status.FINISHED
    assert len(run.history) == 4
    assert "Bundled demo, 40" in shown(history, "earlier_label")
    click(history, "run_report_link")
    assert "14.20" in facts(history, "result_quality")
    click(history, "run_course_link")
    assert not find(history, "perplexity_chart").is_empty


def test_opened_run_shows_its_settings_until_they_are_used(qtbot, history):
    load_and_wait(qtbot, history)
    draft = history.session.state.config
    reopened(qtbot, history, "40")
    target, shots = find(history, "pruning_sparsity"), find(history, "pruning_shots")
    assert (shots.value(), shots.isEnabled(), target.isEnabled()) == (4, False, False)
    assert not find(history, "start_button").isEnabled()
    assert history.session.state.config == draft
    click(history, "earlier_close_button")
    assert shots.value() == draft.pruning.shots
    assert shots.isEnabled()
    reopened(qtbot, history, "40")
    click(history, "use_settings_button")
    run = run_of(history)
    assert history.session.state.config == run.config
    assert len(run.history) == 4  # it is still in view
    assert shots.isEnabled()
    assert find(history, "use_settings_button").isHidden()


def test_opened_run_can_be_saved_and_reported(qtbot, history):
    load_and_wait(qtbot, history)
    reopened(qtbot, history, "40")
    click(history, "run_report_link")
    assert find(history, "report_button").isVisible()
    click(history, "run_save_link")
    assert find(history, "save_button").isVisible()
    assert find(history, "report_html_action", QAction).isEnabled()
    click(history, "save_button")
    wait_until(qtbot, lambda: history.session.state.shown_run.saved)
    click(history, "earlier_close_button")
    assert run_of(history).status is Status.IDLE
    assert shown(history, "earlier_label") == ""


def test_unfinished_runs_can_be_opened(qtbot, tmp_path, window):
    phases = set()
    for ending in ("cancelled", "killed", "failed"):
        folder = write_run(tmp_path / "runs", ending, ending=ending)
        window.open_run(folder)
        wait_until(qtbot, partial(is_shown, window, folder))
        phases.add(find(window, "phase_label").text())
        assert not find(window, "sparsity_chart").is_empty
    assert len(phases) == 3
    assert shown(window, "error_message") == run_of(window).error.message


def test_long_titles_keep_what_tells_the_runs_apart(qtbot):
    view, title = QTreeView(), "A-model-with-a-long-name-Instruct, 30 %"
    qtbot.addWidget(view)
    metrics = view.fontMetrics()
    width = metrics.horizontalAdvance(title) - 20
    short = elided_title(title, metrics, width)
    assert short.startswith("A-mod") and short.endswith("30 %")
    assert metrics.horizontalAdvance(short) <= width


def test_run_is_opened_from_the_command_line(tmp_path):
    opened = []
    options = __main__.make_parser().parse_args(["--open", str(tmp_path)])
    __main__.load_job(SimpleNamespace(open_run=opened.append), options)
    assert opened == [tmp_path]


def test_damaged_run_is_listed_with_the_reason_and_cannot_be_opened(
    qtbot, tmp_path, make_window
):
    folder = write_run(tmp_path / "runs")
    RunFolder(folder).config_path.write_text("[[[")
    window = make_window()
    find(window, "runs_action", QAction).trigger()
    wait_until(qtbot, lambda: titles(window) == ["run"])
    choose(window, "run")
    assert not find(window, "runs_open_button").isEnabled()
    assert not find(window, "runs_duplicate_action", QAction).isEnabled()
    labels = find(window, "run_facts").findChildren(QLabel)
    assert any("run.toml" in label.text() for label in labels)
    for path in (folder, tmp_path / "nowhere"):
        window.session.dismiss_problem()
        window.open_run(path)
        wait_until(qtbot, lambda: shown(window, "error_message"))


def test_run_continues_while_an_earlier_one_is_shown(qtbot, make_history):
    window = make_history(*SLOW)
    run_until(qtbot, window, Status.RUNNING)
    live = run_of(window).run
    reopened(qtbot, window, "40")
    state = window.session.state
    assert state.run.run == live
    assert state.run.status.is_busy
    assert len(state.shown_run.history) == 4
    assert shown(window, "earlier_label")
    assert find(window, "cancel_action", QAction).isEnabled()
    window.open_run(Path(state.run.folder))  # closes the earlier one
    assert window.session.state.opened_run is None
    reopened(qtbot, window, "40")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert window.session.state.run.run == live
    assert len(window.session.state.shown_run.history) == 4  # the earlier one
    click(window, "earlier_close_button")
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
    model = view_of(window).model()
    status = [column.title for column in COLUMNS].index("Status")
    assert model.index(0, status).data() == "Running"
    view_of(window).setCurrentIndex(model.index(0, NAME))
    do(window, "delete")
    assert shown(window, "error_message")
    window.session.dismiss_problem()
    with qtbot.waitSignal(window._history.runs.opened):
        do(window, "open")  # it is in view
    assert window.session.state.notice is None
    wait_for_status(qtbot, window, Status.FINISHED)
    wait_until(qtbot, lambda: model.index(0, status).data() == "Finished")
    assert trashed == []


def test_run_is_moved_to_the_trash_only_after_confirmation(
    qtbot, history, monkeypatch, tmp_path
):
    def fail(folder):
        raise PermissionError(13, "No trash on this volume", folder)

    monkeypatch.setattr(runs_module, "send2trash", fail)
    reopened(qtbot, history, "40")
    do(history, "delete")
    answer(history, "delete_no_button")
    assert not shown(history, "error_message")
    do(history, "delete")
    answer(history, "delete_yes_button")
    wait_until(qtbot, lambda: "No trash" in shown(history, "error_message"))
    assert len(titles(history)) == 3
    monkeypatch.setattr(runs_module, "send2trash", shutil.rmtree)
    do(history, "delete")
    answer(history, "delete_yes_button")
    wait_until(qtbot, lambda: len(titles(history)) == 2)
    assert not (tmp_path / "runs" / "b").exists()
    assert run_of(history).status is Status.IDLE  # it is no longer shown


def test_settings_of_a_run_are_copied_to_the_job(history):
    choose(history, "40")
    for name in ("resume", "discard"):  # the run is complete
        assert not find(history, f"runs_{name}_action", QAction).isEnabled()
    do(history, "duplicate")
    assert history.session.state.config == job(sparsity=0.4, shots=4)
    assert find(history, "step_target_header").isChecked()


def test_another_runs_folder_is_read(qtbot, history, tmp_path):
    history.session.draft.set_run_parent(str(tmp_path / "empty"))
    wait_until(qtbot, lambda: shown(history, "runs_note"))
    empty = shown(history, "runs_note")
    history.session.draft.set_run_parent("/" + "a" * 5_000)  # cannot be read
    wait_until(qtbot, lambda: shown(history, "runs_note") not in ("", empty))
    write_run(tmp_path / "others", "only")
    history.session.draft.set_run_parent(str(tmp_path / "others"))
    wait_until(qtbot, lambda: len(titles(history)) == 1)
    write_run(tmp_path / "others", "second", hour=1)
    click(history, "runs_refresh_button")
    wait_until(qtbot, lambda: len(titles(history)) == 2)


def test_runs_opened_and_closed_leak_no_objects(qtbot, history, tmp_path):
    def open_and_close(times):
        for number in range(times):
            history.open_run(tmp_path / "runs" / "abc"[number % 3])
            wait_until(qtbot, lambda: history.session.state.shown_run.name)
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
    assert "1 shot" in shown(broken_off, "resume_label")
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
    find(broken_off, "runs_action", QAction).trigger()
    wait_until(qtbot, lambda: len(titles(broken_off)) == 1)
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
    find(window, "runs_action", QAction).trigger()
    wait_until(qtbot, lambda: len(titles(window)) == 1)
    resume = find(window, "runs_resume_action", QAction)
    box = find(window, "take_over_question", QMessageBox)
    for answered, is_kept in (("no", True), ("yes", False)):
        choose(window, "demo")
        assert not resume.isEnabled()
        do(window, "open")
        wait_until(qtbot, box.isVisible)
        assert "atlas" in box.text()
        click(window, f"take_over_{answered}_button")
        assert RunFolder(folder).is_being_worked_on == is_kept
    wait_until(qtbot, lambda: choose(window, "demo") and resume.isEnabled())


def test_saved_progress_is_discarded_once_confirmed(qtbot, broken_off, tmp_path):
    find(broken_off, "runs_action", QAction).trigger()
    wait_until(qtbot, lambda: len(titles(broken_off)) == 1)
    choose(broken_off, "demo")
    saved = RunFolder(tmp_path / "runs" / "broken").saved_state
    for button, is_kept in (("discard_no_button", True), ("discard_yes_button", False)):
        do(broken_off, "discard")
        assert find(broken_off, "discard_question", QMessageBox).isVisible()
        click(broken_off, button)
        if not is_kept:  # it is deleted in the background
            wait_until(qtbot, lambda: not saved.exists)
        assert saved.exists == is_kept
    wait_until(
        qtbot, lambda: not find(broken_off, "runs_resume_action", QAction).isEnabled()
    )
    assert not find(broken_off, "runs_discard_action", QAction).isEnabled()
    assert "resume_label" not in shown_names(broken_off)


def type_into(qtbot, window, name, text):
    edit = find(window, name)
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, text)
    return edit


def test_notes_and_tags_are_saved_when_another_run_is_selected_and_at_the_end(
    qtbot, history, tmp_path
):
    choose(history, "40")
    type_into(qtbot, history, "runs_tags_edit", "baseline, talk")
    type_into(qtbot, history, "runs_notes_edit", "the best so far")
    choose(history, "20")
    assert find(history, "runs_notes_edit").toPlainText() == ""
    assert find(history, "runs_tags_edit").text() == ""
    assert read_tags(tmp_path / "runs" / "b") == ("baseline", "talk")
    assert read_notes(tmp_path / "runs" / "b") == "the best so far"
    choose(history, "40")
    notes = find(history, "runs_notes_edit")
    wait_until(
        qtbot, lambda: find(history, "runs_tags_edit").text() == "baseline, talk"
    )
    wait_until(qtbot, lambda: notes.toPlainText() == "the best so far")
    type_into(qtbot, history, "runs_notes_edit", "half a sen")
    runs = history._history.runs
    with qtbot.waitSignal(runs.changed, timeout=TIMEOUT_MS):
        runs.set_tags(str(runs.state.records[0].folder), ("new",))
    assert notes.toPlainText() == "half a sen"  # also when the list is read again
    history.close()
    assert read_notes(tmp_path / "runs" / "b") == "half a sen"


def test_failed_notes_and_names_are_reported(qtbot, history, monkeypatch):
    def fail(folder, text):
        raise PermissionError(13, f"No {text}")

    for name in ("write_notes", "write_name"):
        monkeypatch.setattr(runs_module, name, fail)
    choose(history, "40")
    type_into(qtbot, history, "runs_notes_edit", "lost")
    choose(history, "20")
    assert "No lost" in shown(history, "error_message")
    model = view_of(history).model()
    model.setData(model.index(0, NAME), "another")
    assert "No another" in shown(history, "error_message")


def pick(window, name, text):
    box = find(window, name, QComboBox)
    assert box.findText(text) >= 0, text
    box.setCurrentIndex(box.findText(text))


def test_choices_filter_the_list_by_outcome_tag_and_model(
    qtbot, make_history, tmp_path
):
    write_run(tmp_path / "runs", "d", job(sparsity=0.6), ending="failed", hour=4)
    write_tags(tmp_path / "runs" / "d", ("talk",))
    window = make_history(runs=4)
    pick(window, "runs_outcome_combo", "Failed")
    assert len(titles(window)) == 1
    pick(window, "runs_outcome_combo", "All outcomes")
    assert len(titles(window)) == 4
    pick(window, "runs_tag_combo", "talk")
    assert [title.split(", ")[1][:2] for title in titles(window)] == ["60"]
    write_tags(tmp_path / "runs" / "d", ())
    click(window, "runs_refresh_button")
    wait_until(qtbot, lambda: len(titles(window)) == 4)  # the tag is no choice any more
    assert not find(window, "runs_tag_combo").isEnabled()
    pick(window, "runs_model_combo", "Bundled demo")
    assert len(titles(window)) == 4


def records_of(window):
    return window._history.runs.state.records


def test_export_is_deleted_after_a_question_with_its_size(
    qtbot, make_history, tmp_path
):
    export = tmp_path / "runs" / "b" / "export"
    window = make_history()
    export.mkdir()
    (export / "model.safetensors").write_bytes(bytes(7_000_000))
    write_marker(export)
    click(window, "runs_refresh_button")
    wait_until(qtbot, lambda: any(x.export_bytes for x in records_of(window)))
    choose(window, "20")
    assert not find(window, "runs_export_action", QAction).isEnabled()
    choose(window, "40")
    assert "7.0 MB" in facts(window, "run_facts")
    assert not find(window, "runs_checkpoint_action", QAction).isEnabled()
    action = find(window, "runs_export_action", QAction)
    assert "7.0\xa0MB" in action.text()
    do(window, "export")
    box = find(window, "part_question", QMessageBox)
    assert "40" in box.text()
    assert "7.0\xa0MB" in box.informativeText()
    click(window, "part_no_button")
    assert export.exists()
    do(window, "export")
    click(window, "part_yes_button")
    wait_until(qtbot, lambda: not action.isEnabled())
    assert not export.exists()
    assert len(titles(window)) == 3


def test_double_click_opens_the_run_under_the_mouse(qtbot, make_history, tmp_path):
    for number in range(5):
        write_run(tmp_path / "runs", f"more{number}", job(sparsity=0.6), hour=5)
    window = make_history(runs=8)
    settle()
    view = view_of(window)
    assert shown(window, "runs_details_note")
    before = view.geometry()
    index = view.model().index(3, NAME)
    place = view.visualRect(index).center()
    assert view.viewport().rect().contains(place)
    where = view.viewport().mapTo(window, place)
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    settle()
    assert view.geometry() == before
    assert window.childAt(where) is view.viewport()
    assert not find(window, "runs_details_note").isVisible()
    QTest.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    wait_until(qtbot, lambda: index.data() in window.session.state.shown_run.name)
