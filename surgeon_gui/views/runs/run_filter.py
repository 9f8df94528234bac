"""The search field above the list of runs, and the choices that filter it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QWidget,
)

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs.filtering import (
    RunFilter,
    models_of,
    outcomes_of,
    tags_of,
)
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.runs.text import OUTCOMES
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    SHORT,
    button,
    choice_box,
    described,
    enable_unless,
)
from surgeon_gui.widgets.layouts import add_parts, vertical

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
        self._outcome = _box("runs_outcome_combo", tr("All outcomes"))
        self._tag = _box("runs_tag_combo", tr("All tags"))
        self._model = _box("runs_model_combo", tr("All models"))
        top, below = QHBoxLayout(), QHBoxLayout()
        add_parts(top, (self._search, 1), refresh)
        for box in (self._outcome, self._tag, self._model):
            below.addWidget(box, _MIN_STRETCH + len(box.accessibleName()))
            box.currentIndexChanged.connect(self._on_edited)
        self._search.textChanged.connect(self._on_edited)
        column = vertical(self, spacing=None)
        for layout in (column, top, below):
            layout.setSpacing(GAP)
        add_parts(column, top, below)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Maximum)
        self.show_runs(())

    @property
    def filter(self) -> RunFilter:
        """Which runs to show."""
        return RunFilter(
            search=self._search.text(),
            outcome=self._outcome.currentData(),
            tag=self._tag.currentData() or "",
            model=self._model.currentData() or "",
        )

    def show_runs(self, records: Iterable[RunRecord]) -> None:
        """Offer the outcomes, tags and models of these runs."""
        records = tuple(records)
        tags, models = tags_of(records), models_of(records)
        outcomes = outcomes_of(records)
        _fill(self._outcome, [OUTCOMES[x] for x in outcomes], outcomes)
        _fill(self._tag, tags, tags)
        _fill(self._model, models, models)
        enable_unless(self._tag, "" if tags else tr("No run has a tag yet."))

    @Slot()
    def _on_edited(self) -> None:
        self.changed.emit(self.filter)


def _box(name: str, all_label: str) -> QComboBox:
    box = described(choice_box(), name)
    box.setMinimumContentsLength(_MIN_CHARACTERS)
    box.addItem(all_label, None)
    box.setItemData(0, CAPTIONS[name].label, SHORT)
    return box


def _fill(box: QComboBox, labels: Sequence[str], values: Sequence[object]) -> None:
    """Offer values after the first choice; a missing one is no longer chosen."""
    shown = [box.itemData(index) for index in range(1, box.count())]
    if shown == list(values):
        return
    chosen = box.currentData()
    blocked = box.blockSignals(True)
    while box.count() > 1:
        box.removeItem(1)
    for label, value in zip(labels, values, strict=True):
        box.addItem(label, value)
    box.setCurrentIndex(1 + list(values).index(chosen) if chosen in values else 0)
    box.blockSignals(blocked)
    if box.currentData() != chosen:
        box.currentIndexChanged.emit(0)
