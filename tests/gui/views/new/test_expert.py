"""The drawer Expert: every setting is in it, and a search finds it."""

import typing
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QCompleter, QLineEdit, QToolButton, QWidget

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.app import with_request
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Step
from tests.helpers.configs import pruning_config, some_tokens
from tests.helpers.fake_sources import fewer_tokens, previewed
from tests.helpers.window_audit import overlapping, settle
from tests.helpers.windows import click, find

PARTS = typing.get_type_hints(RunConfig)
SETTINGS = [(part, name) for part, kind in PARTS.items() for name in settings_of(kind)]
# Settings whose input has another name.
OTHERS = {
    ("calibration", "more_texts"): "more_texts_table",
    ("pruning", "structure"): "structure_heads_tile",
    ("pruning", "target"): "size_unit_combo",
}
ON_THE_PAGE = {"sparsity", "million_parameters", "megabytes", "memory_gigabytes"}
OTHERS |= {("pruning", name): "pruning_size" for name in ON_THE_PAGE}


def input_of(place, part, name):
    """Return the input of a setting."""
    return find(place, OTHERS.get((part, name), f"{part}_{name}"))


def test_every_setting_has_an_input_in_expert_or_beside_the_curve(place):
    drawer, outside = find(place, "expert_drawer"), set()
    for part, name in SETTINGS:
        if not drawer.isAncestorOf(input_of(place, part, name)):
            outside.add(name)
    assert outside == ON_THE_PAGE | {"target", "context"}


def offered(place):
    """Return the labels that the search offers."""
    place.open_expert(Step.MODEL)
    edit = find(place, "expert_search_edit", QLineEdit)
    find(place, "new_page").setFocus()
    edit.setFocus()
    labels = edit.completer().model()
    return [labels.index(row, 0).data() for row in range(labels.rowCount())]


def found_by(place, typed):
    """Return the labels that the search finds for a typed text."""
    offered(place)
    edit = find(place, "expert_search_edit", QLineEdit)
    edit.textEdited.emit(typed)
    found = edit.completer().completionModel()
    labels = [found.index(row, 0).data() for row in range(found.rowCount())]
    return [] if labels == ["Nothing found"] else labels


def choose(place, label):
    completer: QCompleter = find(place, "expert_search_edit", QLineEdit).completer()
    completer.activated[str].emit(label)


@pytest.fixture
def active(qtbot, place):
    """Return the place in an active window, so that inputs get the focus."""
    place.activateWindow()
    qtbot.waitActive(place)
    return place


def test_search_offers_every_setting_in_use_once(active):
    labels = offered(active)
    assert len(labels) == len(set(labels))
    found = 0
    for step in Step:
        active.open_expert(step)
        for button in active.findChildren(QToolButton):
            if button.objectName().endswith("_advanced_button"):
                button.setChecked(True)
        for part, name in SETTINGS:
            entry = input_of(active, part, name)
            is_here = find(active, "expert_drawer").isAncestorOf(entry)
            if (part, name) in OTHERS or not (is_here and entry.isVisible()):
                continue
            found += 1
            assert FIELDS[f"{part}.{name}"].label in labels, (part, name)
    assert found > 30
    assert not {"Preview", "Choose…"} & set(labels)  # no settings


def test_search_opens_the_section_and_gives_the_focus(qtbot, active):
    assert "Minimum density" in offered(active)
    density = find(active, "pruning_min_density")
    assert not density.isVisible()  # in an advanced section
    choose(active, "Minimum density")
    qtbot.waitUntil(density.hasFocus)
    assert density.isVisible()
    assert find(active, "step_target_header").isChecked()
    assert find(active, "expert_search_edit", QLineEdit).text() == ""


def test_search_follows_the_settings_in_use(active):
    assert "Damping" not in offered(active)  # the method measures no curvature
    active.session.draft.edit_part(pruning_config())
    assert "Damping" in offered(active)


