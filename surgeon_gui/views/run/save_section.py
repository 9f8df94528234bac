"""Save the result of a run in another format, and list what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.messages.run import Exported
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.bars import path_of
from surgeon_gui.state.export_text import (
    ended_note,
    problem_of,
    save_forecast,
    saved_facts,
    saved_sentence,
    unrun_note,
)
from surgeon_gui.state.job import checks, file_formats
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    button,
    described,
    enable_unless,
    heading,
    mark_invalid,
    problem_label,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.dialogs import ask_folder, open_folder
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.layouts import inside_card, row_of, vertical, with_button
from surgeon_gui.widgets.source_edit import SourceEdit


class SaveSection(QWidget):
    """Format, destination, progress, and the list of saved files."""

    saved = Signal(str, str)  # a sentence, the path; empty: on another computer

    def __init__(self, session: Session, question: ReplaceQuestion) -> None:
        super().__init__()
        self._session = session
        self._question = question
        self._form = ConfigForm(
            "export",
            ExportConfig,
            file_formats.implied_changes,
            name="save",
            in_front=("dtype",),
        )
        self._form.edited.connect(session.edit_save_config)
        self._about = text_label(quiet=True, name="save_format_note")
        self._size = text_label(quiet=True, name="save_size_note")
        self._larger = warning_label("save_larger_note")
        self._form.add_below("format", self._about)
        self._form.add_below("dtype", self._size)
        self._form.add_below("dtype", self._larger)
        self._folder = described(SourceEdit("export.folder"), "save_folder")
        self._folder.edited.connect(self._on_folder_edited)
        self._choose = button("save_choose_button", self._ask_for_folder)
        self._problem = problem_label("save_problem")
        self._note = text_label(quiet=True, name="save_note")
        self._save = button("save_button", self._on_save_clicked)
        cancel = partial(session.store.cancel_request, RequestKind.SAVE)
        self._progress = TaskProgress("save", cancel, self._save)
        self._saved = SavedList()
        session.request_ended.connect(self._on_request_ended)
        vertical(
            self,
            self._form,
            heading(FIELDS["export.folder"].label),
            with_button(self._folder, self._choose),
            self._problem,
            row_of(self._save),
            self._progress,
            self._note,
            self._saved,
        )

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Any]) -> None:
        saved = request.response
        if kind is RequestKind.SAVE and saved is not None:
            path = "" if self._session.state.computer else path_of(saved)
            self.saved.emit(saved_sentence(saved), path)

    def show_state(self, state: AppState) -> None:
        """Show the available formats, the progress, and the saved files."""
        run, exported = state.shown_run, state.shown_run.exported
        request = state.request_of_run(RequestKind.SAVE)
        self._progress.show_request(request)
        enable_unless(self._save, sentence(checks.save_obstacle(state)))
        self.setVisible(exported is not None and run.status is Status.FINISHED)
        if exported is None:
            return
        self._form.show_config(state.save_config)
        reasons = file_formats.disabled_save_formats(exported)
        self._form.disable_choices("format", reasons)
        dtypes = file_formats.disabled_dtypes(state.save_config.format, run.model)
        self._form.disable_choices("dtype", dtypes)
        self._about.setText(choice_label(state.save_form.format)[1])
        size, larger = save_forecast(run, state.save_config)
        show_text(self._size, size)
        show_text(self._larger, larger)
        self._folder.show_value(state.save_config.folder)
        inside = file_formats.default_folder(
            PurePath(tr("the run folder")), state.save_form
        )
        self._folder.setPlaceholderText(tr("In {inside}").format(inside=inside))
        for part in (self._form, self._folder, self._choose):
            part.setEnabled(not request.is_open)
        # Looks at the disk, so not at every step of a run.
        problem = None if state.is_busy else checks.save_problem(state)
        found = sentence(checks.save_source_problem(state) or problem)
        show_text(self._problem, found or problem_of(request, state.notice))
        mark_invalid(self._folder, bool(problem))
        show_text(self._note, ended_note(request, tr("Saving")))
        original = run.model.file_bytes if run.model is not None else 0
        obstacles = [sentence(checks.file_obstacle(state, x)) for x in run.saved]
        self._saved.show_saved(run.saved, original, obstacles)

    @Slot(str)
    def _on_folder_edited(self, folder: str) -> None:
        config = self._session.state.save_config
        with self._session.store.showing_errors():
            self._session.edit_save_config(replace(config, folder=folder))

    @Slot()
    def _ask_for_folder(self) -> None:
        title, chosen = tr("Choose a folder"), self._on_folder_edited
        current = str(checks.save_destination(self._session.state))
        ask_folder(self, title, "", chosen, engine_path=current)

    @Slot()
    def _on_save_clicked(self) -> None:
        state = self._session.state
        destination = str(checks.save_destination(state))
        if state.computer or not paths.is_occupied(destination):
            self._session.save()
        else:
            on_yes = partial(self._on_consent, destination)
            self._question.ask_about(destination, on_yes, self._ask_for_folder)

    def _on_consent(self, destination: str) -> None:
        if destination == str(checks.save_destination(self._session.state)):
            self._session.save(may_replace=True)


class SavedList(QWidget):
    """Cards of the saved files, the latest first; cards are created once and reused."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("saved_list")
        self._shown: object = None
        self._cards: list[_SavedCard] = []
        self._column = vertical(self)
        self._add_card()  # so that its button exists before anything is saved
        self.show_saved((), 0, [])

    def show_saved(
        self,
        saved: tuple[Exported, ...],
        original_bytes: int,
        obstacles: Sequence[str],
    ) -> None:
        """Show exactly these, each with why it cannot be opened; empty: it can."""
        if (saved, obstacles) == self._shown:
            return
        self._shown = saved, obstacles
        while len(self._cards) < len(saved):
            self._add_card()
        for number, saved_card in enumerate(self._cards):
            saved_card.setVisible(number < len(saved))
            if number < len(saved):
                place = -1 - number
                saved_card.show_exported(saved[place], original_bytes, obstacles[place])
        self.setVisible(bool(saved))

    def _add_card(self) -> None:
        new = _SavedCard()
        self._column.addWidget(new)
        self._cards.append(new)


class _SavedCard(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._folder = ""
        self._facts = Facts("saved_facts")
        self._unrun = problem_label("saved_unrun_note")
        self._button = button("open_saved_button", self._on_clicked)
        inside_card(self, self._facts, self._unrun, row_of(self._button))

    def show_exported(
        self, exported: Exported, original_bytes: int, obstacle: str
    ) -> None:
        self._folder = exported.folder
        self._facts.show_facts(saved_facts(exported, original_bytes))
        show_text(self._unrun, unrun_note(exported))
        name = tr("Open folder: {format}").format(
            format=choice_label(exported.format)[0]
        )
        self._button.setAccessibleName(name)
        enable_unless(self._button, obstacle)

    @Slot()
    def _on_clicked(self) -> None:
        open_folder(self._folder)
