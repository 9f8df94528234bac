"""The section Target: choose structure, target and method, and show the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.formatting import rounded_up
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.preset_store import PresetStore
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import resource_text, targets
from surgeon_gui.state.job.own_presets import presets_folder
from surgeon_gui.state.job.plan_text import describe_goal, unsupported
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Step, of_error, sentence
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.plan_card import PlanCard
from surgeon_gui.views.steps.preset_box import PresetBox
from surgeon_gui.views.steps.protection_tree import ProtectionTree
from surgeon_gui.views.steps.size_input import SizeInput
from surgeon_gui.views.steps.structure_tiles import StructureTiles
from surgeon_gui.views.steps.vocabulary_rows import VocabularyRows
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import (
    button,
    heading,
    label_of,
    named,
    show_text,
    text_label,
)
from surgeon_gui.widgets.forms.form import ConfigForm
from surgeon_gui.widgets.forms.inputs import NumberInput
from surgeon_gui.widgets.layouts import in_grid

_IN_FRONT = ("protect", "kept_texts")


class TargetPage(Page):
    """Presets, structure, target, method, protections, and the plan of the run."""

    step = Step.TARGET

    def __init__(self, session: Session, size: SizeInput) -> None:
        super().__init__(session)
        self._preset_store = PresetStore(session, presets_folder(), self)
        self._presets = PresetBox(self._preset_store)
        self._presets.chosen.connect(session.draft.choose_preset)
        self._before_pattern: Mapping[str, Any] | None = None  # settings before N:M
        self._tiles = StructureTiles()
        self._sizes = size
        self._limit = QualityLimit()
        self._form = ConfigForm(
            "pruning",
            PruningConfig,
            self._implied,
            in_front=_IN_FRONT,
            parts=(self._tiles, self._sizes, self._limit),
        )
        self._form.edited.connect(session.draft.edit_part)
        self._form.refused.connect(self.reject_edit)
        size.refused.connect(self._form.refuse)
        self._recovery = ConfigForm("recovery", RecoveryConfig)
        self._recovery.edited.connect(session.draft.edit_part)
        self._recovery.refused.connect(self.reject_edit)
        self._structure_note = text_label(quiet=True, name="structure_note")
        self._unsupported_note = text_label(quiet=True, name="unsupported_note")
        self._goal = text_label(quiet=True, name="goal_label")
        self._choose_layers = button("protect_choose_button")
        self._tree = ProtectionTree()
        self._vocabulary = VocabularyRows(session)
        self._plan = PlanCard()
        self._fitted = ""  # the settings changed to make the draft fit
        self._fitted_draft: object = None  # the draft with these changes
        self._plan.fit_clicked.connect(self._on_fit)
        self._lay_out()

    def _implied(
        self, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what an edit implies; leaving N:M restores the target before it."""
        changes = targets.implied_changes(before, after, self.session.state.model)
        had, has = (x["structure"] is Structure.N_M for x in (before, after))
        if has and not had:
            self._before_pattern = before
        elif had and not has and self._before_pattern is not None:
            earlier, structure = self._before_pattern, after["structure"]
            changes |= targets.target_without_pattern(before, earlier, structure)
        return changes

    def _lay_out(self) -> None:
        self._choose_layers.setCheckable(True)
        fixed = QSizePolicy.Policy.Fixed
        self._choose_layers.setSizePolicy(fixed, fixed)
        self._choose_layers.toggled.connect(self._tree.setVisible)
        self._tree.hide()
        self._tree.chosen.connect(partial(self._form.edit, "protect"))
        for widget in (
            heading(tr("Preset")),
            self._presets,
            heading(tr("What to prune")),
            self._tiles,
            self._structure_note,
            self._unsupported_note,
            heading(tr("How much")),
            self._limit,
            self._goal,
            self._plan,
            self._form,
            self._recovery,
        ):
            self.column.addWidget(widget)
        self._form.add_below("kept_texts", self._vocabulary)
        for below in (self._choose_layers, self._tree):
            self._form.add_below("protect", below)

    @override
    def show_state(self, state: AppState) -> None:
        if state.machine is not None:
            self._sizes.memory = state.machine.memory(state.config.model.device)
        self._sizes.show_model(state.model, _form(state))
        if Step.TARGET not in state.rejected:  # else a form shows its own problem
            problems = self.problems(state)
            if error := state.request(RequestKind.VOCABULARY).error:
                shown = sentence(of_error(error))
                problems |= dict.fromkeys(error.settings, shown)
            if state.config.pruning != self._form.latest:  # such as another job
                self._before_pattern = None
            self._form.show_config(state.config.pruning, problems)
            self._recovery.show_config(state.config.recovery, problems)
        values = self._form.values()
        self._presets.show_state(state)
        self._show_choices(state, values)
        self._vocabulary.show_state(state)
        self._tree.show_model(state.model)
        self._tree.show_patterns(values["protect"])
        self._choose_layers.setEnabled(state.model is not None)
        model = state.model if Step.TARGET not in state.problems else None
        show_text(self._goal, describe_goal(state.config, model) if model else "")
        if state.config != self._fitted_draft:
            self._fitted, self._fitted_draft = "", None
        self._plan.show_state(state, self._fitted)

    @Slot(object)
    @override
    def reject_edit(self, error: ConfigError) -> None:
        problem = f"{error.message} {error.hint}".strip()
        self.session.draft.reject_edit(self.step, problem)

    @Slot()
    def _on_fit(self) -> None:
        fitted = resource_text.adjusted_draft(self.session.state)
        self._fitted = resource_text.describe_changes(fitted)
        self._fitted_draft = fitted.config if fitted else self.session.state.config
        if fitted is not None:
            self.session.draft.edit(fitted.config)
        self._plan.show_state(self.session.state, self._fitted)

    def _show_choices(self, state: AppState, values: Mapping[str, Any]) -> None:
        supported = state.model.structures if state.model is not None else ()
        reasons = {each.structure: each.reason for each in supported}
        structure = values["structure"]
        self._tiles.show_support(supported)
        file_format = state.config.export.format
        self._sizes.disable(targets.disabled_targets(structure, file_format))
        self._form.disable_choices("method", targets.disabled_methods(structure))
        self._structure_note.setText(CHOICES[structure][1])
        self._structure_note.setVisible(not reasons.get(structure, ""))
        show_text(self._unsupported_note, unsupported(supported))