def test_search_leads_from_a_hidden_setting_to_the_one_it_depends_on(qtbot, active):
    assert "Training time" in found_by(active, "training")
    for level, hidden in ((Recovery.REFIT, True), (Recovery.AUTOMATIC, False)):
        active.session.draft.edit_part(RecoveryConfig(level, minutes=5.0))
        found = found_by(active, "train")
        assert ("Training time (depends on Recovery)" in found) is hidden
        assert ("Training time" in found) is not hidden
    assert found_by(active, "epochs") == ["Epochs (depends on Training time)"]
    choose(active, "Epochs (depends on Training time)")
    qtbot.waitUntil(find(active, "recovery_minutes").hasFocus)
    assert "Update damping (depends on Method)" in offered(active)


def test_typing_part_of_a_name_finds_it(active):
    density = ["Minimum density", "Minimum per layer"]
    assert found_by(active, "density") == density


def test_name_of_a_setting_in_a_job_finds_it(active):
    for part, name in SETTINGS:
        is_here = (part, name) != ("model", "gpus")  # not on one GPU
        assert bool(found_by(active, f"{part}.{name}")) is is_here, (part, name)
    assert found_by(active, "pruning.min_density") == ["Minimum density"]
    assert found_by(active, "calibration.more_texts") == ["Further texts (Calibration)"]
    assert found_by(active, "megabytes") == found_by(active, "sparsity")


@pytest.mark.parametrize(
    "program", ["LM Studio", "ollama", "llama.cpp", "gguf", "vLLM", "hugging face"]
)
def test_names_of_programs_find_the_format_of_the_file(active, program):
    found = found_by(active, program)
    assert "Format" in found
    assert "Shots" not in found


def test_word_of_its_help_finds_a_setting_after_those_that_it_names(active):
    found = found_by(active, "windows")
    named = ["Windows", "Judging windows", "Validation windows"]
    assert found[:3] == named
    assert {"Window length", "Batch", "General text"} <= set(found)


def test_preview_finds_the_text_on_its_page(active):
    (found,) = found_by(active, "preview")
    choose(active, found)
    assert find(active, "preview_button").isVisible()


def test_name_of_a_choice_finds_its_setting(active):
    assert found_by(active, "Q4_K_M") == ["Number format"]
    assert found_by(active, "wanda") == ["Method"]


@pytest.mark.qt_log_ignore("plugin does not support")  # offscreen
def test_search_says_that_nothing_is_found(active, qtbot):
    assert "Nothing found" not in offered(active)
    edit = find(active, "expert_search_edit", QLineEdit)
    found = edit.completer().completionModel()
    for letters in ("xyz", "zy"):
        qtbot.keyClicks(edit, letters)
        labels = [found.index(row, 0).data() for row in range(found.rowCount())]
        assert labels == ["Nothing found"]
    qtbot.keyClick(edit, Qt.Key.Key_Return)
    assert edit.text() == "xyzzy"  # nothing is chosen
    qtbot.keyClicks(edit, "z")
    popup = edit.completer().popup()
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Return):
        qtbot.keyClick(popup, key)
    assert edit.text() == "xyzzyz"
    edit.clear()
    qtbot.keyClicks(edit, "densi")
    assert "Minimum density" in edit.completer().currentCompletion()
    assert edit.completer().popup().isVisible()


def test_search_runs_a_command_that_is_chosen(active, actions, qtbot):
    opened = []
    actions["open_gguf_action"].triggered.disconnect()
    actions["open_gguf_action"].triggered.connect(lambda: opened.append("gguf"))
    assert "Open GGUF file" in found_by(active, "LM Studio")
    edit = find(active, "expert_search_edit", QLineEdit)
    edit.setText("Open GGUF file")
    choose(active, "Open GGUF file")
    assert opened == ["gguf"]
    qtbot.waitUntil(lambda: edit.text() == "")
    actions["save_job_action"].setEnabled(False)
    assert "Save job" not in offered(active)


def test_drawer_opens_and_closes_by_its_buttons(place):
    drawer = find(place, "expert_drawer", QWidget)
    assert not drawer.isVisible()
    click(place, "expert_button")
    assert drawer.isVisible()
    find(place, "expert_close_button").setFocus()
    click(place, "expert_close_button")
    assert not drawer.isVisible()
    assert not find(place, "expert_button").isChecked()
    assert place.focusWidget() is find(place, "expert_button")
    place.open_expert(Step.RUN)
    assert drawer.isVisible()
    assert find(place, "run_parent_edit").isVisible()


