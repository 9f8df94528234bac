"""The action strip: the controls of a run, and what the engine does besides. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.state import export_text
from surgeon_gui.state.app import AppState
from surgeon_gui.state.diagnosis import state as diagnosis_state
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.captions import CAPTIONS

_LABELS = {
    RequestKind.DIAGNOSIS: tr("Diagnosis: {doing}"),
    RequestKind.JUDGMENT: tr("Judging the file: {doing}"),
    RequestKind.SAVE: tr("Saving in another format: {doing}"),
}


@dataclass(frozen=True, slots=True)
class ControlView:
    """The appearance of a button or a menu item."""

    label: str
    is_enabled: bool
    tip: str


@dataclass(frozen=True, slots=True)
class RunControls:
    """The controls of a run."""

    start: ControlView
    queue_add: ControlView
    pause: ControlView
    stop: ControlView
    cancel: ControlView


@dataclass(frozen=True, slots=True)
class ActiveTask:
    """A task with its progress."""

    label: str
    share: float | None  # from 0 to 1; None: not known


def run_controls(run: RunState, obstacle: str, add_obstacle: str) -> RunControls:
    """Return the controls of a run.

    Args:
        run: the run.
        obstacle: the reason why no run can be started; empty if one can.
        add_obstacle: the reason why the draft cannot be added to the queue.
    """
    status = run.status
    return RunControls(
        start=_view("start_button", not obstacle, tip=obstacle),
        queue_add=_view("queue_add_button", not add_obstacle, tip=add_obstacle),
        pause=_pause(status),
        stop=_view(
            "stop_button",
            run.can_stop,
            label=tr("Finishing…") if status is Status.STOPPING else "",
        ),
        cancel=_view(
            "cancel_button",
            status.can_cancel,
            label=tr("Canceling…") if status is Status.CANCELLING else "",
        ),
    )


def queue_control(queue: QueueState) -> ControlView:
    """Return the control that starts the queue, or stops it."""
    if not queue.is_working:
        return _view("queue_start_button", queue.next is not None)
    label = tr("Stop after this run") if queue.current else tr("Stop queue")
    tip = tr("Begin no further run. The run in progress goes on.")
    return _view("queue_start_button", True, label=label, tip=tip)


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


def _pause(status: Status) -> ControlView:
    if status is Status.PAUSED:
        return _view("resume_button", True)
    label = tr("Pausing…") if status is Status.PAUSING else ""
    return _view("pause_button", status.can_pause, label=label)


def _view(
    name: str, is_enabled: bool, *, label: str = "", tip: str = ""
) -> ControlView:
    caption = CAPTIONS[name]
    return ControlView(label or caption.label, is_enabled, tip or caption.tip)
