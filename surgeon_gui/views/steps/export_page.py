"""The section Export: destination and format of the pruned model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from PySide6.QtCore import Slot
from typing_extensions import override

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.export_marker import MARKER
from surgeon_engine.api.model_info.source_names import without_number_format
from surgeon_engine.api.run_folder import plain_name
from surgeon_engine.base.files import expand_path, free_path
from surgeon_engine.planning.formats import impossible_formats
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import file_formats, plan_text
from surgeon_gui.state.job.checks import is_destination_of
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Step
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.steps.page import Page
from surgeon_gui.widgets.controls import (
    button,
    heading,
    mark_invalid,
    problem_label,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.dialogs import ask_folder
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.layouts import row_of, with_button
from surgeon_gui.widgets.source_edit import SourceEdit


class ExportPage(Page):
    """The settings of the export of the next run."""

    step = Step.EXPORT

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.question = ReplaceQuestion(session.store, self)
        self._folder = SourceEdit("export.folder")
        self._folder.setPlaceholderText(tr("In the run folder"))
        self._folder.edited.connect(self._on_folder_edited)
        choose = button("export_choose_button", self.ask_for_folder)
        self._replace = button("export_replace_button", self._on_replace_clicked)
        self._problem = problem_label("export_problem")
        self._form = ConfigForm(
            "export", ExportConfig, file_formats.implied_changes, in_front=("dtype",)
        )
        self._form.edited.connect(session.draft.edit_part)
        self._form.refused.connect(self.reject_edit)
        self._about = text_label(quiet=True, name="export_format_note")
        self._sizes = text_label(quiet=True, name="export_sizes_note")
        self._quantized = text_label(quiet=True, name="export_quantized_note")
        self._fallback = warning_label("export_fallback_note")
        self._larger = warning_label("export_larger_forecast")
        self._form.add_below("format", self._about)
        for label in (self._quantized, self._sizes, self._fallback, self._larger):
            self._form.add_below("dtype", label)
        self._note = text_label(quiet=True, name="export_note")

        self.column.addWidget(heading(FIELDS["export.folder"].label))
        self.column.addLayout(with_button(self._folder, choose))
        self.column.addWidget(self._problem)
        self.column.addLayout(row_of(self._replace))
        self.column.addWidget(self._form)
        self.column.addWidget(self._note)

    @override
    def show_state(self, state: AppState) -> None:
        export = state.config.export
        self._folder.show_value(export.folder)
        problems = self.problems(state)
        problem = problems.get("folder", "")
        if Step.EXPORT not in state.rejected:
            self._form.show_config(export, problems)
        self._show_choices(state)
        # During a run, the files at its destination are its own.
        if state.run.status.is_busy and is_destination_of(state.run, export):
            problem = ""
        show_text(self._problem, problem)
        mark_invalid(self._folder, bool(problem))
        self._replace.setVisible(state.can_replace and bool(problem))
        self._note.setText(_note(export, may_replace=state.may_replace))
        self._show_sizes(state)

    def _show_choices(self, state: AppState) -> None:
        export = state.config.export
        reasons = impossible_formats(state.config.pruning, state.model)
        self._form.disable_choices("format", reasons)
        dtypes = file_formats.disabled_dtypes(export.format, state.model)
        self._form.disable_choices("dtype", dtypes)
        parts = [choice_label(export.format)[1]]
        if state.model is not None:
            parts.append(plan_text.chosen_format(state.config, state.model))
            parts.append(plan_text.own_code(state.config, state.model))
        self._about.setText(" ".join(filter(None, parts)))

    def _show_sizes(self, state: AppState) -> None:
        quantized = fallback = sizes = larger = ""
        if state.model is not None:
            quantized = plan_text.quantized_note(
                state.config, state.model, on_cuda=state.on_cuda
            )
            fallback = plan_text.fallback_warning(state.config, state.model)
            sizes = plan_text.format_sizes(state.config, state.model)
            larger = plan_text.larger_forecast(state.config, state.model)
        show_text(self._quantized, quantized)
        show_text(self._fallback, fallback)
        show_text(self._sizes, sizes)
        show_text(self._larger, larger)

    @Slot(str)
    def _on_folder_edited(self, folder: str) -> None:
        export = self.session.state.config.export
        with self.session.store.showing_errors():
            self.session.draft.edit_part(replace(export, folder=folder))

    @Slot()
    def ask_for_folder(self) -> None:
        """Ask for the folder of the result."""
        title, chosen = tr("Choose a folder for the result"), self._on_folder_chosen
        current = self.session.state.config.export.folder
        ask_folder(self, title, "", chosen, engine_path=current)

    @Slot(str)
    def _on_folder_chosen(self, folder: str) -> None:
        """Take a folder; in one with other files, a new folder."""
        state = self.session.state
        is_taken = not state.computer and paths.is_occupied(folder)
        if is_taken and not paths.exists(f"{folder}/{MARKER}"):
            name = without_number_format(plain_name(state.config.model.source))
            folder = str(free_path(expand_path(folder) / f"{name}-pruned"))
        self._on_folder_edited(folder)

    @Slot()
    def _on_replace_clicked(self) -> None:
        folder = self.session.state.config.export.folder
        on_yes = partial(self._on_consent, folder)
        self.question.ask_about(folder, on_yes, self.ask_for_folder)

    def _on_consent(self, folder: str) -> None:
        if folder == self.session.state.config.export.folder:
            self.session.draft.allow_to_replace(True)


def _note(export: ExportConfig, *, may_replace: bool) -> str:
    """Describe how the files are written at the end of a run."""
    note = tr(
        "At the end of the run, the files are written to a temporary folder, reloaded "
        "and compared with the model in memory, then moved to the destination."
    )
    if may_replace:
        note += " " + tr("The export in {folder} is then replaced.").format(
            folder=export.folder
        )
    return note
