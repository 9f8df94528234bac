"""Save report in step 5, and a word with a button once a report is written."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QMenu, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.views.steps.page import row_of
from surgeon_gui.views.steps.run_page import open_folder
from surgeon_gui.widgets.controls import button, eliding_label, show_elided


class ReportRow(QWidget):
    """Takes no room while there is no run to tell of."""

    def __init__(self) -> None:
        super().__init__()
        self._run = ""  # the folder of the run that is shown
        self._written: tuple[str, str] = ("", "")  # the folder of its run, its path
        self._save = button("report_button")
        self._note = eliding_label("report_note", quiet=True)
        self._open = button("report_open_button")
        self._open.clicked.connect(self._on_open_clicked)
        below = QHBoxLayout()
        below.setSpacing(GAP)
        below.addWidget(self._note, 1)
        below.addWidget(self._open)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        column.addLayout(row_of(self._save))
        column.addLayout(below)
        self._redraw()

    def set_menu(self, menu: QMenu) -> None:
        """Put the forms of a report in."""
        self._save.setMenu(menu)

    def show_run(self, run: RunState, *, can_report: bool) -> None:
        """Show what there is of this run."""
        self.setVisible(can_report)
        if run.folder != self._run:
            self._run = run.folder
            self._redraw()

    @Slot(str, str)
    def show_written(self, folder: str, path: str) -> None:
        """Say that the report of the run in `folder` is written to `path`."""
        self._written = (folder, path)
        self._redraw()

    def _redraw(self) -> None:
        folder, path = self._written
        is_there = bool(path) and folder == self._run
        self._note.setVisible(is_there)
        self._open.setVisible(is_there)
        if is_there:
            words = tr("{name} is written.").format(name=Path(path).name)
            show_elided(self._note, words, path)

    @Slot()
    def _on_open_clicked(self) -> None:
        open_folder(self._written[1])  # in whatever shows such files
