"""Undo and redo of the draft.

Edits of the same settings in quick succession are one step: dragging a slider sets many
values, but is one edit to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.resource_check import differences
from surgeon_gui.base.translation import tr
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text.labels import FIELDS

_MERGE_SECONDS = 0.8  # edits of the same settings within this time are one step
_MAX_UNDO = 200  # drafts


@dataclass(frozen=True, slots=True)
class Draft:
    """The settings of a job that undo restores."""

    config: RunConfig
    own_config: RunConfig | None  # the settings before a preset was chosen
    model_is_chosen: bool
    # What the engine has read of its model and texts.
    known: Mapping[RequestKind, Request[Any]] = field(
        default_factory=dict, compare=False
    )


@dataclass(frozen=True, slots=True)
class DraftHistory:
    """The drafts before and after the current one, the nearest last."""

    past: tuple[Draft, ...] = ()
    future: tuple[Draft, ...] = ()
    edited: frozenset[str] = frozenset()  # settings that the last edit changed
    edited_at: float = 0.0  # in seconds of a monotonic clock

    def undo_step(self, draft: Draft) -> str:
        """Return what undo would take back of `draft`; empty if nothing."""
        return _step(self.past[-1], draft) if self.past else ""

    def redo_step(self, draft: Draft) -> str:
        """Return what redo would change in `draft`; empty if nothing."""
        return _step(draft, self.future[-1]) if self.future else ""

    def with_edit(self, before: Draft, after: Draft, now: float) -> DraftHistory:
        """Return the history after an edit, without drafts to redo."""
        if before == after:
            return self
        edited = frozenset(c.field for c in differences(before.config, after.config))
        is_same_gesture = (
            edited == self.edited and now - self.edited_at < _MERGE_SECONDS
        )
        if is_same_gesture and edited and self.past and not self.future:
            return replace(self, edited_at=now)
        return DraftHistory((*self.past, before)[-_MAX_UNDO:], (), edited, now)

    def undo(self, draft: Draft) -> tuple[Draft, DraftHistory]:
        """Return the draft before `draft`, and the history from there."""
        return self.past[-1], DraftHistory(self.past[:-1], (*self.future, draft))

    def redo(self, draft: Draft) -> tuple[Draft, DraftHistory]:
        """Return the draft after `draft`, and the history from there."""
        return self.future[-1], DraftHistory((*self.past, draft), self.future[:-1])

    def unread(self) -> DraftHistory:
        """Return the history without what an engine has read."""
        past, future = (
            tuple(replace(each, known={}) for each in drafts)
            for drafts in (self.past, self.future)
        )
        return replace(self, past=past, future=future)


def _step(before: Draft, after: Draft) -> str:
    """Return what an edit has changed: a preset, the model, or the first setting."""
    if before.own_config != after.own_config:
        return tr("Preset")
    if before.model_is_chosen != after.model_is_chosen:
        return FIELDS["model.source"].label
    changed = [change.field for change in differences(before.config, after.config)]
    labels = list(dict.fromkeys(FIELDS[x].label for x in changed if x in FIELDS))
    if len(labels) > 1:
        return tr("{setting} and others").format(setting=labels[0])
    return "".join(labels)
