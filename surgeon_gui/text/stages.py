"""The parts of a run as its page lists them, and their labels.

A part combines stages of the engine under one name that needs no explanation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers


class Part(Enum):
    """The parts of a run, in order."""

    READ = "read"
    WRITE = "write"  # text by the model itself
    MEASURE = "measure"
    REMOVE = "remove"
    REFIT = "refit"
    DISTILL = "distill"
    SAVE = "save"


class Mark(Enum):
    """The status of a part."""

    DONE = "done"
    NOW = "now"
    NEXT = "next"
    BROKEN_OFF = "broken_off"  # the run was canceled or interrupted in it
    FAILED = "failed"  # likewise


_NAMES = {
    Part.READ: tr("Read the model"),
    Part.WRITE: tr("Write own text"),
    Part.MEASURE: tr("Measure what counts"),
    Part.REMOVE: tr("Remove"),
    Part.REFIT: tr("Refit"),
    Part.DISTILL: tr("Distill"),
    Part.SAVE: tr("Save and verify"),
}
_TIPS = {
    Part.WRITE: tr(
        "The original writes text of its own, on which the smaller model is fitted."
    ),
}
_MARKS = {
    Mark.DONE: tr("done"),
    Mark.NOW: tr("in progress"),
    Mark.NEXT: tr("to come"),
    Mark.BROKEN_OFF: tr("broken off"),
    Mark.FAILED: tr("failed"),
}


@dataclass(frozen=True, slots=True)
class PartView:
    """A part with its progress."""

    part: Part
    mark: Mark
    seconds: float = 0.0
    number: int = 0  # shot, block or step in progress, or the last one; 0: none
    count: int = 0  # number of all shots, blocks or steps
    removed: int = 0  # parameters; 0: not known
    leaves_zeros: bool = False  # they are set to zero


def label(view: PartView) -> str:
    """Return what happens in a part, with its progress in the one that is in work."""
    if view.part is Part.REMOVE and view.removed:
        done = tr("Zero {n} weights") if view.leaves_zeros else tr("Remove {n} weights")
        return done.format(n=numbers.count(view.removed))
    text = {
        Part.MEASURE: tr("Measure, shot {number} of {count}"),
        Part.REFIT: tr("Refit block {number} of {count}"),
        Part.DISTILL: tr("Distill, step {number} of {count}"),
        Part.SAVE: tr("Save block {number} of {count}"),
    }.get(view.part)
    if text is None or not view.number:
        return _NAMES[view.part]
    if view.mark is Mark.DONE and view.part is Part.DISTILL:
        text = tr("Distill, ended at step {number} of {count}")
    return text.format(number=view.number, count=view.count)


def tip(part: Part) -> str:
    """Return what a part is for, where its name does not tell; else empty."""
    return _TIPS.get(part, "")


def time(view: PartView) -> str:
    """Return how long a part has taken, all shots together; empty before it begins.

    Below 10 s, parts that have ended have fractions: they can be added up.
    """
    is_now = view.mark is Mark.NOW
    to_text = numbers.whole_duration if is_now else numbers.duration
    return to_text(view.seconds) if view.seconds else ""


def spoken(view: PartView) -> str:
    """Return a part as a screen reader reads it."""
    parts = (label(view), _MARKS[view.mark], time(view))
    return ", ".join(filter(None, parts))
