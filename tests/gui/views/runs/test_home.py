"""The page of runs: cards, filter, details, names, ticks and questions."""

import shutil
from dataclasses import replace

import pytest
from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtGui import QAction, QFont, QFontMetrics
from PySide6.QtWidgets import QComboBox, QLineEdit, QMessageBox, QWidget

from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.controllers import runs as runs_module
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs.reading import read_name, read_notes, read_tags, write_text
from surgeon_gui.views.runs.card_painter import (
    card_rect,
    menu_rect,
    tick_rect,
    title_lines,
)
from surgeon_gui.views.runs.home import RunsHome
from tests.helpers.fake_runs import job, write_run, write_saved_state, write_three
from tests.helpers.run_cards import (
    action_of,
    card_of,
    choose,
    click_card,
    do,
    grid_of,
    titles,
)
from tests.helpers.widget_queries import facts, shown
from tests.helpers.windows import TIMEOUT_MS, click, find, wait_until

WIDE = 1300  # pixels, for three columns
CHECKED = Qt.CheckState.Checked


@pytest.fixture
def make_home(qtbot, session):
    """Return a function that shows the page with the runs in the runs folder."""

    def make(count):
        runs = RunsController(session)
        home = RunsHome(runs, QWidget())
        qtbot.addWidget(home)
        home.resize(WIDE, 800)
        home.show()
        wait_until(qtbot, lambda: runs.state.has_been_read)
        assert len(runs.state.records) == count
        home.runs = runs
        return home

    return make


@pytest.fixture
def home(make_home, tmp_path):
    write_three(tmp_path)
    return make_home(3)


@pytest.fixture
def opened(home, monkeypatch):
    """Return the folders of the runs that the page opens."""
    found = []
    monkeypatch.setattr(home.runs, "reopen", found.append)
    return found


def test_latest_run_is_first_and_its_title_has_the_size_of_its_file(home):
    assert [title.split(", ")[1][:2] for title in titles(home)] == ["30", "40", "20"]
    assert all(title.startswith("Bundled demo · 8.4\xa0MB, ") for title in titles(home))


def test_columns_follow_the_width_and_no_card_is_cut(home):
    view = grid_of(home)
    for width, columns in ((400, 1), (854, 2), (WIDE, 3)):
        home.resize(width, 800)
        cells = [view.visualRect(view.model().index(row, 0)) for row in range(3)]
        assert sum(cell.top() == cells[0].top() for cell in cells) == columns
        assert max(cell.right() for cell in cells) < view.viewport().width()


def test_cards_are_painted_in_every_state(home, tmp_path, qtbot):
    before = home.grab().toImage()
    for ending in ("failed", "killed", "cancelled"):
        write_run(tmp_path, ending, ending=ending, hour=9)
    broken = write_run(tmp_path, "damaged", hour=9)
    RunFolder(broken).config_path.write_text("[[[")
    home.runs.refresh()
    wait_until(qtbot, lambda: any("damaged" in title for title in titles(home)))
    wait_until(qtbot, lambda: len(titles(home)) == 7)
    assert len(set(titles(home))) == 7  # even for equal jobs
    choose(home, "damaged")
    assert home.grab().toImage() != before


def test_screen_reader_says_title_verdict_size_and_date(home):
    index = card_of(home, "30")
    spoken = index.data(Qt.ItemDataRole.AccessibleTextRole)
    assert spoken.startswith(f"{index.data()}, Noticeably different, 2025-11-")
    assert spoken.endswith(", 17\xa0s")


