"""The section Export of the drawer Expert."""

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.export_marker import MARKER
from surgeon_engine.api.messages.commands import StartRun
from surgeon_gui.state.run import Status
from surgeon_gui.state.step_text import Mark
from surgeon_gui.text.problems import Step
from tests.helpers.configs import pruning_config
from tests.helpers.widget_queries import choose, is_on, item, mark, question, shown
from tests.helpers.windows import (
    QUICK,
    click,
    commands_of,
    find,
    load_and_wait,
    open_step,
    run_of,
    wait_for_status,
)

SPACE = "\N{NO-BREAK SPACE}"

pytestmark = pytest.mark.slow

# before the run


@pytest.fixture
def page(place):
    """Return the place New with the section Export open."""
    place.session.draft.load(QUICK)
    place.open_expert(Step.EXPORT)
    return place


def test_formats_are_described_and_disabled_for_structures_they_do_not_support(
    page,
):
    page.session.draft.edit_part(pruning_config(Structure.NEURONS))
    for file_format in Format:
        choose(page, "export_format", file_format)
        assert page.session.state.config.export.format is file_format
        assert DESCRIPTIONS[file_format].can in shown(page, "export_format_note")
    choose(page, "export_format", Format.AUTOMATIC)
    for structure, file_format in (
        (Structure.ELEMENTS, Format.COMPACT),
        (Structure.ROWS, Format.GGUF),
        (Structure.HEADS, Format.PLAIN),
    ):
        page.session.draft.edit_part(pruning_config(structure))
        is_enabled, tip = item(page, "export_format", file_format)
        assert not is_enabled
        assert tip
        assert item(page, "export_format", Format.MASKED)[0]


def test_format_incompatible_with_the_target_is_reported(page):
    choose(page, "export_format", Format.GGUF)
    page.session.draft.edit_part(pruning_config(Structure.ROWS))
    assert shown(page, "export_format_problem")
    assert shown(page, "export_problem") == ""
    assert find(page, "export_format").property("invalid")
    assert not find(page, "export_folder").property("invalid")
    assert mark(page) is Mark.PROBLEM
    assert not is_on(page, "start_button")
    choose(page, "export_format", Format.COMPACT)
    assert shown(page, "export_format_problem") == ""
    assert not find(page, "export_format").property("invalid")
    assert is_on(page, "start_button")


def test_supported_number_formats_and_file_sizes_can_be_chosen(page):
    assert item(page, "export_dtype", FileDtype.Q8_0)[0]
    choose(page, "export_format", Format.GGUF)
    choose(page, "export_dtype", FileDtype.Q8_0)
    assert page.session.state.config.export.dtype is FileDtype.Q8_0
    choose(page, "export_format", Format.COMPACT)
    assert page.session.state.config.export.dtype is FileDtype.SAME
    assert item(page, "export_dtype", FileDtype.Q8_0)[1]
    assert not find(page, "export_shard_gigabytes").isVisible()
    click(page, "export_advanced_button")
    find(page, "export_shard_gigabytes").setValue(0.5)
    assert page.session.state.config.export.shard_gigabytes == 0.5


def test_occupied_destination_is_replaced_only_after_confirmation(
    qtbot, export_page, occupied, monkeypatch
):
    sent = commands_of(export_page, monkeypatch)
    assert not find(export_page, "export_replace_button").isVisible()
    export_page.session.draft.edit_part(ExportConfig(str(occupied)))
    assert shown(export_page, "export_problem")
    assert not is_on(export_page, "start_button")
    click(export_page, "export_replace_button")
    text = question(export_page).text()
    assert str(occupied) in text and "2" in text.replace(str(occupied), "")
    click(export_page, "replace_cancel_button")
    assert not export_page.session.state.may_replace
    assert not is_on(export_page, "start_button")
    click(export_page, "export_replace_button")
    click(export_page, "replace_yes_button")
    assert export_page.session.state.may_replace
    assert shown(export_page, "export_note")
    assert not find(export_page, "export_replace_button").isVisible()
    click(export_page, "start_button")
    assert [x.replace for x in sent if isinstance(x, StartRun)] == [True]
    wait_for_status(qtbot, export_page, Status.FINISHED)
    assert not export_page.session.state.may_replace


def test_folder_with_other_files_is_not_replaced(page, occupied):
    page.session.draft.edit_part(ExportConfig(str(occupied)))
    (occupied / "thesis.tex").touch()
    click(page, "export_replace_button")
    assert "thesis.tex" in page.session.state.notice.message
    assert not page.session.state.may_replace
    (occupied / MARKER).unlink()
    page.session.draft.recheck()
    assert shown(page, "export_problem")
    assert not find(page, "export_replace_button").isVisible()


def test_what_another_program_has_changed_is_seen_on_return(qtbot, window, tmp_path):
    window.session.draft.load(QUICK)
    page, file = window.new, tmp_path / "out"
    file.touch()
    open_step(window, Step.EXPORT)
    window.session.draft.edit_part(ExportConfig(str(file)))
    assert shown(page, "export_problem")
    other = QWidget()
    qtbot.addWidget(other)
    for each in (other, window):
        each.show()
        each.activateWindow()
        qtbot.waitUntil(each.isActiveWindow)
        file.unlink(missing_ok=True)
    assert not shown(page, "export_problem")


def test_another_destination_or_job_needs_its_own_confirmation(
    page, occupied, tmp_path
):
    session = page.session
    session.draft.edit_part(ExportConfig(str(occupied)))
    session.draft.allow_to_replace(True)
    folder = find(page, "export_folder")
    folder.setText(str(tmp_path))
    folder.setModified(True)
    folder.editingFinished.emit()
    assert session.state.config.export.folder == str(tmp_path)
    assert not session.state.may_replace
    session.draft.edit_part(ExportConfig(str(occupied)))
    assert not session.state.may_replace
    session.draft.allow_to_replace(True)
    session.draft.load(replace(QUICK, export=ExportConfig(str(occupied))))
    assert not session.state.may_replace
    assert find(page, "export_replace_button").isVisible()


def test_impossible_folder_is_a_problem_during_a_run_which_it_does_not_concern(
    qtbot, make_window, tmp_path
):
    (tmp_path / "file").touch()
    window = make_window("--pause", "0.002")
    load_and_wait(qtbot, window)
    window.start_run()
    qtbot.waitUntil(lambda: run_of(window).status is Status.RUNNING)
    open_step(window, Step.EXPORT)
    folder = find(window, "export_folder")
    folder.edited.emit(str(tmp_path / "file" / "export"))
    assert str(tmp_path / "file") in shown(window, "export_problem")
    assert folder.property("invalid")
    assert not is_on(window, "queue_add_button")
    assert mark(window) is Mark.PROBLEM
    wait_for_status(qtbot, window, Status.FINISHED)
    assert run_of(window).exported is not None
    assert mark(window) is Mark.PROBLEM  # a problem for the next run
    folder.edited.emit("")
    assert mark(window) is Mark.READY
