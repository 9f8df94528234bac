"""Status bar with the plan, the progress and the buttons of a run."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

from surgeon_engine.planning.resource_check import ResourceCheck
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.action_strip import ActiveTask, RunControls
from surgeon_gui.state.job.resource_text import NAMES, light_label
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import remaining
from surgeon_gui.widgets.clamped_label import ClampedLabel
from surgeon_gui.widgets.controls import (
    bold,
    button,
    eliding_label,
    line_label,
    progress_bar,
    show_button,
    show_elided,
    show_share,
)
from surgeon_gui.widgets.layouts import in_row
from surgeon_gui.widgets.light_badge import LightBadge
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_PLAN_WIDTH = 500  # pixels beside the buttons, for a usual plan in two lines
_PLAN_LINES = 2  # beside the buttons; above them: one


class ActionStrip(QWidget):
    """Plan, progress and the buttons that start and queue a run."""

    def __init__(self, actions: Mapping[str, QAction]) -> None:
        super().__init__()
        self.setObjectName("action_strip")
        self._plan = ClampedLabel("plan_label", _PLAN_LINES)
        self._plan.setFont(bold(self._plan.font()))
        self._light = LightBadge("plan_light", shows_word=False)
        self._light.hide()
        self._phase = eliding_label("phase_label", quiet=True)
        self._phase.setElideMode(Qt.TextElideMode.ElideRight)  # the KL comes first
        self._remaining = line_label(quiet=True, name="remaining_label")
        self._bar = progress_bar("progress_bar")
        self._bar.setAccessibleName(tr("Progress"))

        self._buttons_of_run = {
            name: button(f"{name}_button", actions[f"{name}_action"].trigger)
            for name in ("queue_add",)
        }
        start = actions["start_action"].trigger
        self._buttons_of_run["start"] = button("start_button", start, primary=True)
        self.runs_button = button("runs_button")
        self.log_button = button("log_button")
        self._lay_out()

    def _lay_out(self) -> None:
        status = in_row((self._phase, 1), self._remaining, spacing=2 * GAP)
        shown = (self.runs_button, self.log_button, *self._buttons_of_run.values())
        self._buttons = buttons = in_row(*shown)
        for each in shown:
            each.setMinimumHeight(32)
        self._buttons_of_run["start"].setMinimumWidth(96)
        self._grid = layout = QGridLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        layout.setHorizontalSpacing(2 * MARGIN)
        layout.setVerticalSpacing(GAP // 2)
        plan = in_row(self._light, (self._plan, 1))
        layout.addLayout(plan, 0, 0)
        layout.addWidget(self._bar, 1, 0)
        layout.addLayout(status, 2, 0)
        layout.addLayout(buttons, 0, 1, 3, 1)
        layout.setColumnStretch(0, 1)

    # A wrapping label prefers to be narrow and high, and the main window gives its
    # status bar the height that belongs to the width of the hint. So the hint is the
    # current width with the height that the text needs at that width.
    @override
    def sizeHint(self) -> QSize:
        width = max(super().minimumSizeHint().width(), self.width())
        return QSize(width, self.heightForWidth(width))

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._place_buttons()
            self.updateGeometry()  # the text may need another height

    def _place_buttons(self) -> None:
        """Place the buttons beside the plan, or below it in a narrow window."""
        beside = self.width() - self._buttons.sizeHint().width()
        self._grid.removeItem(self._buttons)
        is_below = beside < _MIN_PLAN_WIDTH
        self._plan.set_max_lines(1 if is_below else _PLAN_LINES)
        if is_below:
            self._grid.addLayout(self._buttons, 3, 0)
        else:
            self._grid.addLayout(self._buttons, 0, 1, 3, 1)

    def show_resource_check(self, check: ResourceCheck | None) -> None:
        """Show whether the next run fits the machine, or hide the light if None."""
        self._light.setVisible(check is not None)
        if check is not None:
            worst = check.worst
            self._light.show_light(worst.light, light_label(worst), NAMES[worst.what])

    def show_plan(self, plan: str, details: str) -> None:
        """Show the plan in brief; the details are in its tooltip."""
        self._plan.setText(plan)
        self._plan.setToolTip(plain_tip(details))
        self._plan.setAccessibleName(details)

    def show_run(
        self, run: RunState, phase: str, controls: RunControls, now: float
    ) -> None:
        """Show the progress of `run` and the state of the buttons."""
        show_elided(self._phase, phase)
        self._remaining.setText(remaining(run, now))
        show_share(self._bar, run.progress)
        for name, made in self._buttons_of_run.items():
            view = getattr(controls, name)
            show_button(made, view.label, view.tip, is_enabled=view.is_enabled)

    def show_task(self, task: ActiveTask | None) -> None:
        """Show the progress of another task in place of the run's, if there is one."""
        if task is not None:
            show_elided(self._phase, task.label)
            self._remaining.setText("")
            show_share(self._bar, task.share)
