"""The button that saves a report, and a note after it was saved."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QMenu, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.views.steps.run_page import open_folder
from surgeon_gui.widgets.controls import button, eliding_label, give_menu, show_elided
from surgeon_gui.widgets.layouts import in_row, row_of, vertical


class ReportRow(QWidget):
    """Hidden while there is no run to report about."""

    def __init__(self) -> None:
        super().__init__()
        self._run_folder = ""  # of the run that is shown
        self._written: tuple[str, str] = ("", "")  # folder of its run, path
        self._save = button("report_button")
        self._note = eliding_label("report_note", quiet=True)
        self._open = button("report_open_button", self._on_open_clicked)
        below = in_row((self._note, 1), self._open)
        vertical(self, row_of(self._save), below)
        self._update_note()

    def set_menu(self, menu: QMenu) -> None:
        """Set the menu of the button, with an entry for each file format."""
        give_menu(self._save, menu)

    def show_run(self, run: RunState, *, can_report: bool) -> None:
        """Show the row for `run`; hide it unless `can_report`."""
        self.setVisible(can_report)
        if run.folder != self._run_folder:
            self._run_folder = run.folder
            self._update_note()

    @Slot(str, str)
    def show_written(self, folder: str, path: str) -> None:
        """Show that the report of the run in `folder` was saved as `path`."""
        self._written = (folder, path)
        self._update_note()

    def _update_note(self) -> None:
        folder, path = self._written
        is_shown = bool(path) and folder == self._run_folder
        self._note.setVisible(is_shown)
        self._open.setVisible(is_shown)
        if is_shown:
            text = tr("Saved {name}.").format(name=Path(path).name)
            show_elided(self._note, text, path)

    @Slot()
    def _on_open_clicked(self) -> None:
        open_folder(self._written[1])  # opens files too, in their own application
