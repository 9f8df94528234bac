"""State of the list of runs, and which runs it shows, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import distinct_titles, matches_search, model, title


@dataclass(frozen=True, slots=True)
class RunsState:
    """The list of runs."""

    parent: str = ""  # the folder of the run folders
    records: tuple[RunRecord, ...] = ()  # the latest first
    has_been_read: bool = False
    problem: str = ""  # why the folder cannot be listed
    ticked: tuple[str, ...] = ()  # folders of the runs to compare, as they were chosen
    dismissed: tuple[str, ...] = ()  # folders of interrupted runs, by the user
    live: tuple[str, int] = ("", 0)  # folder and percentage of the run in progress here

    @property
    def to_resume(self) -> RunRecord | None:
        """The latest run that was interrupted and can go on; None: there is none."""
        interrupted = (x for x in self.records if x.outcome is RunOutcome.INTERRUPTED)
        offered = (x for x in interrupted if x.folder not in self.dismissed)
        return next((x for x in offered if x.can_resume), None)

    @property
    def titles(self) -> dict[str, str]:
        """The titles of the runs by folder, which tell them apart."""
        return distinct_titles(self.records)

    def title(self, record: RunRecord) -> str:
        """Return the title of a run, also of one that is not in the list."""
        return self.titles.get(record.folder, title(record))

    def percent(self, record: RunRecord) -> int:
        """Return how far a run has come."""
        folder, percent = self.live
        return percent if record.folder == folder else round(100 * record.progress)

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


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The properties of the runs to show; the default shows all."""

    search: str = ""  # words that a run contains
    outcome: RunOutcome | None = None
    tag: str = ""
    model: str = ""  # its name

    def matches(self, record: RunRecord) -> bool:
        """Return True if a run has all properties."""
        return (
            self.outcome in (None, record.outcome)
            and (not self.tag or self.tag in record.tags)
            and self.model in ("", model(record))
            and matches_search(record, self.search)
        )


def outcomes_of(records: Iterable[RunRecord]) -> tuple[RunOutcome, ...]:
    """Return the outcomes of some runs, each once, in a fixed order."""
    found = {record.outcome for record in records}
    return tuple(outcome for outcome in RunOutcome if outcome in found)


def tags_of(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return the tags of some runs, each once, sorted."""
    found = {tag for record in records for tag in record.tags}
    return tuple(sorted(found, key=_alphabetic))


def models_of(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return the names of the models of some runs, each once, sorted."""
    found = {model(record) for record in records if record.config is not None}
    return tuple(sorted(found, key=_alphabetic))


def _alphabetic(text: str) -> tuple[str, str]:
    return text.casefold(), text
