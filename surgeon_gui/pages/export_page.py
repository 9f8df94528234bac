"""Step 5: where the pruned model goes, and what was written."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Slot

from surgeon_engine.config import ExportConfig
from surgeon_gui.app_state import AppState, Step
from surgeon_gui.dialogs import ask_folder
from surgeon_gui.pages.page import Page, row_of, with_button
from surgeon_gui.pages.run_page import open_folder
from surgeon_gui.sentences import export_facts
from surgeon_gui.session import Session
from surgeon_gui.text import FIELDS, MASKED
from surgeon_gui.widgets.controls import (
    button,
    heading,
    problem_label,
    show_problem,
    text_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.source_edit import SourceEdit


class ExportPage(Page):
    """Destination before the run; size, check and copies after it."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._folder = SourceEdit("export.folder")
        self._folder.setPlaceholderText("Inside the run's folder")
        self._folder.edited.connect(self._on_folder_edited)
        choose = button("export_choose_button")
        choose.clicked.connect(self._on_choose_clicked)
        self._problem = problem_label()
        self._problem.setObjectName("export_problem")
        self._facts_title = heading("The pruned model")
        self._facts = Facts("export_facts")
        self._open_button = button("open_export_button")
        self._open_button.clicked.connect(self._on_open_clicked)
        self._copy_button = button("save_copy_button")
        self._copy_button.clicked.connect(self._on_copy_clicked)
        self._note = text_label(quiet=True)
        self._note.setObjectName("export_note")

        self.column.addWidget(heading(FIELDS["export.folder"].label))
        self.column.addLayout(with_button(self._folder, choose))
        self.column.addWidget(self._problem)
        self.column.addWidget(self._facts_title)
        self.column.addWidget(self._facts)
        self.column.addLayout(row_of(self._open_button, self._copy_button))
        self.column.addWidget(self._note)

    def show_state(self, state: AppState) -> None:
        """See `Page.show_state`."""
        self._folder.show_value(state.config.export.folder)
        exported = state.run.exported
        # What stands at the destination after a run is this run's own export.
        problem = state.problems.get(Step.EXPORT, "") if exported is None else ""
        show_problem(self._problem, problem)
        self._facts.show_facts(export_facts(state.run))
        is_done = exported is not None and not state.run.status.is_busy
        self._facts_title.setVisible(exported is not None)
        self._open_button.setVisible(is_done)
        self._copy_button.setVisible(is_done)
        self._copy_button.setEnabled(not state.copy.is_open)
        self._note.setText(_note(state))

    @Slot(str)
    def _on_folder_edited(self, folder: str) -> None:
        config = self.session.state.config
        self.session.edit(replace(config, export=ExportConfig(folder)))

    @Slot()
    def _on_choose_clicked(self) -> None:
        ask_folder(self, "Choose an empty folder", "", self._on_folder_edited)

    @Slot()
    def _on_open_clicked(self) -> None:
        if (exported := self.session.state.run.exported) is not None:
            open_folder(exported.folder)

    @Slot()
    def _on_copy_clicked(self) -> None:
        ask_folder(self, "Choose an empty folder", "", self.session.copy_export)


def _note(state: AppState) -> str:
    if state.copy.is_open:
        return "Copying and checking the copy…"
    if state.copy.answer is not None:
        return f"A checked copy lies in {state.copy.answer.folder}."
    if state.run.exported is None:
        return (
            "At the end of the run the pruned model is written here, loaded afresh "
            f"and compared with the one in memory. {MASKED}"
        )
    return MASKED
