"""Card with the prompt, the sampling settings, Generate and Stop."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.export_text import problem_of, progress_of
from surgeon_gui.state.playground.state import Models, PlaygroundState
from surgeon_gui.state.playground.text import status_line, summary
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import sentence
from surgeon_gui.text.prompts import EXAMPLES
from surgeon_gui.views.playground.sampling_row import SamplingRow
from surgeon_gui.widgets.controls import (
    ChoiceBox,
    button,
    described,
    enable_unless,
    finish_typing,
    problem_label,
    progress_bar,
    set_enabled,
    show_share,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import STRETCH, in_column, in_row, inside_card

_VISIBLE_LINES = 3


class PromptEdit(QPlainTextEdit):
    """A few lines of text; Ctrl+Return submits them."""

    submitted = Signal()

    def __init__(self) -> None:
        super().__init__()
        described(self, "playground_prompt")
        self.setPlaceholderText(CAPTIONS["playground_prompt"].tip)
        self.setTabChangesFocus(True)
        height = self.fontMetrics().lineSpacing() * _VISIBLE_LINES + 2 * MARGIN
        self.setFixedHeight(height)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        is_return = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_return and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.submitted.emit()
        else:
            super().keyPressEvent(event)


class PromptCard(QWidget):
    """The upper part of the tab, with a status line."""

    def __init__(self, playground: Playground) -> None:
        super().__init__()
        self._playground = playground
        self._prompt = PromptEdit()
        self._prompt.textChanged.connect(self._on_prompt_edited)
        self._prompt.submitted.connect(self._on_generate)
        self._examples = ChoiceBox("playground_examples_combo")
        self._examples.setPlaceholderText(CAPTIONS["playground_examples_combo"].label)
        for name, prompt in EXAMPLES:
            self._examples.addItem(name, prompt)
        self._examples.setCurrentIndex(-1)
        self._examples.activated.connect(self._on_example)
        self._sampling = SamplingRow()
        self._sampling.edited.connect(playground.edit_settings)
        self._sampling.seed_requested.connect(playground.draw_seed)
        self._generate = button(
            "playground_generate_button", self._on_generate, primary=True
        )
        self._stop = button("playground_stop_button", playground.stop)
        self._use_run = button("playground_run_button", playground.use_run)
        self._status = text_label(quiet=True, name="playground_status")
        self._bar = progress_bar("playground_progress_bar")
        generate = CAPTIONS["playground_generate_button"].spoken
        self._bar.setAccessibleName(tr("Progress: {task}").format(task=generate))
        self._bar.hide()
        self._summary = text_label(name="playground_summary")
        self._problem = problem_label("playground_problem")
        self._lay_out()

    def show_state(self, state: PlaygroundState) -> None:
        """Show the draft, and why it cannot be generated."""
        if self._prompt.toPlainText() != state.prompt:
            with QSignalBlocker(self._prompt):
                self._prompt.setPlainText(state.prompt)
            self._prompt.moveCursor(QTextCursor.MoveOperation.End)
        self._sampling.show_settings(state.settings, state.has_chat_template)
        obstacle, question = sentence(self._playground.obstacle), state.question
        enable_unless(self._generate, obstacle)
        can_stop = question.is_open and not question.is_cancelling
        set_enabled(self._stop, is_enabled=can_stop)
        self._show_status(state, obstacle)
        is_own = state.own != Models()
        self._use_run.setVisible(is_own and self._playground.app.shows_run)
        self._use_run.setEnabled(not question.is_open)

    def _show_status(self, state: PlaygroundState, obstacle: str) -> None:
        """Show the error; and the phase, else the obstacle, else the summary."""
        problem, is_open = problem_of(state.question), state.question.is_open
        show_text(self._problem, problem)
        status = status_line(state)
        if not is_open and obstacle:
            status = obstacle
        is_counted = state.is_writing and state.question.total > 0
        show_share(self._bar, progress_of(state.question) if is_counted else None)
        self._bar.setVisible(is_open)
        result = "" if status else summary(state)
        show_text(self._status, status)
        show_text(self._summary, result)

    def _lay_out(self) -> None:
        buttons = in_row((self._generate, 1), (self._stop, 1))
        side = in_column(self._examples, buttons, STRETCH)
        top = in_row((self._prompt, 1), side)
        bottom = in_row(
            (self._status, 1), (self._summary, 1), (self._problem, 1), self._use_run
        )
        parts = (top, self._sampling, bottom, self._bar)
        inside_card(self, *parts, margin=MARGIN)

    @Slot()
    def _on_prompt_edited(self) -> None:
        self._playground.edit_prompt(self._prompt.toPlainText())

    @Slot(int)
    def _on_example(self, index: int) -> None:
        self._playground.edit_prompt(self._examples.itemData(index))
        self._prompt.setFocus()

    @Slot()
    def _on_generate(self) -> None:
        finish_typing(self.focusWidget())  # the request must match the inputs
        self._playground.generate()
