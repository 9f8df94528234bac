"""The Playground tab in every state, with a fake engine."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication, QHelpEvent, QTextCursor, QTextFormat
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QListWidget, QToolTip

from surgeon_engine.api.messages.generation import Side
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.colors import DARK, LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.playground.state import Token
from surgeon_gui.state.run import Status
from surgeon_gui.text import numbers
from surgeon_gui.text.prompts import EXAMPLES, PromptKind, first_prompt
from surgeon_gui.views.playground.prompt_card import PromptCard
from surgeon_gui.views.playground.text_view import TextView, shade
from surgeon_gui.widgets.tool_tips import plain_tip
from tests.helpers.fake_playground import NATS, TEXTS, TOO_LONG
from tests.helpers.widget_queries import SLOW, is_on, shown
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    find_type,
    load_and_wait,
    open_place,
    run_of,
    wait_for_status,
    wait_until,
)

DEMO_PROMPTS = EXAMPLES[PromptKind.DEMO]
FIRST = first_prompt(PromptKind.DEMO)


@pytest.fixture
def make_playground(qtbot, make_window):
    """Return a function that makes windows with the tab open, before or after a run."""

    def make(*options, has_run=True, config=QUICK):
        window = make_window(*options)
        load_and_wait(qtbot, window, config)
        if has_run:
            window.start_run()
            wait_for_status(qtbot, window, Status.FINISHED)
            Path(run_of(window).exported.folder).mkdir(parents=True, exist_ok=True)
            window.session.changed.emit()
        open_place(window, "playground")
        return window

    return make


@pytest.fixture
def slow_playground(make_playground):
    """Return a window without a run, with slow models."""
    window = make_playground(*SLOW, has_run=False)
    for side in Side:
        playground_of(window).choose_model(side, DEMO)
    return window


@pytest.fixture
def written(qtbot, make_playground):
    """Return a window in which two texts have been generated and compared."""
    window = make_playground()
    generate(qtbot, window)
    return window


def playground_of(window):
    return window.findChild(Playground)


def generate(qtbot, window):
    click(window, "playground_generate_button")
    wait_until_done(qtbot, window)


def wait_until_done(qtbot, window):
    def is_done():
        return playground_of(window).state.question.id and is_idle(window)

    qtbot.waitUntil(is_done, timeout=TIMEOUT_MS)


def is_idle(window):
    return not playground_of(window).state.question.is_open


def text(window, side):
    return find(window, f"playground_{side.value}_text").toPlainText()


def figures(window, side):
    line = find(window, f"playground_{side.value}_figures").text()
    return line.replace("\xa0", " ")


def models(window):
    return [find(window, f"playground_{s.value}_model").text() for s in Side]


def test_tab_without_a_run_explains_what_to_do(make_playground, tmp_path):
    window = make_playground(has_run=False)
    assert not is_on(window, "playground_generate_button")
    assert find(window, "playground_prompt").toPlainText() == FIRST
    reason = shown(window, "playground_status")
    assert reason
    assert find(window, "playground_generate_button").toolTip() == plain_tip(reason)
    assert not find(window, "playground_differences").isVisible()


def test_texts_are_shown_with_speed(written):
    assert models(written) == ["Bundled demo", title_of_run(written)]
    assert text(written, Side.ORIGINAL).startswith(f"{FIRST} loads a module")
    assert text(written, Side.PRUNED).startswith(f"{FIRST} loads the moon")
    assert figures(written, Side.ORIGINAL).startswith("7 tokens · 12.0 tokens/s")
    assert "20.0 tokens/s · ended" in figures(written, Side.PRUNED)
    assert "Same top token for 58" in shown(written, "playground_summary")
    assert is_on(written, "playground_generate_button")
    assert not is_on(written, "playground_stop_button")


def title_of_run(window):
    size = numbers.size(run_of(window).exported.weight_bytes)
    return f"Bundled demo \N{MIDDLE DOT} {size}"


def test_tokens_appear_during_generation(qtbot, slow_playground):
    window = slow_playground
    click(window, "playground_generate_button")
    assert not is_on(window, "playground_generate_button")
    assert is_on(window, "playground_stop_button")
    bar = find(window, "playground_progress_bar")
    assert bar.isVisible()
    assert bar.maximum() == 0  # it moves while the models are loaded
    wait_until(qtbot, lambda: " the" in text(window, Side.PRUNED))
    assert "name" not in text(window, Side.ORIGINAL)
    assert not is_idle(window)
    assert figures(window, Side.PRUNED).endswith("tokens")
    for name in ("original", "pruned"):
        assert not is_on(window, f"playground_{name}_button")
    state = playground_of(window).state
    counted = replace(state.question, stage=Stage.GENERATION, done=1, total=2)
    find_type(window, PromptCard).show_state(replace(state, question=counted))
    assert bar.value() == bar.maximum() // 2
    wait_until_done(qtbot, window)
    assert not bar.isVisible()


def test_stop_keeps_the_texts(qtbot, slow_playground):
    window = slow_playground
    click(window, "playground_generate_button")
    wait_until(qtbot, lambda: " loads" in text(window, Side.PRUNED))
    click(window, "playground_stop_button")
    wait_until_done(qtbot, window)
    assert playground_of(window).state.question.response is not None
    assert shown(window, "playground_summary")  # it is compared
    assert " loads" in text(window, Side.ORIGINAL)
    assert "." not in text(window, Side.PRUNED)
    click(window, "playground_generate_button")
    wait_until(qtbot, lambda: " loads" in text(window, Side.PRUNED))
    for _ in range(2):  # the second one cancels
        click(window, "playground_stop_button")
    assert not is_on(window, "playground_stop_button")
    wait_until_done(qtbot, window)
    assert playground_of(window).state.question.is_cancelled
    assert " loads" in text(window, Side.ORIGINAL)
    generate(qtbot, window)
    assert not playground_of(window).state.is_stopping


def test_failure_is_shown_with_its_hint(qtbot, make_playground):
    window = make_playground()
    find(window, "playground_prompt").setPlainText("This is too long")
    generate(qtbot, window)
    assert TOO_LONG in shown(window, "playground_problem")
    assert text(window, Side.ORIGINAL) == ""
    find(window, "playground_prompt").setPlainText("This is shorter")
    generate(qtbot, window)
    assert shown(window, "playground_problem") == ""
    assert text(window, Side.ORIGINAL).startswith("This is shorter loads")


def test_start_of_a_run_cancels_generation(qtbot, slow_playground):
    window = slow_playground
    click(window, "playground_generate_button")
    window.start_run()
    wait_until_done(qtbot, window)
    assert playground_of(window).state.question.is_cancelled
    wait_for_status(qtbot, window, Status.RUNNING)


def examples(window):
    buttons = [find(window, f"playground_example_button_{n}") for n in (1, 2, 3)]
    return [button.text() for button in buttons]


def chat_model(folder):
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ x }}"}')
    return str(folder)


def plain_model(path):
    path.write_bytes(b"GGUF without a template")
    return str(path)


def test_example_is_generated_by_a_click(qtbot, make_playground):
    window = make_playground()
    assert examples(window) == [each.name for each in DEMO_PROMPTS]
    click(window, "playground_example_button_2")
    wait_until_done(qtbot, window)
    assert find(window, "playground_prompt").toPlainText() == DEMO_PROMPTS[1].prompt
    assert text(window, Side.PRUNED).startswith(DEMO_PROMPTS[1].prompt)


def test_first_prompt_and_examples_fit_the_model(make_playground, tmp_path):
    window = make_playground(has_run=False)
    playground, prompt = playground_of(window), find(window, "playground_prompt")
    playground.choose_model(Side.ORIGINAL, chat_model(tmp_path / "chat"))
    assert prompt.toPlainText() == first_prompt(PromptKind.CHAT)
    assert playground.state.settings.as_chat
    assert examples(window) == [each.name for each in EXAMPLES[PromptKind.CHAT]]
    playground.choose_model(Side.ORIGINAL, plain_model(tmp_path / "plain.gguf"))
    assert prompt.toPlainText() == first_prompt(PromptKind.TEXT)
    assert not playground.state.settings.as_chat
    later = tmp_path / "later"  # its files arrive after it was chosen
    playground.choose_model(Side.ORIGINAL, str(later))
    assert playground.state.kind is PromptKind.TEXT
    playground.choose_model(Side.ORIGINAL, chat_model(later))
    assert playground.state.kind is PromptKind.CHAT
    playground.choose_model(Side.ORIGINAL, plain_model(tmp_path / "other.gguf"))
    prompt.setPlainText("My own")  # it stays
    playground.choose_model(Side.ORIGINAL, str(later))
    assert prompt.toPlainText() == "My own"
    assert not playground.state.settings.as_chat


def test_engine_knows_better_whether_a_model_chats(qtbot, make_playground, tmp_path):
    window = make_playground()
    playground = playground_of(window)
    playground.choose_model(Side.ORIGINAL, chat_model(tmp_path / "chat"))
    assert playground.state.kind is PromptKind.CHAT
    playground.generate()
    wait_until_done(qtbot, window)  # the fake engine finds no template
    assert playground.state.kind is PromptKind.TEXT


def test_settings_are_sent_with_the_request(qtbot, make_playground):
    window = make_playground()
    assert not is_on(window, "playground_seed")  # at temperature 0
    for name, typed in (("temperature", "1.25"), ("top_p", "0.95")):
        box = find(window, f"playground_{name}")
        box.selectAll()
        QTest.keyClicks(box, typed)
    find(window, "playground_seed").setValue(41)
    find(window, "playground_length").setValue(3)
    find(window, "playground_chat_check").setChecked(True)
    prompt = find(window, "playground_prompt")
    prompt.setPlainText("My own")
    QTest.keyClick(prompt, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    wait_until_done(qtbot, window)
    assert playground_of(window).state.settings.as_chat
    assert is_on(window, "playground_chat_check")
    find(window, "playground_chat_check").setChecked(False)
    assert not is_on(window, "playground_chat_check")  # the models have no template
    settings = playground_of(window).state.settings
    assert (settings.temperature, settings.top_p) == (1.25, 0.95)
    assert (settings.seed, settings.new_tokens) == (41, 3)
    assert text(window, Side.ORIGINAL).startswith("My own")
    assert text(window, Side.ORIGINAL).endswith(" loads a module")
    click(window, "playground_new_seed_button")
    seed = find(window, "playground_seed").value()
    assert seed == playground_of(window).state.settings.seed != 41
    find(window, "playground_prompt").setPlainText("A \N{SLIGHTLY SMILING FACE}")
    generate(qtbot, window)
    assert text(window, Side.PRUNED) == "A \N{SLIGHTLY SMILING FACE} loads the moon"
    pane = find(window, "playground_pruned_text")
    pane.show_token(1)
    assert pane.textCursor().selectedText() == " the"


def test_other_models_can_be_chosen_and_reset_to_those_of_the_run(
    qtbot, make_playground, tmp_path
):
    window = make_playground()
    assert not find(window, "playground_run_button").isVisible()
    find(window, "playground_pruned_folder_action", object).trigger()
    dialog = window.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "gone"))
    dialog.reject()
    assert models(window) == ["Bundled demo", "gone"]
    assert not is_on(window, "playground_generate_button")
    assert shown(window, "playground_status")
    (tmp_path / "gone").mkdir()
    window.session.changed.emit()
    find(window, "playground_original_demo_action", object).trigger()
    generate(qtbot, window)
    click(window, "playground_run_button")
    assert models(window)[1] == title_of_run(window)


def check_shades(written, theme):
    for side in Side:
        pane = find(written, f"playground_{side.value}_text")
        for index, (piece, nats) in enumerate(
            zip(TEXTS[side], NATS[side], strict=True)
        ):
            if piece:
                expected = shade(theme, nats)
                cursor = QTextCursor(pane.document())
                cursor.setPosition(pane._start(index) + 1)  # after a character of it
                style = cursor.charFormat()
                has_color = style.hasProperty(QTextFormat.Property.BackgroundBrush)
                color = style.background().color().name() if has_color else None
                assert color == (QColor(expected).name() if expected else None), index


@pytest.mark.qt_log_ignore("does not support raise")  # from the tooltip, offscreen
def test_text_stays_at_its_end_in_a_lower_view(qtbot):
    view = TextView("playground_pruned_text")
    qtbot.addWidget(view)
    view.resize(200, 200)
    view.show()
    view.show_text("Once", [Token(" upon a time\n")] * 50)
    bar = view.verticalScrollBar()
    for height, value in ((100, None), (150, 3)):
        view.resize(200, height)
        assert bar.value() == (bar.maximum() if value is None else value)
        bar.setValue(3)  # as the user, who reads above


def test_tokens_are_shaded_explained_selected_and_copied(qapp, written):
    for choice, theme in ((ThemeChoice.DARK, DARK), (ThemeChoice.LIGHT, LIGHT)):
        apply_theme(qapp, choice)
        QApplication.processEvents()
        check_shades(written, theme)
    check_tooltip(written)
    lines = find(written, "playground_differences", QListWidget)
    assert "moon" in lines.item(0).text()
    assert lines.viewport().height() % lines.sizeHintForRow(0) == 0  # no half row
    lines.itemClicked.emit(lines.item(0))
    pane = find(written, "playground_pruned_text")
    assert pane.textCursor().selectedText() == " moon"
    lines.setCurrentRow(2)
    lines.itemActivated.emit(lines.item(2))
    other = find(written, "playground_original_text")
    assert other.textCursor().selectedText() == " a"
    click(written, "playground_pruned_copy_button")
    copied = QGuiApplication.clipboard().text()
    assert copied == f"{FIRST} loads the moon\n."  # without marks
    pane.selectAll()
    pane.copy()
    assert QGuiApplication.clipboard().text() == copied


def check_tooltip(written):
    pane = find(written, "playground_pruned_text")
    cursor = pane.textCursor()

    def edge(position):
        cursor.setPosition(position)
        return pane.cursorRect(cursor)

    start = len(FIRST) + len(" loads the")
    # In both halves of its first and last letter.
    for position in (start, start + len(" moon") - 1):
        left, right = edge(position), edge(position + 1)
        for share in (0.3, 0.7):
            x = round(left.left() + share * (right.left() - left.left()))
            assert pane.token_at(QPoint(x, left.center().y())) == 2
    left = edge(start)
    assert pane.token_at(QPoint(left.left(), left.bottom() + 90)) is None
    prompt = QPoint(8, left.center().y())
    assert pane.token_at(prompt) is None
    point = left.center() + QPoint(2, 0)
    event = QHelpEvent(
        QHelpEvent.Type.ToolTip, point, pane.viewport().mapToGlobal(point)
    )
    QApplication.sendEvent(pane.viewport(), event)
    assert QToolTip.text() == plain_tip(pane.tip_of(2))
    QToolTip.hideText()
