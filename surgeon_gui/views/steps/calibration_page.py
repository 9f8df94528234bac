"""The section Calibration: choose the text for calibration and validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPlainTextEdit, QPushButton, QWidget
from typing_extensions import override

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    MoreText,
)
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.messages.sources import TextPreviewed
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.sources import TextController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.reading import is_text_due, text_problem, wait_note
from surgeon_gui.state.sources.resolver import resolve_text
from surgeon_gui.state.sources.text import (
    PreviewPart,
    own_text_line,
    preview_facts,
    preview_line,
    preview_parts,
)
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import BUILT_IN_TEXT, FIELDS
from surgeon_gui.text.problems import Step, sentence
from surgeon_gui.views.steps.more_texts import MoreTexts
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.text_parts import TextParts
from surgeon_gui.widgets.controls import (
    bold,
    button,
    described,
    heading,
    mark_invalid,
    problem_label,
    set_enabled,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import TEXT_FILES, ask_file
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.forms.form import ConfigForm, Values
from surgeon_gui.widgets.layouts import STRETCH, in_row, row_of, vertical, with_button
from surgeon_gui.widgets.source_edit import SourceEdit

_NO_DATA_SET = {"dataset_config": "", "split": "", "validation_split": ""}
_NO_PARTS = {"column": "", **_NO_DATA_SET}
_HEIGHT = 170


class CalibrationPage(Page):
    """The texts, the number of windows, and a preview."""

    step = Step.CALIBRATION

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._text = SourceEdit("calibration.text", BUILTIN_TEXT, BUILT_IN_TEXT)
        self._text.setPlaceholderText(tr("A file, or organization/name on the Hub"))
        self._text.edited.connect(self.choose_text)
        self._texts = TextController(session, self)
        self._parts = TextParts()
        self._parts.edited.connect(lambda changes: self._edit(**changes))
        self._validation = SourceEdit(
            "calibration.validation_text", BUILTIN_TEXT, BUILT_IN_TEXT
        )
        self._validation.edited.connect(self._on_validation_edited)
        use_builtin = partial(self.choose_text, BUILTIN_TEXT)
        self._builtin_button = button("builtin_text_button", use_builtin)
        file = button("text_file_button", self._on_file_clicked)
        validation_file = button(
            "validation_file_button", self._on_validation_file_clicked
        )
        self._more_texts = MoreTexts()
        self._more_texts.edited.connect(session.draft.edit_part)
        self._form = ConfigForm("calibration", CalibrationConfig)
        self._form.edited.connect(session.draft.edit_part)
        self._form.refused.connect(self.reject_edit)
        self._judging = JudgingTexts()
        self._judging.edited.connect(session.draft.edit_part)
        self._judging.refused.connect(self.reject_edit)
        self._problems = {
            name: (edit, problem_label(f"{name}_problem"))
            for name, edit in (
                ("text", self._text),
                ("validation_text", self._validation),
            )
        }
        self._preview_button = button("preview_button", session.draft.preview_text)
        self._counts = text_label(quiet=True, name="preview_counts")
        self._own_text = text_label(quiet=True, name="own_text_note")
        self._preview_facts = Facts("preview_facts")
        self._pager = WindowPager()
        self._lay_out(file, validation_file)

    def _lay_out(self, file: QPushButton, validation_file: QPushButton) -> None:
        self.column.addWidget(heading(FIELDS["calibration.text"].label))
        self.column.addLayout(with_button(self._text, file))
        self.column.addWidget(self._problems["text"][1])
        self.column.addLayout(row_of(self._builtin_button))
        self.column.addWidget(self._parts)
        self.column.addWidget(heading(FIELDS["calibration.validation_text"].label))
        self.column.addLayout(with_button(self._validation, validation_file))
        self.column.addWidget(self._problems["validation_text"][1])
        self.column.addWidget(self._more_texts)
        self.column.addWidget(self._form)
        self.column.addWidget(self._judging)
        self.column.addLayout(row_of(self._preview_button))
        self.column.addWidget(self._counts)
        self.column.addWidget(self._own_text)
        self.column.addWidget(self._preview_facts)
        self.column.addWidget(self._pager)

    @override
    def show_state(self, state: AppState) -> None:
        calibration = state.config.calibration
        self._text.show_value(calibration.text)
        self._builtin_button.setVisible(calibration.text != BUILTIN_TEXT)
        self._parts.show_state(state)
        self._validation.show_value(calibration.validation_text)
        self._validation.setPlaceholderText(
            tr("A part of the text above")
            if calibration.draws_windows
            else tr("Another token file or a text")
        )
        problems = self.problems(state)
        for name, (edit, label) in self._problems.items():
            mark_invalid(edit, name in problems)
            show_text(label, problems.get(name, ""))
        self._more_texts.show_state(state, problems.get("more_texts", ""))
        if Step.CALIBRATION not in state.rejected:
            self._form.show_config(calibration, problems)
            self._judging.show_config(state.config.evaluation, problems)
        can_preview = state.model_is_chosen and not state.is_busy
        request = state.request(RequestKind.PREVIEW)
        is_enabled = can_preview and not request.is_open
        set_enabled(self._preview_button, is_enabled=is_enabled)
        is_read = request.is_open and not state.is_busy
        self._preview_button.setText(
            tr("Reading the text…") if is_read else tr("Preview")
        )
        if (is_read or self._texts.is_soon) and not self._pager.isHidden():
            return  # the last preview stays until the next one: nothing moves
        preview: TextPreviewed | None = request.response
        text = state.config.calibration.text
        counts = wait_note(state, text) if is_text_due(state) else ""
        if preview is not None:
            counts = preview_line(preview)
        show_text(self._counts, counts)
        show_text(self._own_text, own_text_line(preview, state.config.own_windows))
        self._preview_facts.show_facts(
            () if preview is None else preview_facts(preview)
        )
        self._pager.show_preview(preview, state.config.own_windows)

    @override
    def problems(self, state: AppState) -> dict[str, str]:
        """Return also what is wrong according to the engine."""
        found = super().problems(state)
        for kind in (RequestKind.PREVIEW, RequestKind.DESCRIPTION):
            if (error := state.request(kind).error) is not None:
                problem = text_problem(error, state.config.calibration)
                found.setdefault(problem.setting, sentence(problem))
        return found

    @Slot(str)
    def choose_text(self, text: str) -> None:
        """Choose a file, a dataset or the built-in text for calibration."""
        text, config = resolve_text(text) or BUILTIN_TEXT, self._config
        parts = _NO_PARTS if text != config.text else {}
        # No text stands twice in the list.
        others = (x for x in config.more_texts if x != MoreText(text, x.share))
        self._edit(text=text, more_texts=tuple(others), **parts)

    @Slot(str)
    def _on_validation_edited(self, text: str) -> None:
        text = resolve_text(text)
        is_data_set = is_hub_source(text) or is_hub_source(self._config.text)
        self._edit(validation_text=text, **({} if is_data_set else _NO_DATA_SET))

    @Slot()
    def _on_file_clicked(self) -> None:
        self._ask(self.choose_text, self._config.text)

    @Slot()
    def _on_validation_file_clicked(self) -> None:
        current = self._config.validation_text or self._config.text
        self._ask(self._on_validation_edited, current)

    def _edit(self, **changes: Any) -> None:
        with self.session.store.showing_errors():
            self.session.draft.edit_part(replace(self._config, **changes))

    def _ask(self, on_chosen: Callable[[str], None], current: str) -> None:
        title, kinds = tr("Choose a text"), TEXT_FILES
        ask_file(self, title, "", kinds, on_chosen, engine_path=current)

    @property
    def _config(self) -> CalibrationConfig:
        return self.session.state.config.calibration


class JudgingTexts(ConfigForm):
    """A line with the names of the texts; their windows are an advanced setting."""

    def __init__(self) -> None:
        super().__init__(
            "evaluation", EvaluationConfig, _with_resolved_texts, in_front=("texts",)
        )


def _with_resolved_texts(before: Values, after: Values) -> Values:
    texts = (
        BUILTIN_TEXT if typed == BUILT_IN_TEXT else resolve_text(typed)
        for typed in after["texts"]
    )
    return {"texts": tuple(texts)}


class WindowPager(QWidget):
    """Shows the first windows of each text, then those that the model has written."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("window_pager")
        self._preview: TextPreviewed | None = None
        self._parts: tuple[PreviewPart, ...] = ()
        self._index = 0
        self._title = text_label()
        self._title.setFont(bold(self._title.font()))
        self._title.setObjectName("window_title")
        self._back, self._next = (
            button("window_back_button", partial(self._go, -1)),
            button("window_on_button", partial(self._go, 1)),
        )
        self._jump = button("window_jump_button", self._on_jump)
        self._text = described(QPlainTextEdit(readOnly=True), "preview_text")
        self._text.setFixedHeight(_HEIGHT)
        row = in_row(self._back, self._next, STRETCH, self._jump)
        vertical(self, self._title, self._text, row, spacing=GAP // 2)
        self.hide()

    def show_preview(self, preview: TextPreviewed | None, own_windows: int) -> None:
        """Show the first window of a text; an unchanged preview keeps its window."""
        self.setVisible(preview is not None)
        if preview is self._preview:
            return
        self._preview, self._index = preview, 0
        self._parts = () if preview is None else preview_parts(preview, own_windows)
        self._draw()

    @Slot()
    def _on_jump(self) -> None:
        if self._parts:
            part, _ = self._place
            next_part = (part + 1) % len(self._parts)
            self._index = sum(len(each.shown) for each in self._parts[:next_part])
            self._draw()

    def _go(self, windows: int) -> None:
        self._index += windows
        self._draw()

    @property
    def _place(self) -> tuple[int, int]:
        """The part that the shown window belongs to, and its number in that part."""
        number = self._index
        for part, each in enumerate(self._parts):
            if number < len(each.shown):
                return part, number
            number -= len(each.shown)
        raise IndexError(self._index)

    def _draw(self) -> None:
        if not self._parts:
            self._text.clear()
            return
        index, number = self._place
        part = self._parts[index]
        self._text.setPlainText(part.shown[number])
        self._back.setEnabled(self._index > 0)
        count = sum(len(each.shown) for each in self._parts)
        self._next.setEnabled(self._index < count - 1)
        self._jump.setText(self._parts[(index + 1) % len(self._parts)].jump)
        self._title.setText(
            part.title.format(
                number=number + 1,
                total=numbers.whole(part.windows),
                tokens=numbers.whole(part.tokens),
            )
        )
