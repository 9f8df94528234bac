"""The actions for a run: the menu of a card, and its questions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractItemView, QMenu, QWidget

from surgeon_engine.base.process_lock import Holder
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.parts import RunPart, part_bytes, part_question
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.text import numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.question import Question
from surgeon_gui.widgets.controls import add_action
from surgeon_gui.widgets.dialogs import open_folder

_PARTS = {
    "discard": RunPart.SAVED_STATE,
    "checkpoint": RunPart.CHECKPOINT,
    "export": RunPart.EXPORT,
}
_LAST_OF_GROUP = ("resume", "folder", "export")


class RunMenu(QObject):
    """The actions for the run that a view shows as current.

    `own`: slots and keys of actions that the page handles itself.
    """

    def __init__(
        self,
        runs: RunsController,
        view: QAbstractItemView,
        own: dict[str, tuple[Callable[[], None], str]],
    ) -> None:
        super().__init__(view)
        self._runs = runs
        self._record: RunRecord | None = None
        self.questions = RunQuestions(runs, view)
        self.menu = QMenu(view)
        self.actions: dict[str, QAction] = {}
        do, ask = self._with_record, self.questions
        of_parts = {
            name: (partial(do, partial(ask.part, part)), "")
            for name, part in _PARTS.items()
        }
        slots: dict[str, tuple[Callable[[], None], str]] = {
            "open": (partial(do, runs.reopen), ""),  # Return, by the view itself
            "resume": (partial(do, runs.resume), ""),
            "rename": own["rename"],
            "details": own["details"],
            "duplicate": (partial(do, runs.duplicate), ""),
            "folder": (partial(do, open_folder), ""),
            **of_parts,
            "delete": (partial(do, ask.delete), "Del"),
        }
        for name, (slot, keys) in slots.items():
            full_name = f"runs_{name}_action"
            self.actions[name] = add_action(view, self.menu, full_name, slot, keys)
            if name in _LAST_OF_GROUP:
                self.menu.addSeparator()

    def show_run(self, record: RunRecord | None) -> None:
        """Offer what can be done with a run."""
        self._record = record
        for action in self.actions.values():
            action.setEnabled(record is not None)
        if record is None:
            return
        actions = self.actions
        actions["open"].setEnabled(record.outcome is not RunOutcome.DAMAGED)
        actions["duplicate"].setEnabled(record.config is not None)
        for name, part in _PARTS.items():
            size = part_bytes(record, part)
            label = CAPTIONS[f"runs_{name}_action"].label
            actions[name].setText(f"{label} ({numbers.size(size)})" if size else label)
            actions[name].setVisible(size > 0)
        actions["resume"].setVisible(record.can_resume)
        actions["discard"].setVisible(record.can_resume)

    def _with_record(self, act: Callable[[str], object]) -> None:
        if self._record is not None:
            act(self._record.folder)


class RunQuestions(QObject):
    """Asks before something of a run is lost."""

    def __init__(self, runs: RunsController, parent: QWidget) -> None:
        super().__init__(parent)
        self._runs = runs
        self._delete = Question("delete", tr("Move run to trash"), parent)
        self._discard = Question("discard", tr("Discard saved progress"), parent)
        self._take_over = Question("take_over", tr("Run of another computer"), parent)
        self._delete_part = Question("part", tr("Delete a part of the run"), parent)
        runs.held_elsewhere.connect(self._on_held_elsewhere)

    def delete(self, folder: str) -> None:
        """Ask whether the run in a folder may be moved to the trash."""
        if self._runs.delete_obstacle(folder):
            self._runs.delete(folder)  # shows the reason
            return
        record = self._runs.state.record(folder)
        name = Path(folder).name if record is None else self._title(record)
        details = tr(
            "This includes its charts, its report and the files exported to the run "
            "folder: {folder}"
        )
        self._delete.ask(
            tr("Move {run} to the trash?").format(run=name),
            details.format(folder=folder),
            partial(self._runs.delete, folder),
        )

    def part(self, part: RunPart, folder: str) -> None:
        """Ask whether a part of a run may be deleted."""
        record = self._runs.state.record(folder)
        if record is None:
            return
        question, details = part_question(record, part)
        on_yes = partial(self._runs.delete_part, folder, part)
        is_state = part is RunPart.SAVED_STATE
        box = self._discard if is_state else self._delete_part
        box.ask(question.format(run=self._title(record)), details, on_yes)

    @Slot(object, object)
    def _on_held_elsewhere(self, record: RunRecord, holder: Holder) -> None:
        question, details = run_text.elsewhere(self._title(record), holder)
        on_yes = partial(self._runs.take_over, record.folder)
        self._take_over.ask(question, details, on_yes)

    def _title(self, record: RunRecord) -> str:
        return self._runs.state.title(record)
