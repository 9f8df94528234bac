"""Which runs the list shows: those that match a search and chosen properties."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord


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
            and self.model in ("", run_text.model(record))
            and run_text.matches_search(record, self.search)
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
    found = {run_text.model(record) for record in records if record.config is not None}
    return tuple(sorted(found, key=_alphabetic))


def _alphabetic(text: str) -> tuple[str, str]:
    return text.casefold(), text
