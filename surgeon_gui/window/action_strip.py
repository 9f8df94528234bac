"""The strip that is always in sight: plan, progress, and the buttons of a run."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from surgeon_engine.api.planning.resource_check import ResourceCheck
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.active_task import ActiveTask
from surgeon_gui.state.job.resource_text import NAMES, word
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_controls import ControlView, RunControls
from surgeon_gui.state.step_text import phase, remaining
from surgeon_gui.text.captions.caption import spoken
from surgeon_gui.widgets.controls import (
    bold,
    button,
    eliding_label,
    show_elided,
    text_label,
)
from surgeon_gui.widgets.light_badge import LightBadge

_FULL = 1000  # steps of the progress bar


class ActionStrip(QWidget):
    """Start, Pause, Stop and keep, Cancel; as the run's status says."""

    start_clicked = Signal()
    pause_clicked = Signal()  # or Resume, as it stands there
    stop_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("action_strip")
        self._plan = text_label()
        self._plan.setObjectName("plan_label")
        self._plan.setFont(bold(self._plan.font()))
        flexible = QSizePolicy.Policy.Preferred  # see `sizeHint`
        self._plan.setSizePolicy(flexible, flexible)
        self._light = LightBadge("plan_light", shows_word=False)
        self._light.hide()
        self._phase = eliding_label("phase_label", quiet=True)
        self._remaining = QLabel()
        self._remaining.setObjectName("remaining_label")
        self._remaining.setProperty("quiet", True)
        self._bar = QProgressBar(maximum=_FULL, textVisible=False)
        self._bar.setObjectName("progress_bar")
        self._bar.setAccessibleName(tr("Progress of what is under way"))

        self._start = button("start_button", primary=True)
        self._pause = button("pause_button")
        self._stop = button("stop_button")
        self._cancel = button("cancel_button")
        self.runs_button = button("runs_button")
        self.log_button = button("log_button")
        self._start.clicked.connect(self.start_clicked)
        self._pause.clicked.connect(self.pause_clicked)
        self._stop.clicked.connect(self.stop_clicked)
        self._cancel.clicked.connect(self.cancel_clicked)
        self._lay_out()

    def _lay_out(self) -> None:
        below = QHBoxLayout()
        below.addWidget(self._phase, 1)
        below.addWidget(self._remaining)
        buttons = QHBoxLayout()
        buttons.setSpacing(GAP)
        for item in (
            self.runs_button,
            self.log_button,
            self._cancel,
            self._stop,
            self._pause,
            self._start,
        ):
            item.setMinimumHeight(32)
            buttons.addWidget(item)
        self._start.setMinimumWidth(96)
        self._pause.setMinimumWidth(96)  # its words change
        layout = QGridLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        layout.setHorizontalSpacing(2 * MARGIN)
        layout.setVerticalSpacing(GAP // 2)
        plan = QHBoxLayout()
        plan.setSpacing(GAP)
        plan.addWidget(self._light)
        plan.addWidget(self._plan, 1)
        layout.addLayout(plan, 0, 0)
        layout.addWidget(self._bar, 1, 0)
        layout.addLayout(below, 2, 0)
        layout.addLayout(buttons, 0, 1, 3, 1)
        layout.setColumnStretch(0, 1)

    def sizeHint(self) -> QSize:
        """As wide as it is, and as high as its words then are.

        Words that wrap would like best to be narrower and higher, and a window gives
        its status bar the height that goes with the width of the hint.
        """
        width = max(super().minimumSizeHint().width(), self.width())
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        """See `sizeHint`."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Ask for the height that another width needs."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def show_fit(self, fit: ResourceCheck | None) -> None:
        """Show whether the next run fits; None: not known, or not of interest now."""
        self._light.setVisible(fit is not None)
        if fit is not None:
            worst = fit.worst
            self._light.show_light(worst.light, word(worst), NAMES[worst.what])

    def show_run(
        self, run: RunState, plan: str, controls: RunControls, now: float
    ) -> None:
        """Show how the run stands, and what the next would do."""
        self._plan.setText(plan)
        show_elided(self._phase, phase(run))
        self._remaining.setText(remaining(run, now))
        self._bar.setValue(round(run.progress * _FULL))
        for item, view in (
            (self._start, controls.start),
            (self._pause, controls.pause),
            (self._stop, controls.stop),
            (self._cancel, controls.cancel),
        ):
            _show(item, view)

    def show_task(self, task: ActiveTask | None) -> None:
        """Show how far something else than a run is; None: there is nothing else."""
        if task is not None:
            show_elided(self._phase, task.words)
            self._remaining.setText("")
            self._bar.setValue(round(task.share * _FULL))


def _show(item: QPushButton, view: ControlView) -> None:
    if item.text() != view.label:
        item.setText(view.label)
        item.setAccessibleName(spoken(view.label))
    item.setEnabled(view.is_enabled)
    item.setToolTip(view.tip)
    item.setAccessibleDescription(view.tip)
