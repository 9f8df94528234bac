"""The Export page after a run: saving in other formats, and measuring speed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QFileDialog

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.messages.commands import ExportRun
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.state.step_text import Mark
from surgeon_gui.text.problems import Step
from surgeon_gui.views.result import save_section
from tests.helpers.fake_engine import DELETED, NO_SPACE
from tests.helpers.fake_results import RAGGED
from tests.helpers.widget_queries import (
    SLOW_AFTER,
    choose,
    facts,
    is_on,
    item,
    mark,
    question,
    shown,
)
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    commands_of,
    find,
    load_and_wait,
    run_of,
    wait_for_status,
)

# saving in another format


def test_result_is_saved_in_another_format(make_finished, wait_until_idle, tmp_path):
    window = make_finished(*SLOW_AFTER)
    assert find(window, "save_format").currentText() == "GGUF for llama.cpp"
    choose(window, "save_dtype", FileDtype.Q8_0)
    click(window, "save_button")
    for name in ("save_button", "measure_button", "start_button", "save_format"):
        assert not is_on(window, name)
    assert "being saved" in find(window, "measure_button").toolTip()
    assert mark(window) is Mark.BUSY
    assert shown(window, "save_phase_label")
    assert is_on(window, "save_cancel_button")
    wait_until_idle(window)
    (saved,) = window.session.state.shown_run.saved
    assert saved.format is Format.GGUF
    assert saved.folder == f"{run_of(window).folder}/gguf"
    text = facts(window, "saved_list")
    for part in ("GGUF for llama.cpp", "8 bits", "2.1 MB", "llama-cpp-python"):
        assert part in text
    assert not find(window, "save_phase_label").isVisible()
    assert is_on(window, "start_button")


@pytest.mark.thorough
def test_saved_files_are_listed_latest_first(
    make_finished, wait_until_idle, monkeypatch
):
    opened = []
    monkeypatch.setattr(save_section, "open_folder", opened.append)
    window = make_finished("--unrun")
    click(window, "save_button")
    wait_until_idle(window)
    choose(window, "save_format", Format.MASKED)
    click(window, "save_button")
    wait_until_idle(window)
    saved = [saved.format for saved in window.session.state.shown_run.saved]
    assert saved == [Format.GGUF, Format.MASKED]
    text = facts(window, "saved_list")
    assert text.index("masked") < text.index("GGUF")
    assert "Not run" in text
    buttons = [
        each
        for each in window.findChildren(type(find(window, "save_button")))
        if each.objectName() == "open_saved_button" and each.isVisible()
    ]
    assert "masked" in buttons[0].accessibleName()
    buttons[0].click()
    assert opened == [window.session.state.shown_run.saved[1].folder]


@pytest.mark.thorough
def test_unsupported_formats_are_disabled_with_the_reason(make_finished):
    window = make_finished()
    is_enabled, tip = item(window, "save_format", Format.STOCK)
    assert not is_enabled
    assert RAGGED in tip
    assert "not possible; see" in shown(window, "save_unavailable_note")
    window.session.edit_save_config(ExportConfig(format=Format.STOCK))
    assert not is_on(window, "save_button")
    assert RAGGED in find(window, "save_button").toolTip()


@pytest.mark.thorough
def test_save_can_be_cancelled(make_finished, wait_until_idle):
    window = make_finished(*SLOW_AFTER)
    click(window, "save_button")
    click(window, "save_cancel_button")
    assert shown(window, "save_phase_label") == "Cancelling…"
    assert not is_on(window, "save_cancel_button")
    wait_until_idle(window)
    assert shown(window, "save_note") == "Saving was cancelled."
    assert window.session.state.shown_run.saved == ()
    assert mark(window) is Mark.READY
    assert is_on(window, "save_button")


def test_failed_save_is_reported_and_can_be_retried(
    make_finished, wait_until_idle, tmp_path
):
    window = make_finished()
    window.session.edit_save_config(ExportConfig(str(tmp_path / "full")))
    click(window, "save_button")
    wait_until_idle(window)
    assert NO_SPACE in shown(window, "save_problem")
    assert mark(window) is Mark.PROBLEM
    assert window.session.state.shown_run.saved == ()
    window.session.edit_save_config(ExportConfig(str(tmp_path / "free")))
    click(window, "save_button")
    wait_until_idle(window)
    assert shown(window, "save_problem") == ""
    assert mark(window) is Mark.READY


def test_save_replaces_only_after_confirmation(
    make_finished, wait_until_idle, occupied, monkeypatch
):
    window = make_finished()
    sent = commands_of(window, monkeypatch)
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    assert f"{occupied} holds an earlier export" in question(window).text()
    assert not window.session.state.request(RequestKind.SAVE).is_open
    click(window, "replace_cancel_button")
    assert not window.session.state.request(RequestKind.SAVE).id
    click(window, "save_button")
    click(window, "replace_yes_button")
    wait_until_idle(window)
    assert window.session.state.shown_run.saved[0].folder == str(occupied)
    assert [x.replace for x in sent if isinstance(x, ExportRun)] == [True]


def test_save_into_a_folder_with_other_files_shows_which(make_finished, occupied):
    window = make_finished()
    (occupied / "thesis.tex").touch()
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    assert "thesis.tex" in window.session.state.notice.message
    assert not window.session.state.request(RequestKind.SAVE).id


@pytest.mark.thorough
def test_replace_question_offers_another_folder(make_finished, occupied, tmp_path):
    window = make_finished()
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    click(window, "replace_other_button")
    dialog = window.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "other"))
    dialog.reject()
    assert window.session.state.save_config.folder == str(tmp_path / "other")
    assert not window.session.state.request(RequestKind.SAVE).id


@pytest.mark.thorough
def test_escape_cancels_the_replace_question(make_finished, occupied):
    window = make_finished()
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    assert question(window).defaultButton() is find(window, "replace_cancel_button")
    question(window).reject()
    assert not window.session.state.request(RequestKind.SAVE).id


def test_save_to_the_run_folder_is_rejected(make_finished):
    window = make_finished()
    folder = find(window, "save_folder")
    folder.setText(run_of(window).folder)
    folder.setModified(True)
    folder.editingFinished.emit()
    assert "own export" in shown(window, "save_problem")
    assert not is_on(window, "save_button")


# speed and memory


@pytest.mark.thorough
def test_speed_is_shown_until_the_next_run(qtbot, make_finished, wait_until_idle):
    window = make_finished(*SLOW_AFTER)
    assert shown(window, "measure_note").startswith("The original and the pruned")
    click(window, "measure_button")
    for name in ("measure_progress_bar", "progress_bar"):
        assert find(window, name).maximum() == 0  # it moves while the models load
    for name in ("measure_button", "save_button", "start_button", "preview_button"):
        assert not is_on(window, name)
    assert "being measured" in find(window, "start_button").toolTip()
    phase = find(window, "measure_phase_label")
    qtbot.waitUntil(lambda: "turn" in phase.text(), timeout=TIMEOUT_MS)
    assert find(window, "measure_progress_bar").value() >= 0
    wait_until_idle(window)
    assert "1.28 times as fast" in shown(window, "speed_words")
    # Qt shows widgets added to a layout in the next event loop iteration.
    qtbot.waitUntil(lambda: bool(facts(window, "speed_table")), timeout=TIMEOUT_MS)
    table = facts(window, "speed_table")
    for part in ("1,261", "1,620", "1.28", "5.7 MB", "tokens/s"):
        assert part in table
    assert "7 rounds" in shown(window, "speed_conditions")
    assert "1.28 times" in find(window, "log_text").toPlainText()
    click(window, "start_button")
    assert window.session.state.request(RequestKind.MEASUREMENT).response is None
    assert not find(window, "speed_table").isVisible()
    wait_for_status(qtbot, window, Status.FINISHED)


@pytest.mark.thorough
def test_second_measurement_replaces_the_first(qtbot, make_finished, wait_until_idle):
    window = make_finished()
    tables = []
    for _ in range(2):
        click(window, "measure_button")
        wait_until_idle(window)
        qtbot.waitUntil(lambda: bool(facts(window, "speed_table")))
        tables.append(sorted(facts(window, "speed_table").split("\n")))
    assert tables[0] == tables[1]


def test_measurement_can_be_cancelled(make_finished, wait_until_idle):
    window = make_finished(*SLOW_AFTER)
    click(window, "measure_button")
    click(window, "measure_cancel_button")
    wait_until_idle(window)
    assert shown(window, "measure_note") == "Measurement was cancelled."
    assert is_on(window, "measure_button")


@pytest.mark.thorough
def test_failed_measurement_is_reported(make_finished, wait_until_idle, tmp_path):
    config = replace(QUICK, export=ExportConfig(str(tmp_path / "deleted")))
    window = make_finished(config=config)
    click(window, "measure_button")
    wait_until_idle(window)
    assert DELETED in shown(window, "measure_problem")
    assert DELETED in shown(window, "error_message")
    assert mark(window) is Mark.READY


@pytest.mark.thorough
def test_exports_for_other_programs_cannot_be_measured(make_finished):
    config = replace(QUICK, export=ExportConfig(format=Format.GGUF))
    window = make_finished(config=config)
    assert not is_on(window, "measure_button")
    tip = find(window, "measure_button").toolTip()
    assert DESCRIPTIONS[Format.GGUF].label in tip


@pytest.mark.thorough
def test_engine_crash_ends_the_measurement(qtbot, make_window, wait_until_idle):
    window = make_window("--mishap", "crash", "--at", "measurement")
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    window.open_step(Step.EXPORT)
    click(window, "measure_button")
    wait_until_idle(window)
    assert "killed by the system" in shown(window, "measure_problem")
    assert is_on(window, "start_button")
