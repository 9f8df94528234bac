"""Step 2: choose the text that shows which parts of the model matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPlainTextEdit

from surgeon_engine.config import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.events import TextPreviewed
from surgeon_gui import numbers
from surgeon_gui.app_state import AppState, Step
from surgeon_gui.dialogs import TEXT_FILES, ask_file
from surgeon_gui.forms import ConfigForm
from surgeon_gui.pages.page import Page, row_of, with_button
from surgeon_gui.session import Session
from surgeon_gui.text import BUILT_IN_TEXT, FIELDS, source_name
from surgeon_gui.translation import tr
from surgeon_gui.widgets.controls import (
    button,
    described,
    heading,
    problem_label,
    show_problem,
    text_label,
)
from surgeon_gui.widgets.source_edit import SourceEdit

_PREVIEW_HEIGHT = 150


class CalibrationPage(Page):
    """Texts, how much of them, and a look at what would be measured."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._text = SourceEdit("calibration.text", BUILTIN_TEXT, BUILT_IN_TEXT)
        self._text.edited.connect(self._on_text_edited)
        self._validation = SourceEdit(
            "calibration.validation_text", BUILTIN_TEXT, BUILT_IN_TEXT
        )
        self._validation.setPlaceholderText(tr("A part of the text above"))
        self._validation.edited.connect(self._on_validation_edited)
        self._builtin_button = button("builtin_text_button")
        file = button("text_file_button")
        validation_file = button("validation_file_button")
        self._builtin_button.clicked.connect(self._on_builtin_clicked)
        file.clicked.connect(self._on_file_clicked)
        validation_file.clicked.connect(self._on_validation_file_clicked)
        self._form = ConfigForm("calibration", CalibrationConfig)
        self._form.edited.connect(session.edit_calibration)
        self._form.refused.connect(self._on_form_refused)
        self._problem = problem_label()
        self._problem.setObjectName("calibration_problem")
        self._preview_button = button("preview_button")
        self._preview_button.clicked.connect(session.preview_text)
        self._counts = text_label(quiet=True)
        self._counts.setObjectName("preview_counts")
        self._preview = described(QPlainTextEdit(readOnly=True), "preview_text")
        self._preview.setFixedHeight(_PREVIEW_HEIGHT)

        self.column.addWidget(heading(FIELDS["calibration.text"].label))
        self.column.addLayout(with_button(self._text, file))
        self.column.addLayout(row_of(self._builtin_button))
        self.column.addWidget(heading(FIELDS["calibration.validation_text"].label))
        self.column.addLayout(with_button(self._validation, validation_file))
        self.column.addWidget(self._form)
        self.column.addWidget(self._problem)
        self.column.addLayout(row_of(self._preview_button))
        self.column.addWidget(self._counts)
        self.column.addWidget(self._preview)

    def show_state(self, state: AppState) -> None:
        """See `Page.show_state`."""
        calibration = state.config.calibration
        self._text.show_value(calibration.text)
        self._builtin_button.setVisible(calibration.text != BUILTIN_TEXT)
        self._validation.show_value(calibration.validation_text)
        if Step.CALIBRATION not in state.refused:
            self._form.show_config(calibration)
        problem = state.problems.get(Step.CALIBRATION, "")
        if Step.CALIBRATION in state.refused:
            problem = ""  # told at the form
        if (failure := state.preview.problem) is not None:
            problem = problem or f"{failure.message} {failure.hint}".strip()
        show_problem(self._problem, problem)
        can_preview = state.model_is_chosen and not state.is_busy
        self._preview_button.setEnabled(can_preview and not state.preview.is_open)
        self._preview_button.setText(
            tr("Reading the text…") if state.preview.is_open else tr("Preview")
        )
        preview = state.preview.answer
        self._counts.setVisible(preview is not None)
        self._preview.setVisible(preview is not None)
        if preview is not None:
            self._counts.setText(_counts(preview))
            shown = _windows(preview)
            if shown != self._preview.toPlainText():
                self._preview.setPlainText(shown)

    @Slot(str)
    def _on_text_edited(self, text: str) -> None:
        self.session.edit_calibration(replace(self._config, text=text or BUILTIN_TEXT))

    @Slot(str)
    def _on_validation_edited(self, text: str) -> None:
        self.session.edit_calibration(replace(self._config, validation_text=text))

    @Slot()
    def _on_builtin_clicked(self) -> None:
        self._on_text_edited(BUILTIN_TEXT)

    @Slot()
    def _on_file_clicked(self) -> None:
        self._ask(self._on_text_edited)

    @Slot()
    def _on_validation_file_clicked(self) -> None:
        self._ask(self._on_validation_edited)

    @Slot(object)
    def _on_form_refused(self, error: Exception) -> None:
        self.session.refuse_edit(Step.CALIBRATION, str(error))

    def _ask(self, chosen: Callable[[str], None]) -> None:
        ask_file(self, tr("Choose a text"), "", TEXT_FILES, chosen)

    @property
    def _config(self) -> CalibrationConfig:
        return self.session.state.config.calibration


def _counts(preview: TextPreviewed) -> str:
    return tr(
        "{calibration} tokens to calibrate on and "
        "{validation} to validate on, of {available} in "
        "{source}."
    ).format(
        calibration=numbers.whole(preview.calibration_tokens),
        validation=numbers.whole(preview.validation_tokens),
        available=numbers.whole(preview.available_tokens),
        source=source_name(preview.source),
    )


def _windows(preview: TextPreviewed) -> str:
    parts = [
        tr("Calibration, window {number}\n{text}").format(number=number, text=text)
        for number, text in enumerate(preview.calibration, start=1)
    ]
    parts += [
        tr("Validation, window {number}\n{text}").format(number=number, text=text)
        for number, text in enumerate(preview.validation, start=1)
    ]
    return "\n\n".join(parts)
