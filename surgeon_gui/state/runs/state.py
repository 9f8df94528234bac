"""State of the list of runs, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import distinct_titles, title


@dataclass(frozen=True, slots=True)
class RunsState:
    """The list of runs."""

    parent: str = ""  # the folder of the run folders
    records: tuple[RunRecord, ...] = ()  # the latest first
    has_been_read: bool = False
    problem: str = ""  # why the folder cannot be listed
    ticked: tuple[
        str, ...
    ] = ()  # folders of the runs to compare, in order of selection

    dismissed: tuple[str, ...] = ()  # folders of interrupted runs, by the user

    @property
    def to_resume(self) -> RunRecord | None:
        """The latest run that was interrupted and can go on; None: there is none."""
        return next((x for x in self.records if self._offers(x)), None)

    def _offers(self, record: RunRecord) -> bool:
        is_interrupted = record.outcome is RunOutcome.INTERRUPTED
        return (
            is_interrupted and record.can_resume and record.folder not in self.dismissed
        )

    @property
    def titles(self) -> dict[str, str]:
        """The titles of the runs by folder, which tell them apart."""
        return distinct_titles(self.records)

    def title(self, record: RunRecord) -> str:
        """Return the title of a run, also of one that is not in the list."""
        return self.titles.get(record.folder, title(record))

    def record(self, folder: str) -> RunRecord | None:
        """Return the run in a folder, or None if it is not in the list."""
        return next((x for x in self.records if x.folder == folder), None)


def with_records(state: RunsState, records: tuple[RunRecord, ...]) -> RunsState:
    """Return the list with new records; ticks of deleted runs are dropped."""
    existing = {record.folder for record in records}
    ticked = tuple(folder for folder in state.ticked if folder in existing)
    return replace(
        state, records=records, ticked=ticked, has_been_read=True, problem=""
    )


def with_tick(state: RunsState, folder: str, is_on: bool) -> RunsState:
    """Return the list after a run was ticked or unticked."""
    others = tuple(each for each in state.ticked if each != folder)
    return replace(state, ticked=(*others, folder) if is_on else others)
