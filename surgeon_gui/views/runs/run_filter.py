"""The line that filters the runs: a search, and choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.state import RunFilter, models_of, outcomes_of, tags_of
from surgeon_gui.state.runs.text import OUTCOMES
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.choice_box import SHORT, ChoiceBox
from surgeon_gui.widgets.controls import described, enable_unless
from surgeon_gui.widgets.layouts import horizontal

_MIN_CHARACTERS = 3  # minimum width of a choice: three fit into a narrow window


class RunFilterBar(QWidget):
    """Reports which runs the user wants to see; the choices follow the list."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._search = described(QLineEdit(clearButtonEnabled=True), "runs_search_edit")
        self._search.setPlaceholderText(tr("Search…"))
        self._outcome = ChoiceBox("runs_outcome_combo", _MIN_CHARACTERS)
        self._tag = ChoiceBox("runs_tag_combo", _MIN_CHARACTERS)
        self._model = ChoiceBox("runs_model_combo", _MIN_CHARACTERS)
        self._offer(())
        boxes = (self._outcome, self._tag, self._model)
        for box in boxes:
            box.currentIndexChanged.connect(self.changed)
        self._search.textChanged.connect(self.changed)
        horizontal(self, (self._search, 2), *((box, 1) for box in boxes))
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Maximum)

    def start(self) -> None:
        """Let the user type a search."""
        self._search.setFocus()
        self._search.selectAll()

    def clear(self) -> None:
        """Show all runs."""
        self._search.clear()
        for box in (self._outcome, self._tag, self._model):
            box.setCurrentIndex(0)

    @property
    def filter(self) -> RunFilter:
        """Which runs to show."""
        return RunFilter(
            search=self._search.text(),
            outcome=self._outcome.value,
            tag=self._tag.value or "",
            model=self._model.value or "",
        )

    def show_runs(self, records: Iterable[RunRecord]) -> None:
        """Offer the outcomes, tags and models of these runs."""
        before = self.filter
        self._offer(tuple(records))
        if self.filter != before:
            self.changed.emit()

    def _offer(self, records: tuple[RunRecord, ...]) -> None:
        tags = tags_of(records)
        outcomes = {outcome: OUTCOMES[outcome] for outcome in outcomes_of(records)}
        _fill(self._outcome, tr("All outcomes"), outcomes)
        _fill(self._tag, tr("All tags"), {tag: tag for tag in tags})
        _fill(self._model, tr("All models"), {x: x for x in models_of(records)})
        enable_unless(self._tag, "" if tags else tr("No run has a tag yet."))


def _fill(box: ChoiceBox, everything: str, labels: Mapping[Any, str]) -> None:
    """Offer values after the first choice; a missing one is no longer chosen."""
    chosen = box.value if box.count() else None
    box.offer({None: everything, **labels}, chosen)
    box.setItemData(0, CAPTIONS[box.objectName()].label, SHORT)
