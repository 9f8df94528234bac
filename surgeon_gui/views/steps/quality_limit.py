"""The quality limit in one of two units: perplexity in percent, or KL in nats.

As a form part it has two fields, one for each unit; 0 means no limit. Choosing the
other unit drops the limit in the first. A job file may have both limits: the one in the
other unit is then kept while the shown one is edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QGridLayout, QWidget

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import ChoiceBox, label_of, named
from surgeon_gui.widgets.forms.inputs import DecimalInput

_UNITS = {
    "max_perplexity_increase": tr("Perplexity, %"),
    "max_divergence": tr("KL, nats"),
}
_SETTINGS = settings_of(PruningConfig)
_UNIT_LENGTH = 11  # wide letters; holds the longest translation


class QualityLimit(QWidget):
    """A number box, and a combo box with its unit."""

    edited = Signal()
    names = tuple(_UNITS)

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, float] = dict.fromkeys(_UNITS, 0.0)
        self._inputs = {name: _input(name) for name in _UNITS}
        self._unit = ChoiceBox("quality_limit_combo", _UNIT_LENGTH)
        self._unit.offer(_UNITS)
        self._unit.currentIndexChanged.connect(self._on_unit_chosen)
        label = label_of(FIELDS["pruning.max_perplexity_increase"], self._unit)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(GAP // 2)
        grid.setColumnStretch(0, 1)
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
            self._values = shown
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
        self._values = dict.fromkeys(_UNITS, 0.0)
        for name, entry in self._inputs.items():
            entry.show(self._values[name])
        self.edited.emit()

    @Slot()
    def _on_number_edited(self) -> None:
        name = self._shown_name
        self._values = {**self._values, name: self._inputs[name].value}
        self.edited.emit()


def _input(name: str) -> DecimalInput:
    text, limits = FIELDS[f"pruning.{name}"], _SETTINGS[name].option.limits
    assert limits is not None
    entry = DecimalInput(limits, text)
    named(entry.widget, f"pruning_{name}", text)
    return entry
