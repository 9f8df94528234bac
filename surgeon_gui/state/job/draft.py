"""The drafts before and after the one that is shown: undo and redo.

Edits of the same settings that follow each other quickly are one: a slider is dragged
over many values, a person means one. Pure; knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.planning.resource_check import differences

_ONE_GESTURE = 0.8  # seconds within which edits of the same settings are one
_MAX_UNDO = 200  # drafts that are remembered


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as it was set up."""

    config: RunConfig
    own: RunConfig | None  # the settings before a preset was chosen
    model_is_chosen: bool


@dataclass(frozen=True, slots=True)
class Drafts:
    """Drafts, the nearest ones last."""

    past: tuple[Draft, ...] = ()
    future: tuple[Draft, ...] = ()
    edited: frozenset[str] = frozenset()  # what the last edit changed
    at: float = 0.0  # seconds on a clock that only goes forward

    @property
    def can_undo(self) -> bool:
        """Whether there is a draft to go back to."""
        return bool(self.past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a draft to go forward to."""
        return bool(self.future)

    def with_edit(self, before: Draft, after: Draft, now: float) -> Drafts:
        """What is remembered after an edit; there is nothing to redo any more."""
        if before == after:
            return self
        edited = frozenset(c.field for c in differences(before.config, after.config))
        goes_on = edited == self.edited and now - self.at < _ONE_GESTURE
        if goes_on and edited and self.past and not self.future:
            return replace(self, at=now)
        return Drafts((*self.past, before)[-_MAX_UNDO:], (), edited, now)

    def undone(self, draft: Draft) -> tuple[Draft, Drafts]:
        """The draft before `draft`, and what is remembered there."""
        return self.past[-1], Drafts(self.past[:-1], (*self.future, draft))

    def redone(self, draft: Draft) -> tuple[Draft, Drafts]:
        """The draft after `draft`, and what is remembered there."""
        return self.future[-1], Drafts((*self.past, draft), self.future[:-1])
