"""Card with the prompt, the sampling settings, Generate and Stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent, QTextCursor
from PySide6.QtWidgets import QCheckBox, QPlainTextEdit, QPushButton, QWidget
from typing_extensions import override

from surgeon_engine.api.config.fields import Limits, settings_of
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.export_text import problem_of, progress_of
from surgeon_gui.state.playground.state import Models, PlaygroundState
from surgeon_gui.state.playground.text import status_line, summary
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.captions.views import EXAMPLES_SHOWN
from surgeon_gui.text.problems import sentence
from surgeon_gui.text.prompts import EXAMPLES
from surgeon_gui.widgets.controls import (
    button,
    described,
    enable_unless,
    finish_typing,
    line_label,
    problem_label,
    set_enabled,
    show_button,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import (
    STRETCH,
    in_column,
    in_grid,
    in_row,
    inside_card,
    row_of,
)
from surgeon_gui.widgets.progress import ProgressBar
from surgeon_gui.widgets.spin_boxes import NumberBox

_VISIBLE_LINES = 3
_LIMITS: dict[str, Limits] = {
    name: setting.option.limits
    for name, setting in settings_of(GenerationSettings).items()
    if setting.option.limits is not None
}
_LEAST_WIDTH = 96  # pixels of a box
_MIN_TOP_P = 0.01  # 0 would allow no token
_BOXES: dict[str, tuple[str, float]] = {  # name and step
    "new_tokens": ("playground_length", 16),
    "temperature": ("playground_temperature", 0.1),
    "top_p": ("playground_top_p", 0.05),
    "seed": ("playground_seed", 1),
}


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
    """The upper part of the page, with a status line."""

    def __init__(self, playground: Playground) -> None:
        super().__init__()
        self._playground = playground
        self._prompt = PromptEdit()
        self._prompt.textChanged.connect(self._on_prompt_edited)
        self._prompt.submitted.connect(self._on_generate)
        self._examples = [
            _example_button(number, partial(self._on_example, number))
            for number in range(1, EXAMPLES_SHOWN + 1)
        ]
        self._sampling = SamplingRow(playground)
        self._generate = button(
            "playground_generate_button", self._on_generate, primary=True
        )
        self._stop = button("playground_stop_button", playground.stop)
        self._use_run = button("playground_run_button", playground.use_run)
        self._status = text_label(quiet=True, name="playground_status")
        task = CAPTIONS["playground_generate_button"].spoken
        spoken = tr("Progress: {task}").format(task=task)
        self._bar = ProgressBar("playground_progress_bar", spoken)
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
        for made, example in zip(self._examples, EXAMPLES[state.kind], strict=True):
            is_enabled = not state.question.is_open
            show_button(made, example.name, example.prompt, is_enabled=is_enabled)
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
        self._bar.show_share(progress_of(state.question) if is_counted else None)
        self._bar.setVisible(is_open)
        result = "" if status else summary(state)
        show_text(self._status, status)
        show_text(self._summary, result)

    def _lay_out(self) -> None:
        buttons = in_row((self._generate, 1), (self._stop, 1))
        side = in_column(buttons, STRETCH)
        top = in_row((self._prompt, 1), side)
        examples = row_of(line_label(tr("Try:"), quiet=True), *self._examples)
        bottom = in_row(
            (self._status, 1), (self._summary, 1), (self._problem, 1), self._use_run
        )
        parts = (top, examples, self._sampling, bottom, self._bar)
        inside_card(self, *parts, margin=MARGIN)

    @Slot()
    def _on_prompt_edited(self) -> None:
        self._playground.edit_prompt(self._prompt.toPlainText())

    def _on_example(self, number: int) -> None:
        finish_typing(self.focusWidget())
        self._playground.use_example(number - 1)

    @Slot()
    def _on_generate(self) -> None:
        finish_typing(self.focusWidget())  # the request must match the inputs
        self._playground.generate()


def _example_button(number: int, on_click: Callable[[], None]) -> QPushButton:
    made = button(f"playground_example_button_{number}", on_click)
    made.setProperty("chip", True)
    return made


class SamplingRow(QWidget):
    """Four numbers, a button for a new seed, and a check box for the chat template."""

    def __init__(self, playground: Playground) -> None:
        super().__init__()
        self._playground = playground
        self._settings = GenerationSettings()
        self._boxes: dict[str, NumberBox] = {
            field: _box(field, *row) for field, row in _BOXES.items()
        }
        self._new_seed = button("playground_new_seed_button", playground.draw_seed)
        self._chat = QCheckBox(CAPTIONS["playground_chat_check"].label)
        described(self._chat, "playground_chat_check")
        self._chat.toggled.connect(self._on_edited)
        boxes = in_grid(self, wide=5)
        for index, box in enumerate(self._boxes.values()):
            box.valueChanged.connect(self._on_edited)
            label = line_label(CAPTIONS[box.objectName()].label)
            label.setBuddy(box)
            row, place = divmod(index, 2)
            boxes.addWidget(label, row, 2 * place)
            boxes.addWidget(box, row, 2 * place + 1)
        boxes.addWidget(self._chat, 0, 4)
        boxes.addWidget(self._new_seed, 1, 4)

    def show_settings(
        self, settings: GenerationSettings, has_template: bool | None
    ) -> None:
        """Show settings, and whether there is a chat template (None if unknown)."""
        self._settings = settings
        for field, box in self._boxes.items():
            value = getattr(settings, field)
            if box.value() == value:
                continue  # its text may be incomplete: it is being typed
            with QSignalBlocker(box):
                box.setValue(value)
        with QSignalBlocker(self._chat):
            self._chat.setChecked(settings.as_chat)
        # Greedy decoding uses neither seed nor top-p.
        is_sampled = settings.temperature > 0
        reason = tr("At temperature 0, the most likely token is always chosen.")
        for widget in (self._boxes["seed"], self._new_seed, self._boxes["top_p"]):
            enable_unless(widget, "" if is_sampled else reason)
        is_unavailable = has_template is False and not settings.as_chat
        reason = tr("The tokenizer of these models has no chat template.")
        enable_unless(self._chat, reason if is_unavailable else "")

    @Slot()
    def _on_edited(self) -> None:
        values: dict[str, Any] = {
            field: box.value() if box.decimals() else round(box.value())
            for field, box in self._boxes.items()
        }
        values["as_chat"] = self._chat.isChecked()
        self._playground.edit_settings(replace(self._settings, **values))


def _box(field: str, name: str, step: float) -> NumberBox:
    """Return the box of a number, which is whole if its step is."""
    is_whole = isinstance(step, int)
    box = described(NumberBox(decimals=0 if is_whole else 2), name)
    low, high = _LIMITS[field].low, _LIMITS[field].high
    box.setRange(_MIN_TOP_P if field == "top_p" else low, high)
    box.setSingleStep(step)
    if is_whole:
        box.setMinimumWidth(_LEAST_WIDTH)  # the longest seed would take much more
    return box
