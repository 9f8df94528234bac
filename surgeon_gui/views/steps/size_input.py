"""The target as a number with a unit.

The unit that is chosen is stored in the job, and its value is kept when the structure
or the number format changes. A unit that is typed is chosen: 80 MB, 0.1 GB, 20 %. Where
the result is one file and the target is a share, its size in bytes is shown until a
unit is chosen for this model.
As a form part it has the target, its numbers, and the context that a memory must hold.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QSizePolicy, QStackedWidget, QWidget

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.fields import Limits, settings_of
from surgeon_engine.api.config.pruning import OF_SHARE, PruningConfig, Target
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.running_memory import usable_context
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import targets
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import line_label, named
from surgeon_gui.widgets.forms.inputs import NumberInput, WholeInput
from surgeon_gui.widgets.forms.size_box import SizeBox
from surgeon_gui.widgets.layouts import horizontal
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_WIDTH = 120  # pixels, of a box
_BOXES = {
    Target.FILE_SIZE: "pruning_megabytes",
    Target.MEMORY: "pruning_memory_gigabytes",
    Target.PRUNABLE_SHARE: "pruning_sparsity",
    Target.PARAMETER_SHARE: "pruning_parameter_share",
    Target.PARAMETERS: "pruning_million_parameters",
}
_UNITS = {
    Target.FILE_SIZE: tr("File"),
    Target.MEMORY: tr("Memory"),
    Target.PRUNABLE_SHARE: tr("Removed, of prunable"),
    Target.PARAMETER_SHARE: tr("Removed, of all"),
    Target.PARAMETERS: tr("Parameters left"),
}
_SETTINGS = settings_of(PruningConfig)


class SizeInput(QWidget):
    """A number box, a box with its unit, and for a memory the context."""

    edited = Signal()
    names = targets.TARGET_FIELDS

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, Any] = {
            name: setting.default for name, setting in _SETTINGS.items()
        }
        self._model: ModelSummary | None = None
        self._form = FileForm()
        self._is_unit_chosen = False  # by the user, for the latest model
        self._source = ""  # of that model
        self._reasons: dict[Target, str] | None = None
        self._unit_shown: Target = self._values["target"]
        self._inputs: dict[Target, NumberInput] = {}
        self._stack = QStackedWidget()
        for target in _BOXES:
            self._stack.addWidget(self._box(target))
        fixed = QSizePolicy.Policy.Fixed
        self._stack.setSizePolicy(QSizePolicy.Policy.Preferred, fixed)
        length = len(max(_UNITS.values(), key=len))
        self._unit = ChoiceBox("size_unit_combo", length)
        self._unit.offer(_UNITS, self._values["target"])
        self._unit.currentIndexChanged.connect(self._on_unit_chosen)
        self._context = WholeInput(_limits("context"), FIELDS["pruning.context"])
        named(self._context.widget, "pruning_context", FIELDS["pruning.context"])
        self._context.edited.connect(self._on_context_edited)
        self._context_label = line_label(tr("with a context of"), quiet=True)
        context = (self._context_label, self._context.widget)
        horizontal(self, self._unit, self._stack, *context)
        self._show()

    def _box(self, target: Target) -> QWidget:
        text = FIELDS[f"pruning.{targets.target_field(target)}"]
        box = SizeBox(text, text.decimals)
        entry = NumberInput(_limits(targets.target_field(target)), text, box)
        named(entry.widget, _BOXES[target], text).setMinimumWidth(_MIN_WIDTH)
        entry.widget.setAccessibleName(CHOICES[target][0])
        entry.edited.connect(functools.partial(self._on_box_edited, target))
        # Queued: the box that tells them is still reading its text.
        box.share_typed.connect(
            self._on_share_typed, Qt.ConnectionType.QueuedConnection
        )
        box.bytes_typed.connect(
            self._on_bytes_typed, Qt.ConnectionType.QueuedConnection
        )
        self._inputs[target] = entry
        return entry.widget

    # FormPart

    def values(self) -> Mapping[str, Any]:
        """Return the values of the fields by name."""
        return {name: self._values[name] for name in self.names}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the values of all fields without emitting `edited`."""
        self._values = dict(values)
        self._show()

    def field(self, name: str) -> QWidget:
        """Return the input of the target, whichever of its fields `name` is."""
        return self._inputs[self._unit_shown].widget

    def show_model(
        self, model: ModelSummary | None, form: FileForm, source: str = ""
    ) -> None:
        """Convert sizes for the model of a source and the form of its file."""
        if source != self._source:
            self._source, self._is_unit_chosen = source, False
        if (model, form) != (self._model, self._form):
            self._model, self._form = model, form
            self._show()

    def disable(self, reasons: Mapping[Target, str]) -> None:
        """Disable units, each for a reason that its tooltip shows."""
        if reasons == self._reasons:
            return
        self._reasons = dict(reasons)
        for index, target in enumerate(_BOXES):
            reason = reasons.get(target, "")
            self._unit.disable(index, reason, tip=CHOICES[target][1])
            box = self._inputs[target].widget
            field = FIELDS[f"pruning.{targets.target_field(target)}"]
            box.setToolTip(plain_tip(reason or field.tip))
        self._show()

    def set_share(self, share: float) -> None:
        """Set the target to a share of the prunable weights, in the chosen unit."""
        unit = self._unit_shown
        plain = {**self._values, "target": Target.PRUNABLE_SHARE, "sparsity": share}
        changes = targets.converted(plain, unit, self._model, self._form)
        self._change({**plain, **changes})

    # User actions

    def _change(self, changes: Mapping[str, Any]) -> None:
        self._values = {**self._values, **changes}
        self._show()
        self.edited.emit()

    def _on_box_edited(self, target: Target, _: float) -> None:
        value = self._inputs[target].value
        self._change({"target": target, targets.target_field(target): value})

    @Slot(float)
    def _on_share_typed(self, share: float) -> None:
        is_of_all = self._unit_shown is Target.PARAMETER_SHARE
        unit = Target.PARAMETER_SHARE if is_of_all else Target.PRUNABLE_SHARE
        self._choose_typed(unit, share)

    @Slot(float)
    def _on_bytes_typed(self, count: float) -> None:
        is_memory = self._unit_shown is Target.MEMORY
        unit = Target.MEMORY if is_memory else Target.FILE_SIZE
        stored = FIELDS[f"pruning.{targets.target_field(unit)}"].stored_bytes
        self._choose_typed(unit, count / stored)

    def _choose_typed(self, unit: Target, value: float) -> None:
        """Choose a unit with a value, the nearest one that its box can hold."""
        if not self._unit.is_enabled(unit):
            return
        self._is_unit_chosen = True
        had_focus = self._inputs[self._unit_shown].widget.hasFocus()
        limits = _limits(targets.target_field(unit))
        value = min(max(value, limits.low), limits.high)
        if limits.contain(value):
            self._change({"target": unit, targets.target_field(unit): value})
        if had_focus:
            box = self._inputs[unit].number_box
            box.setFocus()
            box.selectAll()  # as after Return without a unit

    @Slot()
    def _on_unit_chosen(self) -> None:
        unit = self._unit.value
        if unit is self._unit_shown:
            return
        self._is_unit_chosen = True
        values = self._values
        if unit is Target.MEMORY and self._model is not None:
            context = usable_context(values["context"], self._model)
            values = {**values, "context": context}
        changes = targets.converted(values, unit, self._model, self._form)
        self._change({**values, **changes})

    @Slot()
    def _on_context_edited(self) -> None:
        self._change({"context": self._context.value})

    def _shown_values(self) -> dict[str, Any]:
        """Return the values of the job; or its file, while nobody has chosen a unit."""
        values = self._values
        is_share = values["target"] in OF_SHARE
        is_file = self._model is not None and self._form.format is Format.GGUF
        unit = Target.FILE_SIZE
        if self._is_unit_chosen or not (
            is_share and is_file and self._unit.is_enabled(unit)
        ):
            return values
        changes = targets.converted(values, unit, self._model, self._form)
        return {**values, **changes} if len(changes) > 1 else values

    def _show(self) -> None:
        shown = self._shown_values()
        self._unit_shown = target = shown["target"]
        entry = self._inputs[target]
        if not entry.is_being_typed_in:
            entry.show(shown[targets.target_field(target)])
        self._stack.setCurrentWidget(entry.widget)
        self._unit.choose(target)
        if not self._context.is_being_typed_in:
            self._context.show(self._values["context"])
        for each in (self._context_label, self._context.widget):
            each.setVisible(target is Target.MEMORY)


def _limits(name: str) -> Limits:
    limits = _SETTINGS[name].option.limits
    assert limits is not None
    return limits
