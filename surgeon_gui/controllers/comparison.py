"""The comparison of the selected runs, which are read in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_gui.base.background import Background
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.comparison import ComparedRun, comparable
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import RunRecord, UnreadableRunError, read_state


class ComparisonController(QObject):
    """Read the runs that are ticked in the list and compare them."""

    changed = Signal()

    def __init__(self, runs: RunsController) -> None:
        super().__init__(runs)
        self._runs = runs
        self._background = Background(self)
        self._read: dict[str, tuple[RunRecord, RunState]] = {}
        self._being_read: dict[str, RunRecord] = {}
        self.compared: tuple[ComparedRun, ...] = ()
        runs.changed.connect(self._on_runs_changed)

    @Slot()
    def _on_runs_changed(self) -> None:
        records = [
            self._runs.state.record(folder) for folder in self._runs.state.ticked
        ]
        ticked = {record.folder: record for record in records if record is not None}
        self._read = {
            folder: read for folder, read in self._read.items() if folder in ticked
        }
        for folder, record in ticked.items():
            last = self._read.get(folder)
            is_current = last is not None and last[0].stamp == record.stamp
            if not is_current and self._being_read.get(folder) != record:
                self._being_read[folder] = record
                work = partial(_state_of, folder)
                self._background.start(work, partial(self._on_read, record))
        self._report()

    def _on_read(self, record: RunRecord, run: RunState | None) -> None:
        if self._being_read.get(record.folder) == record:
            del self._being_read[record.folder]
        if run is not None:
            self._read[record.folder] = record, run
        self._report()

    def _report(self) -> None:
        state = self._runs.state
        names = state.titles
        compared = tuple(
            ComparedRun(names[x], self._read[x][1], self._read[x][0].is_export_gone)
            for x in state.ticked
            if x in self._read and x in names
        )
        if compared != self.compared:
            self.compared = compared
            self.changed.emit()


def _state_of(folder: str) -> RunState | None:
    try:
        return comparable(read_state(Path(folder)))
    except UnreadableRunError:
        return None  # the list shows the reason
