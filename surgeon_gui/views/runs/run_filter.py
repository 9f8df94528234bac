"""The search field above the list of runs, and the choices that filter it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.state import (
    RunFilter,
    models_of,
    outcomes_of,
    tags_of,
)
from surgeon_gui.state.runs.text import OUTCOMES
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    SHORT,
    ChoiceBox,
    button,
    described,
    enable_unless,
)
from surgeon_gui.widgets.layouts import in_row, vertical, with_button

_MIN_CHARACTERS = 3  # of a choice, so that three fit into a narrow dock
_MIN_STRETCH = 6  # of a choice; a longer name gets more of the width


class RunFilterBar(QWidget):
    """Reports which runs the user wants to see; the choices follow the list."""

    changed = Signal(object)  # RunFilter
    refresh_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._search = described(QLineEdit(clearButtonEnabled=True), "runs_search_edit")
        self._search.setPlaceholderText(tr("Search…"))
        refresh = button("runs_refresh_button", self.refresh_clicked)
        refresh.setShortcut("F5")
        self._outcome = ChoiceBox("runs_outcome_combo", _MIN_CHARACTERS)
        self._tag = ChoiceBox("runs_tag_combo", _MIN_CHARACTERS)
        self._model = ChoiceBox("runs_model_combo", _MIN_CHARACTERS)
        self._offer(())
        boxes = (self._outcome, self._tag, self._model)
        for box in boxes:
            box.currentIndexChanged.connect(self._on_edited)
        self._search.textChanged.connect(self._on_edited)
        widths = [_MIN_STRETCH + len(box.accessibleName()) for box in boxes]
        below = in_row(*zip(boxes, widths, strict=True))
        vertical(self, with_button(self._search, refresh), below)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Maximum)

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
            self._on_edited()

    def _offer(self, records: tuple[RunRecord, ...]) -> None:
        tags = tags_of(records)
        outcomes = {outcome: OUTCOMES[outcome] for outcome in outcomes_of(records)}
        _fill(self._outcome, tr("All outcomes"), outcomes)
        _fill(self._tag, tr("All tags"), {tag: tag for tag in tags})
        _fill(self._model, tr("All models"), {x: x for x in models_of(records)})
        enable_unless(self._tag, "" if tags else tr("No run has a tag yet."))

    @Slot()
    def _on_edited(self) -> None:
        self.changed.emit(self.filter)


def _fill(box: ChoiceBox, everything: str, labels: Mapping[Any, str]) -> None:
    """Offer values after the first choice; a missing one is no longer chosen."""
    chosen = box.value if box.count() else None
    box.offer({None: everything, **labels}, chosen)
    box.setItemData(0, CAPTIONS[box.objectName()].label, SHORT)
