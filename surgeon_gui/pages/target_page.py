"""Step 3: choose what is removed, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Qt, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox, QSlider

from surgeon_engine.config import PruningConfig
from surgeon_engine.events import StructureSupport
from surgeon_gui.app_state import AppState, Step
from surgeon_gui.forms import ConfigForm
from surgeon_gui.pages.page import Page
from surgeon_gui.sentences import goal
from surgeon_gui.session import Session
from surgeon_gui.text import CHOICES
from surgeon_gui.widgets.controls import (
    calm,
    described,
    problem_label,
    show_problem,
    text_label,
)

_LEAST, _MOST = 1, 95  # per cent on the slider; the box beside it is finer


class TargetPage(Page):
    """Structure, sparsity, shots, and in words what that comes to."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._form = ConfigForm("pruning", PruningConfig)
        self._form.edited.connect(session.edit_pruning)
        self._form.refused.connect(self._on_form_refused)
        self._slider = described(
            calm(QSlider(Qt.Orientation.Horizontal)), "sparsity_slider"
        )
        self._slider.setRange(_LEAST, _MOST)
        self._slider.setPageStep(5)
        self._slider.valueChanged.connect(self._on_slider_moved)
        self._structure_note = text_label(quiet=True)
        self._structure_note.setObjectName("structure_note")
        self._unsupported_note = text_label(quiet=True)
        self._unsupported_note.setObjectName("unsupported_note")
        self._problem = problem_label()
        self._problem.setObjectName("target_problem")
        self._goal = text_label()
        self._goal.setObjectName("goal_label")

        self.column.addWidget(self._goal)
        self.column.addWidget(self._slider)
        self.column.addWidget(self._problem)
        self.column.addWidget(self._structure_note)
        self.column.addWidget(self._unsupported_note)
        self.column.addWidget(self._form)

    def show_state(self, state: AppState) -> None:
        """See `Page.show_state`."""
        pruning = state.config.pruning
        self._form.show_config(pruning)
        with QSignalBlocker(self._slider):
            self._slider.setValue(round(pruning.sparsity * 100))
        self._structure_note.setText(CHOICES[pruning.structure][1])
        model = state.model
        self._show_support(model.structures if model is not None else ())
        show_problem(self._problem, state.problems.get(Step.TARGET, ""))
        self._goal.setVisible(model is not None)
        if model is not None:
            self._goal.setText(goal(state.config, model))

    @Slot(int)
    def _on_slider_moved(self, per_cent: int) -> None:
        pruning = self.session.state.config.pruning
        self.session.edit_pruning(replace(pruning, sparsity=per_cent / 100))

    @Slot(object)
    def _on_form_refused(self, error: Exception) -> None:
        self.session.refuse_edit(Step.TARGET, str(error))

    def _show_support(self, supports: Iterable[StructureSupport]) -> None:
        """Disable the structures that the model does not have, and say why."""
        box = self._form.field("structure")
        assert isinstance(box, QComboBox)
        items = box.model()
        assert isinstance(items, QStandardItemModel)
        reasons = {support.structure: support.reason for support in supports}
        notes = []
        for index, structure in enumerate(type(PruningConfig().structure)):
            label, explanation = CHOICES[structure]
            reason = reasons.get(structure, "")
            items.item(index).setEnabled(not reason)
            tip = reason or explanation
            box.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
            if reason:
                notes.append(f"{label} cannot be chosen: {reason}")
        self._unsupported_note.setText("\n".join(notes))
        self._unsupported_note.setVisible(bool(notes))
