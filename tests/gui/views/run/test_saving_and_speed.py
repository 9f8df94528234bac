"""A finished run: saving in other formats, and measuring speed."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtWidgets import QFileDialog

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.messages.commands import ExportRun
from surgeon_gui.state.job.checks import save_destination
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text.choices import choice_label
from surgeon_gui.views import bars
from surgeon_gui.views.run import save_section
from tests.helpers.fake_engine import DELETED, NO_SPACE
from tests.helpers.fake_results import RAGGED
from tests.helpers.widget_queries import (
    SLOW_AFTER,
    choose,
    facts,
    is_on,
    item,
    question,
    shown,
)
from tests.helpers.window_audit import settle
from tests.helpers.windows import (
    QUICK,
    click,
    commands_of,
    find,
    open_place,
    run_of,
    wait_for_status,
    wait_until,
)


@pytest.fixture
def make_finished(make_finished):
    """Return a factory of windows after a run, with the formats open."""

    def make(*options, **changes):
        window = make_finished(*options, **changes)
        click(window, "run_save_link")
        settle()
        return window

    return make


# saving in another format


def test_result_is_saved_in_other_formats(make_finished, wait_until_idle, monkeypatch):
    opened = []
    monkeypatch.setattr(save_section, "open_folder", opened.append)
    window = make_finished(*SLOW_AFTER)
    assert find(window, "save_format").currentIndex() == list(Format).index(Format.GGUF)
    is_enabled, tip = item(window, "save_format", Format.PLAIN)
    assert not is_enabled
    assert RAGGED in tip
    choose(window, "save_dtype", FileDtype.Q8_0)
    click(window, "save_button")
    for name in ("save_button", "start_button", "save_format"):
        assert not is_on(window, name)
    assert not find(window, "measure_button").isVisible()
    assert shown(window, "measure_note")
    assert shown(window, "save_phase_label")
    assert is_on(window, "save_cancel_button")
    wait_until_idle(window)
    (saved,) = window.session.state.shown_run.saved
    assert saved.folder in shown(window, "saved_label")  # in sight, wherever one is
    assert saved.format is Format.GGUF
    assert saved.folder == f"{run_of(window).folder}/gguf-q8_0"
    assert "2.1 MB" in facts(window, "saved_list")
    assert not find(window, "save_phase_label").isVisible()
    assert is_on(window, "start_button")
    choose(window, "save_format", Format.MASKED)
    click(window, "save_button")
    wait_until_idle(window)
    assert [x.format for x in window.session.state.shown_run.saved] == [
        Format.GGUF,
        Format.MASKED,
    ]
    text = facts(window, "saved_list")
    assert text.index("masked") < text.index("GGUF")  # the latest is first
    buttons = [
        each
        for each in window.findChildren(type(find(window, "save_button")))
        if each.objectName() == "open_saved_button" and each.isVisible()
    ]
    buttons[0].click()
    assert opened == [window.session.state.shown_run.saved[1].folder]
    window.session.edit_save_config(ExportConfig(format=Format.PLAIN))
    assert not is_on(window, "save_button")
    assert RAGGED in find(window, "save_button").toolTip()
    window.session.edit_save_config(ExportConfig(run_of(window).folder))
    assert shown(window, "save_problem")  # there is the run's own export
    assert not is_on(window, "save_button")


def test_short_number_format_like_the_original_is_saved_as_a_gguf_file(make_finished):
    window = make_finished(*SLOW_AFTER)
    window.session.edit_save_config(ExportConfig())
    assert find(window, "save_folder").placeholderText().endswith("transformers")
    window.session.edit_save_config(ExportConfig(dtype=FileDtype.Q8_0))
    assert find(window, "save_folder").placeholderText().endswith("gguf-q8_0")
    assert save_destination(window.session.state).name == "gguf-q8_0"
    assert shown(window, "save_format_note") == choice_label(Format.GGUF)[1]


def test_save_and_measurement_can_be_cancelled(make_finished, wait_until_idle):
    window = make_finished(*SLOW_AFTER)
    click(window, "save_button")
    click(window, "save_cancel_button")
    assert not is_on(window, "save_cancel_button")
    wait_until_idle(window)
    assert shown(window, "save_note")
    assert window.session.state.shown_run.saved == ()
    assert is_on(window, "save_button")
    note = shown(window, "measure_note")
    click(window, "measure_button")
    click(window, "measure_cancel_button")
    wait_until_idle(window)
    assert shown(window, "measure_note") not in ("", note)
    assert is_on(window, "measure_button")


def test_focus_returns_to_the_button_that_saves(
    qtbot, make_finished, wait_until_idle, monkeypatch
):
    opened = []
    monkeypatch.setattr(bars, "open_folder", opened.append)
    window = make_finished(*SLOW_AFTER)
    choose(window, "save_format", Format.COMPACT)
    window.session.edit_save_config(
        replace(window.session.state.save_config, dtype=FileDtype.FLOAT16)
    )
    find(window, "save_button").setFocus()
    click(window, "save_button")
    assert window.focusWidget() is find(window, "save_cancel_button")
    wait_until_idle(window)
    wait_until(qtbot, lambda: window.focusWidget() is find(window, "save_button"))
    # The bar says so as long as the page is open; it opens the folder itself.
    (saved,) = window.session.state.shown_run.saved
    Path(saved.folder).mkdir(parents=True, exist_ok=True)
    click(window, "saved_folder_button")
    assert opened == [saved.folder]
    assert find(window, "saved_label").isVisible()
    open_place(window, "new")
    open_place(window, "runs")
    assert not find(window, "saved_label").isVisible()


def test_failed_save_is_reported_and_can_be_retried(
    make_finished, wait_until_idle, tmp_path
):
    window = make_finished()
    window.session.edit_save_config(ExportConfig(str(tmp_path / "full")))
    click(window, "save_button")
    wait_until_idle(window)
    assert NO_SPACE not in shown(window, "save_problem")  # the bar says it
    window.session.dismiss_problem()
    assert NO_SPACE in shown(window, "save_problem")
    assert window.session.state.shown_run.saved == ()
    window.session.edit_save_config(ExportConfig(str(tmp_path / "free")))
    click(window, "save_button")
    wait_until_idle(window)
    assert shown(window, "save_problem") == ""


def test_save_replaces_only_after_confirmation(
    make_finished, wait_until_idle, occupied, monkeypatch, tmp_path
):
    window = make_finished()
    sent = commands_of(window, monkeypatch)
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    assert str(occupied) in question(window).text()
    assert not window.session.state.request(RequestKind.SAVE).is_open
    assert question(window).defaultButton() is find(window, "replace_cancel_button")
    for decline in (
        find(window, "replace_cancel_button").click,
        question(window).reject,
    ):
        click(window, "save_button")
        decline()
        assert not window.session.state.request(RequestKind.SAVE).id
    click(window, "save_button")
    click(window, "replace_other_button")
    dialog = window.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "other"))
    dialog.reject()
    assert window.session.state.save_config.folder == str(tmp_path / "other")
    assert not window.session.state.request(RequestKind.SAVE).id
    window.session.edit_save_config(ExportConfig(str(occupied)))
    click(window, "save_button")
    click(window, "replace_yes_button")
    wait_until_idle(window)
    assert window.session.state.shown_run.saved[0].folder == str(occupied)
    assert [x.replace for x in sent if isinstance(x, ExportRun)] == [True]
    (occupied / "thesis.tex").touch()
    click(window, "save_button")
    assert "thesis.tex" in window.session.state.notice.message
    assert [x.replace for x in sent if isinstance(x, ExportRun)] == [True]


# speed and memory


def test_speed_is_shown_until_the_next_run(qtbot, make_finished, wait_until_idle):
    window = make_finished(*SLOW_AFTER)
    assert shown(window, "measure_note")
    click(window, "measure_button")
    bar = find(window, "measure_progress_bar")
    assert bar.maximum() == 0  # it moves while the models load
    for name in ("save_button", "start_button", "preview_button"):
        assert not is_on(window, name)
    assert find(window, "start_button").toolTip()
    phase = find(window, "measure_phase_label")
    wait_until(qtbot, lambda: "turn" in phase.text())
    assert bar.value() >= 0
    wait_until_idle(window)
    assert shown(window, "speed_before") == "was 46.4"
    click(window, "run_report_link")
    # Qt shows widgets added to a layout in the next event loop iteration.
    wait_until(qtbot, lambda: facts(window, "speed_table"))
    table = facts(window, "speed_table")
    for part in ("1,261", "1,620", "1.28", "tokens/s"):
        assert part in table
    assert "7 rounds" in shown(window, "speed_conditions")
    assert "1.28" in find(window, "log_text").toPlainText()
    click(window, "start_button")
    assert window.session.state.request(RequestKind.MEASUREMENT).response is None
    assert not find(window, "speed_table").isVisible()
    wait_for_status(qtbot, window, Status.FINISHED)


def test_failed_measurement_is_reported(make_finished, wait_until_idle, tmp_path):
    config = replace(QUICK, export=ExportConfig(str(tmp_path / "deleted")))
    window = make_finished(config=config)
    click(window, "measure_button")
    wait_until_idle(window)
    assert DELETED in shown(window, "error_message")
    window.session.dismiss_problem()
    assert DELETED in shown(window, "measure_note")
