"""The engine's current task other than a run, for the action strip. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.state import export_text
from surgeon_gui.state.app import AppState
from surgeon_gui.state.diagnosis import state as diagnosis_state
from surgeon_gui.state.request import RequestKind

_LABELS = {
    RequestKind.DIAGNOSIS: tr("Diagnosis: {doing}"),
    RequestKind.SAVE: tr("Saving in another format: {doing}"),
}


@dataclass(frozen=True, slots=True)
class ActiveTask:
    """A task with its progress."""

    label: str
    share: float | None  # from 0 to 1; None: not known


def active_task(state: AppState) -> ActiveTask | None:
    """Return the diagnosis, export or measurement in progress."""
    if state.task is None:
        return None
    request = state.request(state.task)
    label = export_text.phase_of(request)  # of a measurement: it names the task
    if state.task in _LABELS:
        label = _LABELS[state.task].format(doing=export_text.doing_of(request))
    if state.task is RequestKind.DIAGNOSIS:
        return ActiveTask(label, diagnosis_state.progress_of(request, 0.0))
    share = export_text.progress_of(request) if request.total else None
    return ActiveTask(label, share)