def _form(state: AppState) -> FileForm:
    if state.model is None:
        return FileForm()
    return file_form(state.config, state.model)


_UNITS = {
    "max_perplexity_increase": tr("Perplexity, %"),
    "max_divergence": tr("KL, nats"),
}
_SETTINGS = settings_of(PruningConfig)
_UNIT_LENGTH = 11  # wide letters; holds the longest translation


class QualityLimit(QWidget):
    """The quality limit in one of two units: a number box, and a box with its unit.

    As a form part it has two fields, one for each unit; 0 means no limit. Choosing the
    other unit begins with about the same limit, and drops the one in the first unit
    until that is chosen again. A job file may have both limits: the one in the other
    unit is kept while the shown one is edited.
    """

    edited = Signal()
    names = tuple(_UNITS)

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, float] = dict.fromkeys(_UNITS, 0.0)
        self._kept = self._values  # the last limit in each unit
        self._inputs = {name: _input(name) for name in _UNITS}
        self._unit = ChoiceBox("quality_limit_combo", _UNIT_LENGTH)
        self._unit.offer(_UNITS)
        self._unit.currentIndexChanged.connect(self._on_unit_chosen)
        label = label_of(FIELDS["pruning.max_perplexity_increase"], self._unit)
        grid = in_grid(self, wide=0, below=GAP // 2)
        grid.addWidget(label, 0, 0, 1, 2)
        for entry in self._inputs.values():
            entry.edited.connect(self._on_number_edited)
            grid.addWidget(entry.widget, 1, 0)
        grid.addWidget(self._unit, 1, 1)
        self._show_unit()

    # FormPart

    def values(self) -> Mapping[str, Any]:
        """Return the limits by field."""
        return dict(self._values)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the limits without emitting `edited`."""
        shown = {name: values[name] for name in _UNITS}
        if shown != self._values:
            self._values = self._kept = shown
            self._show_unit_in_use()
        for name, entry in self._inputs.items():
            if not entry.is_being_typed_in:
                entry.show(shown[name])

    def field(self, name: str) -> QWidget:
        """Return the input of a limit."""
        return self._inputs[name].widget

    @property
    def _shown_name(self) -> str:
        return str(self._unit.value)

    def _show_unit_in_use(self) -> None:
        """Choose the unit of the limit, if there is one and it is not shown."""
        in_use = [name for name, value in self._values.items() if value]
        if in_use and self._shown_name not in in_use:
            self._unit.offer(_UNITS, in_use[0])
            self._show_unit()

    def _show_unit(self) -> None:
        for name, entry in self._inputs.items():
            entry.widget.setVisible(name == self._shown_name)

    @Slot()
    def _on_unit_chosen(self) -> None:
        self._show_unit()
        name = self._shown_name
        left = {other: self._values[other] for other in _UNITS if other != name}
        self._kept = {**self._kept, **left}
        box = self._inputs[name].number_box
        found = rounded_up(_converted(max(left.values()), name), box.decimals())
        limit = self._kept[name] or min(found, box.maximum())
        self._values = {**dict.fromkeys(_UNITS, 0.0), name: limit}
        for name, entry in self._inputs.items():
            entry.show(self._values[name])
        self.edited.emit()

    @Slot()
    def _on_number_edited(self) -> None:
        name = self._shown_name
        self._values = {**self._values, name: self._inputs[name].value}
        self.edited.emit()


def _converted(limit: float, name: str) -> float:
    """Return a limit of the other unit in the unit of the field `name`.

    They are the same on text that the original itself would write.
    """
    if name == "max_divergence":
        return math.log1p(limit / 100)
    return 100 * math.expm1(limit)


def _input(name: str) -> NumberInput:
    text, limits = FIELDS[f"pruning.{name}"], _SETTINGS[name].option.limits
    assert limits is not None
    entry = NumberInput(limits, text)
    named(entry.widget, f"pruning_{name}", text)
    return entry
