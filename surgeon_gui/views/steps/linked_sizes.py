"""The pruning target in five units; editing one updates the others.

One unit is selected: its value is stored in the job and kept when the structure or the
number format changes. The other values are computed from it exactly. As a form part it
has the target, its numbers, and the context that the memory has to hold: editing it
selects the memory and keeps the size of the model, or the memory if that is selected.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QDoubleSpinBox,
    QGridLayout,
    QRadioButton,
    QSlider,
    QWidget,
)

from surgeon_engine.api.config.fields import Limits, settings_of
from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.planned_file import FileForm
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import targets
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import described, ignore_wheel, named, text_label
from surgeon_gui.widgets.forms.inputs import DecimalInput, WholeInput
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_VALUE, _MAX_VALUE = 0, 95  # percent on the slider; the boxes are finer
_MIN_WIDTH = 120  # pixels, of a box
_BOXES = {
    Target.PRUNABLE_SHARE: "pruning_sparsity",
    Target.PARAMETER_SHARE: "pruning_parameter_share",
    Target.PARAMETERS: "pruning_million_parameters",
    Target.FILE_SIZE: "pruning_megabytes",
    Target.MEMORY: "pruning_memory_gigabytes",
}
_SETTINGS = settings_of(PruningConfig)
_DASH = "\N{EM DASH}"  # for an unknown size
_HINT = tr("The selected value is kept; the others follow.")


class LinkedSizes(QWidget):
    """A slider and number boxes for the same target."""

    edited = Signal()
    names = targets.TARGET_FIELDS

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, Any] = {
            name: setting.default for name, setting in _SETTINGS.items()
        }
        self._model: ModelSummary | None = None
        self._form = FileForm()
        self._inputs: dict[Target, DecimalInput] = {}
        self._radios: dict[Target, QRadioButton] = {}
        self._group = QButtonGroup(self)
        self._slider = described(
            ignore_wheel(QSlider(Qt.Orientation.Horizontal)), "sparsity_slider"
        )
        self._slider.setRange(_MIN_VALUE, _MAX_VALUE)
        self._slider.setPageStep(5)
        self._slider.valueChanged.connect(self._on_slider_moved)
        self._group.buttonClicked.connect(self._on_unit_chosen)
        self._context = self._context_box()
        self._lay_out()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP // 2)
        grid.setVerticalSpacing(GAP // 2)
        grid.addWidget(self._slider, 0, 0, 1, 2)
        for row, target in enumerate(Target, start=1):
            radio = self._radio(target)
            grid.addWidget(radio, row, 0)
            grid.addWidget(self._box(target), row, 1)
        label = text_label(tr("with a context of"))
        label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(label, row + 1, 0)
        grid.addWidget(self._context.widget, row + 1, 1)
        grid.addWidget(text_label(_HINT, quiet=True), row + 2, 0, 1, 2)
        grid.setColumnStretch(1, 1)

    def _radio(self, target: Target) -> QRadioButton:
        label, tip = CHOICES[target]
        radio = QRadioButton(label)
        spoken = tr("Keep fixed: {size}").format(size=label)
        named(radio, f"hold_{target.value}_radio", FieldText(spoken, tip))
        self._group.addButton(radio)
        self._radios[target] = radio
        return radio

    def _box(self, target: Target) -> QWidget:
        text = _field_text(target)
        entry = DecimalInput(_limits(targets.target_field(target)), text)
        text = replace(text, label=CHOICES[target][0])
        named(entry.widget, _BOXES[target], text).setMinimumWidth(_MIN_WIDTH)
        entry.edited.connect(functools.partial(self._on_box_edited, target))
        self._inputs[target] = entry
        return entry.widget

    def _context_box(self) -> WholeInput:
        text = FIELDS["pruning.context"]
        entry = WholeInput(_limits("context"), text)
        named(entry.widget, "pruning_context", text).setMinimumWidth(_MIN_WIDTH)
        entry.edited.connect(self._on_context_edited)
        return entry

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
        return self._inputs[self._values["target"]].widget

    def show_model(self, model: ModelSummary | None, form: FileForm) -> None:
        """Compute the values for `model` and the number format of the export."""
        if model is not self._model or form != self._form:
            self._model, self._form = model, form
            self._show()

    def disable(self, reasons: Mapping[Target, str]) -> None:
        """Disable units, each for a reason that its tooltip shows."""
        for target, radio in self._radios.items():
            reason = reasons.get(target, "")
            is_usable = not reason or target is self._values["target"]
            for widget, tip in (
                (radio, CHOICES[target][1]),
                (self._inputs[target].widget, _field_text(target).tip),
            ):
                widget.setEnabled(is_usable)
                widget.setToolTip(plain_tip(reason or tip))
        reason = reasons.get(Target.MEMORY, "")
        self._context.widget.setEnabled(self._inputs[Target.MEMORY].widget.isEnabled())
        self._context.widget.setToolTip(
            plain_tip(reason or FIELDS["pruning.context"].tip)
        )

    # user actions

    def _enter(self, target: Target, value: float) -> None:
        """Set the target to a value in one of the units."""
        self._change({"target": target, targets.target_field(target): value})

    def _convert(self, target: Target) -> None:
        """Give the target another unit."""
        self._change(targets.converted(self._values, target, self._model, self._form))

    def _change(self, changes: Mapping[str, Any]) -> None:
        self._values = {**self._values, **changes}
        self._show()
        self.edited.emit()

    def _on_box_edited(self, target: Target, _: float) -> None:
        self._enter(target, self._inputs[target].value)

    @Slot(int)
    def _on_context_edited(self, context: int) -> None:
        self._values = {**self._values, "context": context}
        self._convert(Target.MEMORY)

    @Slot(int)
    def _on_slider_moved(self, percent: int) -> None:
        self._enter(Target.PRUNABLE_SHARE, percent / 100)

    @Slot(QAbstractButton)
    def _on_unit_chosen(self, button: QAbstractButton) -> None:
        target = next(t for t, radio in self._radios.items() if radio is button)
        if target is not self._values["target"]:
            self._convert(target)

    def _show(self) -> None:
        sizes = targets.equivalent_sizes(self._values, self._model, self._form)
        for target, entry in self._inputs.items():
            box = entry.widget
            assert isinstance(box, QDoubleSpinBox)
            if entry.is_being_typed_in:
                continue  # either call would write over it
            box.setSpecialValueText("" if target in sizes else _DASH)
            entry.show(sizes.get(target, entry.minimum))
        if not self._context.is_being_typed_in:
            self._context.show(self._values["context"])
        self._radios[self._values["target"]].setChecked(True)
        share = sizes.get(Target.PRUNABLE_SHARE)
        if share is not None:
            with QSignalBlocker(self._slider):
                self._slider.setValue(round(100 * share))


def _field_text(target: Target) -> FieldText:
    return FIELDS[f"pruning.{targets.target_field(target)}"]


def _limits(name: str) -> Limits:
    limits = _SETTINGS[name].option.limits
    assert limits is not None
    return limits
