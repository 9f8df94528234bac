"""What the engine is at work on besides a run, and how far it is, for the strip.

Pure functions of the state. Knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surgeon_gui.base.translation import tr
from surgeon_gui.state import export_text as export_text
from surgeon_gui.state.app import AppState
from surgeon_gui.state.diagnosis import state as diagnosis_state
from surgeon_gui.state.request import Request


@dataclass(frozen=True, slots=True)
class ActiveTask:
    """One task that takes its time."""

    words: str
    share: float  # that is done, from 0 to 1


def active_task(state: AppState) -> ActiveTask | None:
    """The diagnosis, saving or measurement under way; the engine does one at a time."""
    asked: Request[Any]
    if state.diagnosis.is_open:
        asked, what = state.diagnosis, tr("Diagnosis: {doing}")
        share = diagnosis_state.progress_of(asked, 0.0)
    elif state.save.is_open:
        asked, what = state.save, tr("Saving in another format: {doing}")
        share = export_text.progress_of(asked)
    elif state.measurement.is_open:
        asked, what = state.measurement, tr("Measuring speed: {doing}")
        share = export_text.progress_of(asked)
    else:
        return None
    return ActiveTask(what.format(doing=export_text.doing_of(asked)), share)
