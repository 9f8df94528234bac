"""What is known of the runs of before, as pure functions; knows nothing of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgeon_gui.state.runs.reading import RunRecord


@dataclass(frozen=True, slots=True)
class RunsState:
    """The list of runs."""

    parent: str = ""  # the folder in which their folders lie
    records: tuple[RunRecord, ...] = ()  # the latest first
    has_been_read: bool = False
    problem: str = ""  # why the folder cannot be looked into
    ticked: tuple[str, ...] = ()  # folders to compare, in the order of their ticks

    def record(self, folder: str) -> RunRecord | None:
        """The run in a folder, if it is in the list."""
        return next((each for each in self.records if each.folder == folder), None)


def with_parent(state: RunsState, parent: str) -> RunsState:
    """The list after another folder was chosen: empty until that has been read."""
    return state if parent == state.parent else RunsState(parent=parent)


def with_records(state: RunsState, records: tuple[RunRecord, ...]) -> RunsState:
    """The list after its folder was read; runs that are gone lose their tick."""
    there = {record.folder for record in records}
    ticked = tuple(folder for folder in state.ticked if folder in there)
    return replace(
        state, records=records, ticked=ticked, has_been_read=True, problem=""
    )


def with_problem(state: RunsState, problem: str) -> RunsState:
    """The list after its folder could not be read."""
    return replace(state, records=(), ticked=(), has_been_read=True, problem=problem)


def with_tick(state: RunsState, folder: str, is_on: bool) -> RunsState:
    """The list after a run was ticked, or its tick taken away."""
    others = tuple(each for each in state.ticked if each != folder)
    return replace(state, ticked=(*others, folder) if is_on else others)


def with_ticks(state: RunsState, folders: tuple[str, ...]) -> RunsState:
    """The list with these runs ticked and no others."""
    return replace(state, ticked=folders)