def test_narrow_page_shows_the_drawer_in_place_of_the_curve(place):
    curve, drawer, start = (
        find(place, name) for name in ("size_curve", "expert_drawer", "start_button")
    )
    place.open_expert(Step.TARGET)
    place.setMinimumSize(1, 1)  # the window allows less than both need
    settle()
    wide = drawer.width()
    for width in (800, 1200, 800):
        place.resize(width, 560)
        settle()
        assert curve.isVisible() is (width > 1000)
        assert overlapping(place) == []
        for each in (drawer, start, find(place, "size_unit_combo")):
            area = each.rect().translated(each.mapTo(place, QPoint()))
            assert each.isVisible() and place.rect().contains(area)
        assert drawer.mapTo(place, QPoint(0, drawer.height())).y() <= (
            start.mapTo(place, QPoint()).y() if width < 1000 else place.height()
        )
        assert width < 1000 or drawer.width() == wide
    click(place, "expert_close_button")
    assert curve.isVisible()


@pytest.mark.parametrize(
    ("typed", "header"), [("density", "target"), ("export", "export")]
)
def test_return_opens_the_first_setting_or_section_that_is_found(
    active, qtbot, typed, header
):
    offered(active)
    edit = find(active, "expert_search_edit", QLineEdit)
    edit.setText(typed)
    edit.completer().setCompletionPrefix(typed)  # as typing does, without the list
    QTest.keyClick(edit, Qt.Key.Key_Return)
    assert find(active, f"step_{header}_header").isChecked()
    qtbot.waitUntil(lambda: edit.text() == "")


@pytest.mark.parametrize("focused", ["preview_button", "calibration_windows", ""])
@pytest.mark.parametrize("is_at_the_end", [False, True])
def test_preview_that_comes_or_is_replaced_moves_nothing(
    active, focused, is_at_the_end
):
    active.open_expert(Step.CALIBRATION)
    session, panel = active.session, find(active, "step_panel")
    if focused:
        find(active, focused).setFocus()
    settle()

    def place_of_button():
        settle()
        return find(active, "preview_button").mapTo(panel, QPoint()).y()

    before = place_of_button()
    known = Request("preview-1", previewed(session.state.config.calibration, 0))
    session.store.set(with_request(session.state, RequestKind.PREVIEW, known))
    assert place_of_button() == before
    if is_at_the_end:
        bar = panel.verticalScrollBar()
        bar.setValue(bar.maximum())
        assert place_of_button() < before
        before = place_of_button()
    for request in (Request("preview-2"), replace(known, id="preview-2")):
        session.store.set(with_request(session.state, RequestKind.PREVIEW, request))
        assert place_of_button() == before
    assert find(active, "preview_text").isVisible()


def test_preview_of_tokens_that_is_replaced_moves_nothing(active):
    active.open_expert(Step.TARGET)
    session, panel = active.session, find(active, "step_panel")
    rows, line = find(active, "vocabulary_rows"), find(active, "vocabulary_line")
    kind, bar = RequestKind.VOCABULARY, panel.verticalScrollBar()

    def choose_tokens(number):
        pruning = replace(session.state.config.pruning, **some_tokens(number))
        session.draft.edit_part(pruning)

    choose_tokens(1_500)
    answer = Request("a", fewer_tokens(1_500, ()))
    session.store.set(with_request(session.state, kind, answer))
    settle()
    assert "1,500" in line.text()
    bar.setValue(rows.mapTo(panel.widget(), QPoint()).y())
    position = bar.value()
    choose_tokens(1_400)
    settle()
    assert (bar.value(), rows.isVisible()) == (position, True)
    assert "1,500" not in line.text()
    session.store.set(with_request(session.state, kind, Request("b")))
    settle()
    assert (bar.value(), rows.isVisible()) == (position, True)
    session.store.set(with_request(session.state, kind, replace(answer, id="b")))
    settle()
    assert bar.value() == position
    assert "1,500" in line.text()
