"""The controls of a run in the action strip and the menu. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.captions import CAPTIONS


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
    pause: ControlView
    stop: ControlView
    cancel: ControlView


def run_controls(run: RunState, obstacle: str) -> RunControls:
    """Return the controls of a run.

    `obstacle` is the reason why no run can be started; empty if one can.
    """
    status = run.status
    return RunControls(
        start=_view("start_button", not obstacle, tip=obstacle),
        pause=_pause(status),
        stop=_view(
            "stop_button",
            run.can_stop,
            label=tr("Stopping…") if status is Status.STOPPING else "",
        ),
        cancel=_view(
            "cancel_button",
            status.can_cancel,
            label=tr("Cancelling…") if status is Status.CANCELLING else "",
        ),
    )


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