@pytest.mark.usefixtures("qapp")
def test_long_title_has_two_lines_and_keeps_the_size():
    font, title = QFont(), "A-model-with-a-long-name-Instruct-Q4_K_M-GGUF · 70 MB"
    width = QFontMetrics(font).horizontalAdvance(title)
    assert title_lines(title, font, width + 9) == [title]
    first, second = title_lines(title, font, 2 * width // 3)
    assert (first + second).replace(" ", "") == title.replace(" ", "")
    first, second = title_lines(title, font, width // 3)
    assert title.startswith(first)
    assert second.endswith("… · 70 MB")
    assert QFontMetrics(font).horizontalAdvance(second) <= width // 3
    first, second = title_lines(title.replace(" · ", "-"), font, width // 3)
    assert second.endswith("…")
    end = "30 % fewer prunable weights"
    width = QFontMetrics(font).horizontalAdvance(end) + 12
    first, second = title_lines(f"SmolLM2-135M-Instruct.Q4_1-more · {end}", font, width)
    assert (first[:8], first[-1], second) == ("SmolLM2-", "…", end)
    width = QFontMetrics(font).horizontalAdvance(title)
    title = "Bundled demo · 30 % fewer prunable weights, 2026-12-01 02:41"
    first, second = title_lines(title, font, width // 3)
    assert title.startswith(first)
    assert "…" in second
    assert title.endswith(second.partition("…")[2])
    assert QFontMetrics(font).horizontalAdvance(second) <= width // 3


def test_return_and_a_click_open_a_run(qtbot, home, opened, tmp_path):
    view = choose(home, "40")
    qtbot.keyClick(view, Qt.Key.Key_Return)
    assert opened == [str(tmp_path / "b")]
    index = card_of(home, "20")
    middle = view.visualRect(index).center() - view.visualRect(index).topLeft()
    click_card(home, index, middle)
    assert opened == [str(tmp_path / name) for name in "ba"]
    click_card(home, index, middle, double=True)  # as the second of two clicks
    assert opened == [str(tmp_path / name) for name in "ba"]


def test_click_beside_a_card_opens_nothing(home, opened, tmp_path):
    index, view = card_of(home, "40"), grid_of(home)
    corner = card_rect(view.visualRect(index)).bottomRight()
    corner -= view.visualRect(index).topLeft()
    for away, found in ((QPoint(3, 3), []), (QPoint(-3, -60), [str(tmp_path / "b")])):
        click_card(home, index, corner + away)
        assert opened == found


def test_space_and_the_box_of_a_card_tick_it(qtbot, home, opened, tmp_path):
    compare = find(home, "runs_compare_button")
    view = choose(home, "40")
    qtbot.keyClick(view, Qt.Key.Key_Space)
    assert home.runs.state.ticked == (str(tmp_path / "b"),)
    assert not compare.isVisible()
    index = card_of(home, "20")
    cell = view.visualRect(index)
    box = tick_rect(cell).center() - cell.topLeft()
    click_card(home, index, box)
    assert home.runs.state.ticked == tuple(str(tmp_path / name) for name in "ba")
    assert opened == []
    assert Qt.CheckState(index.data(Qt.ItemDataRole.CheckStateRole)) is CHECKED
    assert compare.text() == "Compare 2"
    with qtbot.waitSignal(home.compare_clicked):
        click(home, "runs_compare_button")
    click_card(home, index, box)
    assert not compare.isVisible()
    assert opened == []


def test_spot_in_the_corner_opens_the_menu_of_its_card(home, monkeypatch):
    places = []
    monkeypatch.setattr(home._menu.menu, "popup", places.append)
    choose(home, "40")
    index, view = card_of(home, "20"), grid_of(home)
    cell = view.visualRect(index)
    spot = menu_rect(cell)
    click_card(home, index, spot.center() - cell.topLeft())
    assert places == [view.viewport().mapToGlobal(spot.bottomLeft())]
    assert view.currentIndex() == index
    assert not action_of(home, "resume").isVisible()


def test_run_is_renamed_by_editing_its_name(qtbot, home, tmp_path):
    view = choose(home, "40")
    do(home, "rename")
    editor = view.viewport().findChild(QLineEdit)
    assert editor.text().startswith("Bundled demo · 8.4")
    editor.setText("the best")
    home.runs.changed.emit()  # as at each percent of a run
    assert editor.text() == "the best"
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    wait_until(qtbot, lambda: "the best" in titles(home))
    assert read_name(tmp_path / "b") == "the best"
    assert view.currentIndex().data() == "the best"  # it is still selected


def test_filter_shows_matching_runs_and_ends_when_it_is_closed(home, tmp_path):
    search = find(home, "runs_search_edit", QLineEdit)
    assert not search.isVisible()
    click(home, "runs_filter_button")
    assert home.focusWidget() is search
    search.setText(f"{tmp_path.name}/b")  # another path could have any number
    assert len(titles(home)) == 1
    search.setText("opt")
    assert titles(home) == []
    assert "None of the 3" in shown(home, "runs_note")
    assert not find(home, "runs_new_button").isVisible()
    click(home, "runs_filter_button")
    assert len(titles(home)) == 3
    assert shown(home, "runs_note") == ""
    assert shown(home, "runs_space_note").startswith("3 runs, ")


def pick(window, name, text):
    box = find(window, name, QComboBox)
    assert box.findText(text) >= 0, text
    box.setCurrentIndex(box.findText(text))


def test_choices_filter_by_outcome_tag_and_model(qtbot, make_home, tmp_path):
    write_three(tmp_path)
    failed = write_run(tmp_path, "d", job(sparsity=0.6), ending="failed", hour=4)
    write_text(RunFolder(failed).tags_path, "talk")
    home = make_home(4)
    pick(home, "runs_outcome_combo", "Failed")
    assert len(titles(home)) == 1
    pick(home, "runs_outcome_combo", "All outcomes")
    assert len(titles(home)) == 4
    pick(home, "runs_tag_combo", "talk")
    (title,) = titles(home)
    assert title.startswith("Bundled demo · ")
    write_text(RunFolder(failed).tags_path, "")
    find(home, "runs_refresh_action", QAction).trigger()
    wait_until(qtbot, lambda: len(titles(home)) == 4)  # the tag is no choice any more
    assert not find(home, "runs_tag_combo").isEnabled()
    pick(home, "runs_model_combo", "Bundled demo")
    assert len(titles(home)) == 4


def test_empty_page_leads_to_a_new_run(qtbot, make_home, session, tmp_path):
    home = make_home(0)
    assert shown(home, "runs_note") == "Each run becomes a card here."
    with qtbot.waitSignal(home.new_clicked):
        click(home, "runs_new_button")
    session.draft.set_run_parent("/" + "a" * 5_000)  # cannot be read
    wait_until(qtbot, lambda: "cannot be read" in shown(home, "runs_note"))
    assert not find(home, "runs_new_button").isVisible()
    write_run(tmp_path / "others", "only")
    session.draft.set_run_parent(str(tmp_path / "others"))
    wait_until(qtbot, lambda: len(titles(home)) == 1)
    assert grid_of(home).isVisible()


def test_selection_and_place_stay_while_runs_come_and_go(qtbot, home, tmp_path):
    home.resize(400, 500)
    bar = grid_of(home).verticalScrollBar()
    choose(home, "40")
    grid_of(home).doItemsLayout()  # now, not with the next events
    bar.setValue(bar.maximum() - 5)
    before = bar.value()
    write_run(tmp_path, "new", hour=-1)  # at the end
    shutil.rmtree(tmp_path / "c")  # at the beginning
    home.runs.refresh()

    def folders():
        return [x.folder[-1] for x in home.runs.state.records]

    wait_until(qtbot, lambda: folders() == ["b", "a", "w"])
    assert "40" in grid_of(home).currentIndex().data()
    wait_until(qtbot, lambda: bar.value() == before)  # once the cards are laid out


def test_run_that_was_opened_from_elsewhere_is_selected(home, session):
    home.hide()
    grid_of(home).setCurrentIndex(QModelIndex())
    record = home.runs.state.records[1]
    session.store.state = replace(
        session.state, run=replace(session.state.run, folder=record.folder)
    )
    home.show()
    assert home.runs.in_view == record.folder
    assert grid_of(home).currentIndex().row() == 1


def test_details_come_when_asked_for_and_tell_the_share_of_parameters(home):
    assert not find(home, "runs_details").isVisible()
    do_details = find(home, "runs_details_button")
    do_details.click()
    assert shown(home, "runs_details_note")
    assert not find(home, "runs_tags_edit").isVisible()
    choose(home, "40")
    assert shown(home, "runs_details_note") == ""
    assert find(home, "runs_tags_edit").isVisible()
    assert "40 % fewer prunable weights" in facts(home, "run_facts")
    assert "1.81 M of 2.83 M (36.1 % fewer)" in facts(home, "run_facts")
    do(home, "details")
    assert not find(home, "runs_details").isVisible()


def type_into(qtbot, window, name, text):
    edit = find(window, name)
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, text)


def test_notes_and_tags_are_saved_when_another_run_is_selected_and_at_the_end(
    qtbot, home, tmp_path
):
    click(home, "runs_details_button")
    choose(home, "40")
    type_into(qtbot, home, "runs_tags_edit", "baseline, talk")
    type_into(qtbot, home, "runs_notes_edit", "the best so far")
    choose(home, "20")
    notes, tags = find(home, "runs_notes_edit"), find(home, "runs_tags_edit")
    assert (notes.toPlainText(), tags.text()) == ("", "")
    assert read_tags(tmp_path / "b") == ("baseline", "talk")
    assert read_notes(tmp_path / "b") == "the best so far"
    choose(home, "40")
    wait_until(qtbot, lambda: tags.text() == "baseline, talk")
    wait_until(qtbot, lambda: notes.toPlainText() == "the best so far")
    type_into(qtbot, home, "runs_notes_edit", "half a sen")
    with qtbot.waitSignal(home.runs.changed, timeout=TIMEOUT_MS):
        home.runs.set_tags(home.runs.state.records[0].folder, ("new",))
    assert notes.toPlainText() == "half a sen"  # also when the list is read again
    home.finish_typing()
    assert read_notes(tmp_path / "b") == "half a sen"


def test_failed_notes_and_names_are_reported(qtbot, home, session, monkeypatch):
    def fail(path, text):
        raise PermissionError(13, f"No {text}")

    monkeypatch.setattr(runs_module, "write_text", fail)
    click(home, "runs_details_button")
    choose(home, "40")
    type_into(qtbot, home, "runs_notes_edit", "lost")
    choose(home, "20")
    assert "No lost" in session.state.notice.message
    model = grid_of(home).model()
    model.setData(model.index(0, 0), "another")
    assert "No another" in session.state.notice.message


def answer(home, name, button):
    assert find(home, f"{name}_question", QMessageBox).isVisible()
    click(home, f"{name}_{button}_button")


def test_run_is_moved_to_the_trash_only_after_confirmation(qtbot, home, monkeypatch):
    trashed = []
    monkeypatch.setattr(runs_module, "send2trash", trashed.append)
    choose(home, "40")
    folder = home.runs.state.records[1].folder
    do(home, "delete")
    answer(home, "delete", "no")
    home.ask_to_delete(folder)
    assert trashed == []
    answer(home, "delete", "yes")
    wait_until(qtbot, lambda: trashed == [folder])


def test_saved_progress_is_discarded_once_confirmed(qtbot, make_home, tmp_path):
    write_saved_state(write_run(tmp_path, "broken", ending="killed"))
    home = make_home(1)
    choose(home, "demo")
    assert action_of(home, "resume").isVisible()
    saved = RunFolder(tmp_path / "broken").saved_state
    for button in ("no", "yes"):
        assert saved.exists
        do(home, "discard")
        answer(home, "discard", button)
    wait_until(qtbot, lambda: not action_of(home, "resume").isVisible())
    assert not saved.exists


def test_export_is_deleted_after_a_question_with_its_size(qtbot, home, tmp_path):
    export, made = tmp_path / "b" / "export", tmp_path / "made"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(7_000_000))
    write_marker(made)
    made.rename(export)  # the list may be read meanwhile
    home.runs.refresh()
    wait_until(qtbot, lambda: any(x.export_bytes for x in home.runs.state.records))
    home.runs.reopen(str(tmp_path / "b"))
    wait_until(qtbot, lambda: home.runs.in_view == str(tmp_path / "b"))
    session = home.runs.parent()
    assert str(export) not in session.state.missing
    choose(home, "20")
    assert not action_of(home, "export").isVisible()
    choose(home, "40")
    assert not action_of(home, "checkpoint").isVisible()
    assert "7.0\xa0MB" in action_of(home, "export").text()
    for button in ("no", "yes"):
        assert export.exists()
        do(home, "export")
        box = find(home, "part_question", QMessageBox)
        assert "7.0\xa0MB" in box.informativeText()
        answer(home, "part", button)
    wait_until(qtbot, lambda: not action_of(home, "export").isVisible())
    assert not export.exists()
    assert str(export) in session.state.missing
    assert len(titles(home)) == 3


def test_damaged_run_says_why_and_cannot_be_opened_or_ticked(
    qtbot, make_home, tmp_path
):
    folder = write_run(tmp_path)
    RunFolder(folder).config_path.write_text("[[[")
    home = make_home(1)
    view = choose(home, "run")
    assert not action_of(home, "open").isEnabled()
    assert not action_of(home, "duplicate").isEnabled()
    index = view.currentIndex()
    assert "run.toml" in index.data(Qt.ItemDataRole.ToolTipRole)
    qtbot.keyClick(view, Qt.Key.Key_Space)
    assert home.runs.state.ticked == ()


def test_run_of_another_version_is_explained_in_few_words(
    qtbot, make_home, session, tmp_path
):
    folder = write_run(tmp_path)
    (folder / "export" / "config.json").write_text("{}")
    other = "version = 1\n[pruning]\nold = 1\n[recovery]\nolder = 1\n"
    RunFolder(folder).config_path.write_text(other)
    make_home(1).runs.reopen(str(folder))
    wait_until(qtbot, lambda: session.state.notice is not None)
    notice = session.state.notice
    assert "old" in notice.message
    assert "\n" not in notice.message
    assert "version of Surgeon" in notice.hint
    assert notice.hint.endswith("the pruned model, in its folder.")


def test_settings_of_a_run_are_copied_to_the_job(home, session):
    choose(home, "40")
    do(home, "duplicate")
    assert session.state.config == job(sparsity=0.4, shots=4)
