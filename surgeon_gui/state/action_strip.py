"""The controls of a run and of the queue: their labels and states. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.captions import CAPTIONS


@dataclass(frozen=True, slots=True)
class ControlView:
    """The appearance of a button or a menu item."""

    label: str
    is_enabled: bool
    tip: str


def run_controls(run: RunState, *, is_behind: bool = False) -> dict[str, ControlView]:
    """Return the controls of a run by their names; `is_behind`: see `AppState`."""
    status = run.status
    stopping = tr("Finishing…") if status is Status.STOPPING else ""
    cancelling = tr("Canceling…") if status is Status.CANCELLING else ""
    tip = _stop_obstacle(run)
    return {
        "pause": _pause(status, is_heard=not is_behind),
        "stop": _view("stop_button", run.can_stop, label=stopping, tip=tip),
        "cancel": _view("cancel_button", status.can_cancel, label=cancelling),
    }


def queue_control(queue: QueueState) -> ControlView:
    """Return the control that starts the queue, or stops it."""
    label = tip = ""
    if queue.is_working:
        label = tr("Stop after this run") if queue.current else tr("Stop queue")
        tip = tr("Begin no further run. The run in progress goes on.")
    if queue.next is None:
        tip = tr("No run waits.")
    return _view("queue_start_button", queue.next is not None, label=label, tip=tip)


def _stop_obstacle(run: RunState) -> str:
    """Return why a run in progress cannot be finished here; empty: it can."""
    if not run.status.is_busy or run.status is Status.STOPPING:
        return ""
    if run.is_exporting:
        return tr("The result is being written already.")
    return "" if run.history else tr("Nothing has been removed yet.")


def _pause(status: Status, *, is_heard: bool) -> ControlView:
    if status is Status.PAUSED:
        return _view("resume_button", is_heard)
    label = tr("Pausing…") if status is Status.PAUSING else ""
    return _view("pause_button", status.can_pause and is_heard, label=label)


def _view(
    name: str, is_enabled: bool, *, label: str = "", tip: str = ""
) -> ControlView:
    caption = CAPTIONS[name]
    return ControlView(label or caption.label, is_enabled, tip or caption.tip)
