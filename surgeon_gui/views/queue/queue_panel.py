"""The queue as a strip: what it needs, buttons, and its runs in their order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from PySide6.QtCore import QPoint, Qt, Slot
from PySide6.QtGui import QAction, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QMenu, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.action_strip import ControlView
from surgeon_gui.state.queue import text
from surgeon_gui.state.queue.state import QueuedRun, QueueStatus, can_move
from surgeon_gui.widgets.controls import (
    add_action,
    button,
    enable_unless,
    give_menu,
    heading,
    show_button,
    text_label,
)
from surgeon_gui.widgets.layouts import STRETCH, in_row, stack, vertical
from surgeon_gui.widgets.object_list import ObjectList
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_HEIGHT, _MAX_HEIGHT = 64, 150  # pixels, of the table
_NARROW = 520  # pixels; below, the buttons are under the text
_COLUMNS = (tr("Run"), tr("Status"))


class QueuePanel(QWidget):
    """Shows the queue; user actions go to `QueueController`."""

    def __init__(
        self,
        session: Session,
        queue: QueueController,
        start: Callable[[], None],
        open_sweep: Callable[[], None],
    ) -> None:
        super().__init__()
        self._session, self._queue = session, queue
        self._summary = text_label(quiet=True, name="queue_summary")
        by_name = attrgetter("name")
        self._table = ObjectList("queue_table", *_COLUMNS, key=by_name)
        self._start = button("queue_start_button", start)
        self._sweep = button("queue_sweep_button", open_sweep)
        self._more = button("queue_more_button")
        self._menu = QMenu(self)
        self._actions: dict[str, QAction] = {}
        self._make_actions()
        self._make_table()
        self._lay_out()
        queue.changed.connect(self._on_queue_changed)
        session.changed.connect(self._show_summary)
        self._on_queue_changed()

    def show_controls(self, start: ControlView, sweep_obstacle: str) -> None:
        """Show what the buttons do, and why there can be no sweep; empty: there can."""
        show_button(self._start, start.label, start.tip, is_enabled=start.is_enabled)
        enable_unless(self._sweep, sweep_obstacle)

    def _make_actions(self) -> None:
        slots: dict[str, tuple[Callable[[], None], str]] = {
            "up": (partial(self._move, -1), "Alt+Up"),
            "down": (partial(self._move, 1), "Alt+Down"),
            "retry": (self._retry, ""),
            "remove": (self._remove, "Del"),
            "clear": (self._queue.remove_all, "Shift+Del"),
        }
        for name, (slot, keys) in slots.items():
            self._actions[name] = add_action(
                self._table, self._menu, f"queue_{name}_action", slot, keys
            )

    def _make_table(self) -> None:
        table = self._table
        table.setAllColumnsShowFocus(True)
        # The runs of a sweep differ at the end of their names.
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.setMinimumHeight(_MIN_HEIGHT)
        table.itemSelectionChanged.connect(self._show_actions)
        table.customContextMenuRequested.connect(self._on_menu_requested)

    def _lay_out(self) -> None:
        give_menu(self._more, self._menu)
        buttons = (self._more, self._sweep, self._start)
        text = in_row(heading(tr("Queue")), (self._summary, 1))
        self._row = in_row((text, 1), in_row(STRETCH, *buttons))
        vertical(self, self._row, self._table, margin=(ROOM, MARGIN, ROOM, MARGIN))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        stack(self._row, is_stacked=self.width() < _NARROW)
        super().resizeEvent(event)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self._show_summary()  # another window may have begun or ended its queue
        super().showEvent(event)

    @property
    def _selected(self) -> QueuedRun | None:
        run: QueuedRun | None = self._table.current
        return run

    @Slot()
    def _on_queue_changed(self) -> None:
        runs = self._queue.state.runs
        with self._table.refilled():
            for run in runs:
                line = text.line(run)
                row = self._table.add_row((line, text.status(run)), run, line)
                row.setToolTip(1, plain_tip(text.details(run) or row.text(1)))
        self._table.setVisible(bool(runs))
        self._table.setMaximumHeight(self._height_of_rows())
        self._show_summary()

    def _height_of_rows(self) -> int:
        """Return the height at which the table shows all runs, or its maximum."""
        table = self._table
        rows = table.topLevelItemCount() * table.sizeHintForRow(0)
        needed = table.header().sizeHint().height() + rows + 2 * table.frameWidth()
        return max(_MIN_HEIGHT, min(needed, _MAX_HEIGHT))

    @Slot()
    def _show_summary(self) -> None:
        queue, session = self._queue.state, self._session.state
        is_busy = queue.current is None and session.is_busy
        is_taken = not queue.runs and self._queue.is_taken
        shown = text.summary(queue, is_busy=is_busy, is_taken=is_taken)
        if shown != self._summary.text():
            self._summary.setText(shown)

    @Slot()
    def _show_actions(self) -> None:
        state, run = self._queue.state, self._selected
        name = run.name if run is not None else ""
        self._actions["up"].setEnabled(can_move(state, name, -1))
        self._actions["down"].setEnabled(can_move(state, name, 1))
        is_failed = run is not None and run.status is QueueStatus.FAILED
        self._actions["retry"].setEnabled(is_failed)
        is_removable = run is not None and run.status is not QueueStatus.RUNNING
        self._actions["remove"].setEnabled(is_removable)
        running = state.of(QueueStatus.RUNNING)
        self._actions["clear"].setEnabled(len(state.runs) > len(running))
        self._more.setVisible(bool(state.runs))

    def _move(self, step: int) -> None:
        if (run := self._selected) is not None:
            self._queue.move(run.name, step)

    @Slot()
    def _retry(self) -> None:
        if (run := self._selected) is not None:
            self._queue.retry(run)

    @Slot()
    def _remove(self) -> None:
        if (run := self._selected) is not None:
            row = self._table.indexOfTopLevelItem(self._table.selectedItems()[0])
            self._queue.remove(run.name)
            row = min(row, self._table.topLevelItemCount() - 1)
            item = self._table.topLevelItem(row)
            if item is not None:  # the same key removes the next run
                self._table.setCurrentItem(item)

    @Slot(QPoint)
    def _on_menu_requested(self, position: QPoint) -> None:
        self._menu.popup(self._table.viewport().mapToGlobal(position))
