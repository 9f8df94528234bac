"""Step 3: choose what is removed, how, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Slot
from PySide6.QtWidgets import QSlider

from surgeon_engine.config import PruningConfig
from surgeon_engine.errors import ConfigError
from surgeon_engine.formats import FileDtype
from surgeon_engine.sizes import file_dtype
from surgeon_gui import targets
from surgeon_gui.app_state import AppState, Step, preset_in
from surgeon_gui.choices import CHOICES
from surgeon_gui.forms import ConfigForm
from surgeon_gui.pages.page import Page
from surgeon_gui.plans import goal, unsupported
from surgeon_gui.session import Session
from surgeon_gui.translation import tr
from surgeon_gui.widgets.controls import (
    calm,
    described,
    heading,
    problem_label,
    show_problem,
    text_label,
)
from surgeon_gui.widgets.preset_box import PresetBox

_LEAST, _MOST = 1, 95  # per cent on the slider; the box above it is finer


class TargetPage(Page):
    """Presets, structure, method, target, shots, and in words what that comes to."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._presets = PresetBox()
        self._presets.chosen.connect(session.choose_preset)
        self._form = ConfigForm("pruning", PruningConfig, self._following)
        self._form.edited.connect(session.edit_pruning)
        self._form.refused.connect(self._on_form_refused)
        self._sparsity = self._form.number_box("sparsity")
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

        self.column.addWidget(heading(tr("Preset")))
        self.column.addWidget(self._presets)
        self.column.addWidget(heading(tr("Settings")))
        self.column.addWidget(self._form)
        for below, widget in (
            ("structure", self._structure_note),
            ("structure", self._unsupported_note),
            ("sparsity", self._slider),
            ("megabytes", self._goal),
            ("megabytes", self._problem),
        ):
            self._form.add_below(below, widget)

    def show_state(self, state: AppState) -> None:
        """See `Page.show_state`."""
        is_refused = Step.TARGET in state.refused
        if not is_refused:
            self._form.show_config(state.config.pruning)
        said = self._form.values()
        self._presets.show_preset(preset_in(state), can_go_back=state.own is not None)
        self._show_choices(state, said)
        self._structure_note.setText(CHOICES[said["structure"]][1])
        self._slider.setVisible(not self._sparsity.isHidden())
        with QSignalBlocker(self._slider):
            self._slider.setValue(round(self._sparsity.value()))
        # What the form refuses it tells itself.
        problem = "" if is_refused else state.problems.get(Step.TARGET, "")
        show_problem(self._problem, problem)
        model = state.model
        words = goal(state.config, model) if model and not is_refused else ""
        self._goal.setText(words)
        self._goal.setVisible(bool(words))

    @Slot(int)
    def _on_slider_moved(self, per_cent: int) -> None:
        self._sparsity.setValue(per_cent)

    @Slot(object)
    def _on_form_refused(self, error: ConfigError) -> None:
        problem = f"{error.message} {error.hint}".strip()
        self.session.refuse_edit(Step.TARGET, problem)

    def _following(
        self, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> dict[str, Any]:
        model, config = self.session.state.model, self.session.state.config
        dtype = FileDtype.FLOAT32 if model is None else file_dtype(config, model)
        return targets.following(before, after, model, dtype)

    def _show_choices(self, state: AppState, said: Mapping[str, Any]) -> None:
        """Disable what the model does not have, and what does not go together."""
        supports = state.model.structures if state.model is not None else ()
        reasons = {each.structure: each.reason for each in supports}
        structure = said["structure"]
        for name, disabled in (
            ("structure", reasons),
            ("method", targets.disabled_methods(structure)),
            ("target", targets.disabled_targets(structure)),
            ("fisher", targets.disabled_fishers(said["correction"])),
            ("correction", targets.disabled_corrections(said["fisher"])),
        ):
            self._form.disable_choices(name, disabled)
        note = unsupported(supports)
        self._unsupported_note.setText(note)
        self._unsupported_note.setVisible(bool(note))
