"""The queue in the window: its panel, bar and actions, and the dialog of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow

from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.action_strip import queue_control
from surgeon_gui.state.queue.state import QueueState, QueueStatus
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.bars import QueueBar
from surgeon_gui.views.queue.queue_panel import QueuePanel
from surgeon_gui.views.queue.sweep_dialog import SweepDialog
from surgeon_gui.widgets.controls import finish_typing


class RunQueue(QObject):
    """Create the queue and its widgets, and connect them."""

    added = Signal()  # runs wait that did not before
    completed = Signal(object)  # folders of the finished runs

    def __init__(
        self,
        session: Session,
        runs: RunsController,
        actions: Mapping[str, QAction],
        window: QMainWindow,
    ) -> None:
        super().__init__(window)
        self._session, self._window = session, window
        self.controller = QueueController(session, runs)
        slots = (self._on_start_clicked, self.open_sweep)
        self.panel = QueuePanel(session, self.controller, *slots)
        self.bar = QueueBar(self.controller)
        self.controller.ended.connect(self._on_ended)
        self._add = actions["queue_add_action"]
        self._start = actions["queue_start_action"]
        self._sweep = actions["sweep_action"]
        self._add.triggered.connect(self.add_draft)
        self._start.triggered.connect(self._on_start_clicked)
        self._sweep.triggered.connect(self.open_sweep)
        self.controller.changed.connect(self.redraw)
        self.redraw()

    @Slot()
    def add_draft(self) -> None:
        """Add the draft to the queue, with what the inputs show."""
        finish_typing(self._window.focusWidget())
        if not self.controller.add_obstacle():
            self.controller.add_draft()
            self.added.emit()

    @Slot()
    def open_sweep(self) -> None:
        """Open the dialog that plans a sweep of the draft."""
        finish_typing(self._window.focusWidget())
        if self.controller.add_obstacle():
            return
        dialog = SweepDialog(self._session.state, self._window)
        dialog.added.connect(self._on_sweep_added)
        dialog.open()

    @Slot()
    def redraw(self) -> None:
        """Show which actions are possible."""
        start = queue_control(self.controller.state)
        obstacle = sentence(self.controller.add_obstacle())
        self.panel.show_controls(start, obstacle)
        self._start.setText(start.label)
        self._start.setEnabled(start.is_enabled)
        for action in (self._add, self._sweep):
            action.setEnabled(not obstacle)

    @Slot(object)
    def _on_sweep_added(self, runs: object) -> None:
        assert isinstance(runs, tuple)
        self.controller.add(runs)
        self.added.emit()

    @Slot()
    def _on_start_clicked(self) -> None:
        if self.controller.state.is_working:
            self.controller.stop()
        else:
            self.controller.start()

    @Slot(object)
    def _on_ended(self, state: QueueState) -> None:
        finished = state.of(QueueStatus.FINISHED)
        if state.is_complete:
            self.completed.emit(tuple(run.folder for run in finished))
