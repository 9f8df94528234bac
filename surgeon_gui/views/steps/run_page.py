"""The section Run: run folder, samples and job file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget
from typing_extensions import override

from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.config.toml import config_to_toml, read_config
from surgeon_engine.base.files import expand_path, write_atomically
from surgeon_gui.base.paths import with_tilde
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Step, sentence
from surgeon_gui.views.steps.page import Page
from surgeon_gui.widgets.controls import (
    AnyWidget,
    button,
    described,
    enable_unless,
    fixed_font,
    heading,
    mark_invalid,
    named,
    problem_label,
    show_text,
)
from surgeon_gui.widgets.dialogs import JOB_FILES, ask_file, ask_folder, ask_new_file
from surgeon_gui.widgets.layouts import row_of, vertical, with_button


class RunSettingsPage(Page):
    """Run folder, samples, job file and the equivalent command."""

    step = Step.RUN

    job_used = Signal(str)  # the file was loaded or saved

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._parent_edit = described(QLineEdit(), "run_parent_edit")
        self._parent_edit.editingFinished.connect(self._on_parent_edited)
        choose = button("run_parent_button", self._on_choose_clicked)
        self._problem = problem_label("run_parent_problem")
        self._save, load = (
            button("save_job_button", self.ask_where_to_save_job),
            button("load_job_button", self.ask_for_job),
        )
        self._command = described(QLineEdit(readOnly=True), "command_edit")
        self._command.setFont(fixed_font())
        self._command.setPlaceholderText(tr("Save the job first"))
        self._copy = button("copy_command_button", self._on_copy_clicked)
        self._samples = SampleSettings()
        self._samples.edited.connect(session.draft.edit_part)

        self.column.addWidget(heading(CAPTIONS["run_parent_edit"].label))
        self.column.addLayout(with_button(self._parent_edit, choose))
        self.column.addWidget(self._problem)
        self.column.addWidget(heading(tr("Samples")))
        self.column.addWidget(self._samples)
        self.column.addWidget(heading(tr("Job file")))
        self.column.addLayout(row_of(self._save, load))
        self.column.addWidget(heading(tr("Command line")))
        self.column.addLayout(with_button(self._command, self._copy))

    @override
    def show_state(self, state: AppState) -> None:
        if not self._parent_edit.hasFocus():
            self._parent_edit.setText(state.runs_folder)
            self._parent_edit.setCursorPosition(0)
        self._samples.show_config(state.config.samples)
        problem = None if state.run.status.is_busy else state.problem(Step.RUN)
        show_text(self._problem, sentence(problem))
        mark_invalid(self._parent_edit, bool(problem))
        self._command.setText(command(state.job_file, state.run_parent))
        self._command.setCursorPosition(0)
        self._copy.setEnabled(bool(state.job_file))
        # A job always names a model, so it cannot be saved without one.
        obstacle = "" if state.model_is_chosen else tr("Choose a model first.")
        enable_unless(self._save, obstacle)

    @Slot()
    def ask_where_to_save_job(self) -> None:
        """Ask for a file and save the draft to it."""
        name = self.session.state.job_file or "job.toml"
        ask_new_file(self, CAPTIONS["save_job_action"].spoken, name, self.save_job)

    @Slot()
    def ask_for_job(self) -> None:
        """Ask for a file and load the draft from it."""
        title = CAPTIONS["load_job_action"].spoken
        ask_file(self, title, "", JOB_FILES, self.load_job)

    @Slot(str)
    def save_job(self, path: str) -> None:
        """Save the draft to the file at `path`."""
        try:
            toml = config_to_toml(self.session.state.config)
            write_atomically(Path(path), toml.encode())
        except OSError as error:
            self.session.store.report(
                tr("The job cannot be written: {error}.").format(error=error),
                tr("Choose another folder."),
            )
            return
        self.session.draft.set_job_file(path)
        self.job_used.emit(path)
        text = tr("The job was saved to {path}.").format(path=with_tilde(path))
        self.session.store.note(text, path)

    @Slot(str)
    def load_job(self, path: str) -> None:
        """Load the draft from the file at `path`."""
        with self.session.store.showing_errors():
            self.session.draft.load(read_config(Path(path)), path)
            self.job_used.emit(path)

    @Slot()
    def _on_parent_edited(self) -> None:
        if folder := self._parent_edit.text().strip():
            self.session.draft.set_runs_folder(folder)

    @Slot()
    def _on_choose_clicked(self) -> None:
        start = self.session.state.runs_folder
        title = CAPTIONS["run_parent_button"].tip
        set_parent = self.session.draft.set_runs_folder
        ask_folder(self, title, start, set_parent, engine_path=start)

    @Slot()
    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setText(self._command.text())


def command(job_file: str, run_parent: str) -> str:
    """Return the equivalent terminal command; empty without a job file."""
    if not job_file:
        return ""
    job, runs = str(Path(job_file).absolute()), str(expand_path(run_parent))
    return shlex.join(["surgeon", "run", job, "--run-dir", runs])


class SampleSettings(QWidget):
    """A check box and a line for the prompt, which is hidden without samples."""

    edited = Signal(object)  # SamplesConfig

    def __init__(self) -> None:
        super().__init__()
        self._config = SamplesConfig()
        label = FIELDS["samples.after_shots"].label
        self._check = _named(QCheckBox(label), "after_shots")
        self._check.toggled.connect(self._on_edited)
        self._prompt = _named(QLineEdit(), "prompt")
        self._prompt.setPlaceholderText(self._config.prompt)
        self._prompt.editingFinished.connect(self._on_edited)
        vertical(self, self._check, self._prompt)
        self.show_config(self._config)

    def show_config(self, config: SamplesConfig) -> None:
        """Show settings; a prompt that is being typed stays."""
        self._config = config
        with QSignalBlocker(self._check):
            self._check.setChecked(config.after_shots)
        self._prompt.setVisible(config.after_shots)
        if not (self._prompt.hasFocus() and self._prompt.isModified()):
            self._prompt.setText(config.prompt)
            self._prompt.setCursorPosition(0)

    @Slot()
    def _on_edited(self) -> None:
        self._prompt.setModified(False)
        prompt = self._prompt.text()
        if not prompt.strip():
            prompt = SamplesConfig().prompt
        config = replace(
            self._config, after_shots=self._check.isChecked(), prompt=prompt
        )
        if config != self._config:
            self.edited.emit(config)
        self.show_config(config)


def _named(widget: AnyWidget, setting: str) -> AnyWidget:
    return named(widget, f"samples_{setting}", FIELDS[f"samples.{setting}"])
