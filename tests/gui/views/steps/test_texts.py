"""Texts on the page of the calibration: their parts, further texts, previews."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QPlainTextEdit,
    QTableWidget,
)

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.base.colors import DARK
from surgeon_gui.base.theme import apply_theme_to
from surgeon_gui.controllers import sources
from surgeon_gui.controllers.store import checked
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps import more_texts
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.views.steps.more_texts import MoreTexts
from tests.gui.views.steps.test_sources import wait_for_end
from tests.helpers.fake_sources import CACHED, UNREADABLE
from tests.helpers.widget_queries import facts, shown
from tests.helpers.windows import (
    click,
    find,
    find_type,
    load_and_wait,
    open_step,
    wait_until,
)

DATASET = "hf://datasets/someone/stories"


def choose_text(qtbot, window, text):
    open_step(window, Step.CALIBRATION)
    line = find(window, "calibration_text")
    line.selectAll()
    QTest.keyClicks(line, f"{text}\r")
    wait_for_end(qtbot, window, RequestKind.DESCRIPTION)


def offered(window, name):
    box = find(window, name, QComboBox)
    return [box.itemText(index) for index in range(box.count())]


def pick(window, name, label):
    box = find(window, name, QComboBox)
    box.setCurrentIndex(box.findText(label))
    box.activated.emit(box.currentIndex())


def test_parts_of_a_text_can_be_chosen(qtbot, window, tmp_path):
    (tmp_path / "stories.csv").write_text("text,summary\na,b\n")
    load_and_wait(qtbot, window)
    choose_text(qtbot, window, tmp_path / "stories.csv")
    assert offered(window, "calibration_column")[1:] == ["text", "summary"]
    assert not find(window, "calibration_split").isVisible()
    assert not find(window, "calibration_rows").isVisible()
    pick(window, "calibration_column", "summary")
    assert window.session.state.config.calibration.column == "summary"
    choose_text(qtbot, window, "someone/stories")
    assert window.session.state.config.calibration.text == DATASET
    assert find(window, "calibration_rows").isVisible()
    pick(window, "calibration_dataset_config", "long")
    wait_for_end(qtbot, window, RequestKind.DESCRIPTION)
    pick(window, "calibration_split", "validation")
    wait_for_end(qtbot, window, RequestKind.DESCRIPTION)
    pick(window, "calibration_validation_split", "train")
    calibration = window.session.state.config.calibration
    assert (calibration.dataset_config, calibration.split) == ("long", "validation")
    assert calibration.validation_split == "train"
    click(window, "builtin_text_button")
    calibration = window.session.state.config.calibration
    assert (calibration.split, calibration.validation_split) == ("", "")
    assert not find(window, "text_parts").isVisible()
    chosen = CalibrationConfig(validation_text=DATASET, validation_split="test")
    window.session.draft.edit_part(chosen)
    line = find(window, "calibration_validation_text")
    line.setText("")
    line.setModified(True)
    line.editingFinished.emit()
    calibration = window.session.state.config.calibration
    assert (calibration.validation_text, calibration.validation_split) == ("", "")


def test_unreadable_text_is_reported(qtbot, window, tmp_path):
    (tmp_path / "broken.csv").write_text('"')
    load_and_wait(qtbot, window)
    choose_text(qtbot, window, tmp_path / "broken.csv")
    wait_until(qtbot, lambda: UNREADABLE in shown(window, "text_problem"))


@pytest.mark.parametrize("computer", ["", "gpu-box"])
def test_text_is_looked_for_on_the_computer_of_the_engine_alone(window, computer):
    calibration = CalibrationConfig(text="/only/there.txt")
    state = window.session.state
    state = replace(state, config=replace(state.config, calibration=calibration))
    page = window.findChild(CalibrationPage)
    page.show_state(checked(replace(state, computer=computer)))
    problem = find(window, "text_problem", QLabel).text()
    assert ("there.txt" in problem) == (not computer)


# further texts


def further(window):
    return window.session.state.config.calibration.more_texts


def cells(window):
    table = find(window, "more_texts_table", QTableWidget)
    rows = (
        [table.item(row, column).text() for column in range(3)]
        for row in range(table.rowCount())
    )
    return [tuple(text.replace("\xa0", " ") for text in row) for row in rows]


@pytest.fixture
def calibrating(qtbot, window):
    """Return a window with an open section Calibration."""
    load_and_wait(qtbot, window)
    open_step(window, Step.CALIBRATION)
    return window


def add_file(window, monkeypatch, path):
    monkeypatch.setattr(
        more_texts, "ask_file", lambda parent, *texts, **_: texts[-1](str(path))
    )
    path.write_text("A text.")
    click(window, "more_file_button")


def test_further_texts_are_added_shared_and_removed(
    qtbot, calibrating, tmp_path, monkeypatch
):
    window = calibrating
    table = find(window, "more_texts_table", QTableWidget)
    remove = find(window, "more_remove_button")
    assert not table.isVisible()
    assert not remove.isVisible()
    assert not find(window, "more_builtin_button").isVisible()  # it is the main text
    add_file(window, monkeypatch, tmp_path / "a.txt")
    assert further(window) == (MoreText(str(tmp_path / "a.txt"), 0.25),)
    windows = window.session.state.config.calibration.windows
    assert [row[1:] for row in cells(window)] == [
        ("75 %", f"{windows - round(windows / 4)}"),
        ("25 %", f"{round(windows / 4)}"),
    ]
    find(window, "calibration_windows").setValue(8)
    assert [row[2] for row in cells(window)] == ["6", "2"]
    add_file(window, monkeypatch, tmp_path / "b.txt")
    assert not table.item(0, 1).flags() & Qt.ItemFlag.ItemIsEditable
    delegate = table.itemDelegateForColumn(1)
    index = table.model().index(2, 1)
    box = delegate.createEditor(table.viewport(), None, index)
    delegate.setEditorData(box, index)
    assert (box.value(), box.maximum()) == (25.0, 74.9)
    box.setValue(50.0)
    delegate.setModelData(box, table.model(), index)
    assert [more.share for more in further(window)] == [0.25, 0.5]
    assert [row[1] for row in cells(window)] == ["25 %", "25 %", "50 %"]
    assert not remove.isEnabled()
    table.selectRow(0)  # the main text
    assert not remove.isEnabled()
    table.selectRow(1)
    remove.click()
    assert [Path(more.text).name for more in further(window)] == ["b.txt"]
    choose_text(qtbot, window, tmp_path / "a.txt")
    click(window, "more_builtin_button")
    assert further(window)[-1].text == "builtin"
    assert not find(window, "more_builtin_button").isVisible()
    click(window, "builtin_text_button")
    assert [row[0] for row in cells(window)] == ["Built-in text", "b.txt"]


def test_share_that_is_edited_can_be_read(qtbot):
    texts = MoreTexts()
    qtbot.addWidget(texts)
    apply_theme_to(texts, DARK)
    texts.show()
    config = CalibrationConfig(more_texts=(MoreText("/a.txt", 0.5),))
    texts.show_state(AppState(RunConfig(calibration=config)), "")
    table = find(texts, "more_texts_table", QTableWidget)
    table.editItem(table.item(1, 1))
    edit = find(texts, "more_share_box", QDoubleSpinBox).lineEdit()
    assert edit.width() > edit.fontMetrics().horizontalAdvance(edit.text())


def test_data_set_is_added_with_its_parts(calibrating):
    window = calibrating
    assert not find(window, "more_dataset_edit").isVisible()
    click(window, "more_dataset_button")
    click(window, "more_keep_button")
    assert shown(window, "more_texts_problem")
    assert further(window) == ()
    for name, text in (("dataset", "someone/stories"), ("config", "long")):
        find(window, f"more_{name}_edit").setText(text)
    click(window, "more_keep_button")
    assert further(window) == (MoreText(DATASET, 0.25, dataset_config="long"),)
    assert not find(window, "more_dataset_edit").isVisible()
    assert shown(window, "more_texts_problem") == ""
    assert find(window, "calibration_rows").isVisible()
    click(window, "more_dataset_button")
    assert find(window, "more_dataset_edit").text() == ""
    click(window, "more_drop_button")
    assert not find(window, "more_dataset_edit").isVisible()


def test_preview_pages_through_all_texts(qtbot, calibrating, tmp_path, monkeypatch):
    window = calibrating
    add_file(window, monkeypatch, tmp_path / "a.txt")
    own = RecoveryConfig(general_windows=2 * CACHED)
    window.session.draft.edit_part(own)
    click(window, "preview_button")
    assert wait_for_end(qtbot, window, RequestKind.PREVIEW).response is not None
    assert "16,384" in shown(window, "preview_counts")
    for value in ("2.7 %", "33.3 %", "800, 300", "12 duplicate"):
        assert value in facts(window, "preview_facts")
    text = find(window, "preview_text", QPlainTextEdit)
    back, on = find(window, "window_back_button"), find(window, "window_on_button")
    pages = []
    for _ in range(5):
        pages.append(text.toPlainText())
        click(window, "window_jump_button")
    of_file = f"From {tmp_path / 'a.txt'}."
    parts = ["The first window.", of_file, "Held out.", "Its own words."]
    assert pages == [*parts, parts[0]]
    find(window, "window_back_button").click()
    assert text.toPlainText() == "The second one."
    window.session.changed.emit()
    assert text.toPlainText() == "The second one."  # a redraw keeps the page
    back.click()
    assert not back.isEnabled()
    for part in ("The second one.", *parts[1:]):
        assert on.isEnabled()
        on.click()
        assert text.toPlainText() == part
    assert not on.isEnabled()
    assert f"{CACHED} windows" in shown(window, "own_text_note")
    window.session.draft.edit_part(RecoveryConfig(general_windows=6))
    assert not find(window, "own_text_note").isVisible()
    click(window, "preview_button")
    assert wait_for_end(qtbot, window, RequestKind.PREVIEW).response is not None
    assert "3 windows" in shown(window, "own_text_note")


# check of a chosen text


def test_chosen_file_is_read_at_once(qtbot, tmp_path, window):
    load_and_wait(qtbot, window)
    session = window.session
    assert not session.state.request(RequestKind.PREVIEW).id  # the built-in text
    text = tmp_path / "short.txt"
    text.write_text(100_000 * "x")
    find_type(window, CalibrationPage).choose_text(str(text))
    wait_until(qtbot, lambda: bool(session.state.request(RequestKind.PREVIEW).id))
    wait_for_end(qtbot, window, RequestKind.PREVIEW)
    first = session.state.request(RequestKind.PREVIEW).id
    session.changed.emit()
    qtbot.wait(2 * sources._CHECK_DELAY_MS)
    assert session.state.request(RequestKind.PREVIEW).id == first  # once


def test_text_that_takes_long_to_read_is_left_alone(
    qtbot, tmp_path, monkeypatch, make_window
):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "small.txt").write_text("A text.")
    monkeypatch.setattr(sources, "_CHECK_DELAY_MS", 1)
    window = make_window()
    load_and_wait(qtbot, window)
    # Also with a small text to judge beside the large one.
    both = CalibrationConfig("large.txt", validation_text="small.txt")
    texts = (DATASET, "large.txt", "missing.txt")
    for calibration in (*map(CalibrationConfig, texts), both):
        window.session.draft.edit_part(calibration)
        qtbot.wait(20)
        assert not window.session.state.request(RequestKind.PREVIEW).id
