"""The page of one run: in progress, with its verdict, or why it has no result."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QPoint, QSize, Qt, QTimer
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import PAGE, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.run.bars import OutcomeBars
from surgeon_gui.views.run.details import RunDetails
from surgeon_gui.views.run.head import RunHead
from surgeon_gui.views.run.lost import LossView
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.layouts import PageArea, vertical
from surgeon_gui.widgets.progress import ProgressBar

_PICTURE = QSize(640, 300)  # pixels; no title of an axis is cut


class RunPage(QWidget):
    """Draws `AppState.shown_run`.

    In progress: its controls, one bar, its parts, charts and texts. Ended: the verdict,
    three bars against the original, what was lost, and links to the rest. `head` and
    `details` have the signals of what the user does.
    """

    def __init__(
        self, session: Session, report_row: QWidget, question: ReplaceQuestion
    ) -> None:
        super().__init__()
        self.setObjectName("run_page")
        self._run = RunState()
        self.head = RunHead(session)
        self._bar = ProgressBar("run_progress_bar", tr("Progress"))
        self._bars = OutcomeBars(session)
        self._loss = LossView(session)
        self.details = RunDetails(session, report_row, question)
        content = QWidget()
        column = vertical(
            content,
            self.head,
            self._bar,
            self._bars,
            self._loss,
            (self.details, 1),
            margin=PAGE,
            spacing=ROOM,
        )
        self._area = PageArea(content, column)
        # It has the focus at first, so that no button has it by itself.
        self._area.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFocusProxy(self._area)
        vertical(self, self._area)
        self.details.opened.connect(self._scroll_to)

    @property
    def charts(self) -> dict[str, ChartCard]:
        """The charts by name."""
        return self.details.course.charts

    def save_charts(self, run: RunState, now: float, folder: Path) -> None:
        """Save a picture of each chart of a run, also of those that are hidden."""
        self.details.course.show_all(run, now)
        for name, chart in self.charts.items():
            if not chart.is_empty:  # not every run has all
                with chart.resized(_PICTURE):
                    chart.save_picture(folder / f"{name}.png")

    def show_state(self, state: AppState, now: float, place: str = "") -> None:
        """Show the run in view at the time `now`; `place`: in the queue."""
        run = state.shown_run
        is_busy = run.status.is_busy
        if is_busy is not self._run.status.is_busy and self._has_focus_inside():
            self.setFocus()  # the controls change, and none is chosen by itself
        if run.run != self._run.run:
            self._area.verticalScrollBar().setValue(0)
        has_result = run.exported is not None and run.status is Status.FINISHED
        self.head.show_state(state, now, place)
        self._bar.setVisible(is_busy or 0 < run.progress < 1)
        self._bar.show_share(run.progress)
        self._bars.setVisible(has_result)
        self._loss.setVisible(has_result)
        if has_result:
            self._bars.show_state(state)
            self._loss.show_state(state)
        self.details.show_state(state, state.time_of_run(now))
        self._run = run

    def _has_focus_inside(self) -> bool:
        focused = self.window().focusWidget()
        return focused is not None and self.isAncestorOf(focused)

    def _scroll_to(self, section: QWidget) -> None:
        """Show a section that was opened, once it has its size."""
        QTimer.singleShot(0, section, partial(self._show_from_top, section))

    def _show_from_top(self, section: QWidget) -> None:
        """Scroll to a section, at least to its top."""
        bar, view = self._area.verticalScrollBar(), self._area.viewport()
        above = section.mapTo(view, QPoint()).y() - ROOM
        below = above + section.height() + 2 * ROOM - view.height()
        bar.setValue(bar.value() + min(above, max(0, below)))
