"""The target as a text, a number with its unit, beside a box with what it counts.

One parser reads each text: 80 MB, 0.1 GB, 20 %, 7 B. A unit that is typed is chosen; a
text that is no size is refused and stays. What is chosen is stored in the job, and its
value is kept when the structure or the number format changes. Where the result is one
file and the target is a share, its size in bytes is shown, unless another unit was
chosen last.
As a form part it has the target, its numbers, and the context that a memory must hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QLocale, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QWidget
from typing_extensions import override

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import (
    MAX_SHARE,
    OF_SHARE,
    PruningConfig,
    Target,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.running_memory import (
    COMMON_MEMORIES,
    GIGABYTE,
    usable_context,
)
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import targets
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import line_label, named
from surgeon_gui.widgets.forms.inputs import WholeInput
from surgeon_gui.widgets.layouts import horizontal
from surgeon_gui.widgets.spin_boxes import number_in, show_limit
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_WIDTH = 120  # pixels, of a box
_SIZE = re.compile(r"(.*?)\s*(%|[kmgt]i?b|[kmb]?)", re.IGNORECASE | re.DOTALL)
_POWERS = " kmgt"
_COUNT = 1000  # parameters, from which on a number without a unit is their number
_MILLIONS = {"": 1e-6, "k": 1e-3, "m": 1.0, "b": 1e3}
_DIGITS = 12  # without the noise of a conversion
_SETTINGS = settings_of(PruningConfig)


class SizeInput(QWidget):
    """A line for a size, a box with what it counts, and for a memory the context."""

    edited = Signal()
    refused = Signal(object)  # the ConfigError of a text that is no size
    names = targets.TARGET_FIELDS

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._values: dict[str, Any] = {
            name: setting.default for name, setting in _SETTINGS.items()
        }
        self._model: ModelSummary | None = None
        self._form = FileForm()
        self.memory = 0  # bytes of the device; 0: not known
        self._had_memory = False  # the target was a memory before
        self._reasons: Mapping[Target, str] = dict.fromkeys(Target, "")
        self._shown: tuple[Target, float | None] = (self._values["target"], None)
        self._suffix = ""  # unit in the shown text
        self._line = QLineEdit()
        named(self._line, "pruning_size", FIELDS["pruning.target"])
        self._line.setMinimumWidth(_MIN_WIDTH)
        self._line.editingFinished.connect(self._on_typed)
        length = len(max(targets.UNITS.values(), key=len))
        self._unit = ChoiceBox("size_unit_combo", length)
        self._unit.offer(targets.UNITS, self._values["target"])
        self._unit.currentIndexChanged.connect(self._on_unit_chosen)
        limits = _SETTINGS["context"].option.limits
        self._context = WholeInput(limits, FIELDS["pruning.context"])
        named(self._context.widget, "pruning_context", FIELDS["pruning.context"])
        self._context.edited.connect(self._on_context_edited)
        self._context_label = line_label(tr("with a context of"), quiet=True)
        context = (self._context_label, self._context.widget)
        horizontal(self, self._unit, (self._line, 1), *context)
        self.disable({})

    # FormPart

    def values(self) -> Mapping[str, Any]:
        """Return the values of the fields by name."""
        return {name: self._values[name] for name in self.names}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the values of all fields without emitting `edited`."""
        self._values = dict(values)
        if not self._line.hasFocus():
            self._line.setModified(False)  # a refused text gives way
        self._show()

    def field(self, name: str) -> QWidget:
        """Return the line of the target, whichever of its fields `name` is."""
        return self._line

    @property
    def unit(self) -> Target:
        """The unit that is shown."""
        return self._shown[0]

    def show_model(self, model: ModelSummary | None, form: FileForm) -> None:
        """Convert sizes for a model and the form of its file."""
        if (model, form) != (self._model, self._form):
            self._model, self._form = model, form
            self._show()

    def disable(self, reasons: Mapping[Target, str]) -> None:
        """Disable units, each for a reason that its tooltip shows."""
        if reasons == self._reasons:
            return
        self._reasons = dict(reasons)
        for index, target in enumerate(targets.UNITS):
            tip = CHOICES[target][1]
            self._unit.disable(index, self._reasons.get(target, ""), tip=tip)
        self._show()

    def set_share(self, share: float) -> None:
        """Set the target to a share of the prunable weights, in the chosen unit."""
        plain = {**self._values, "target": Target.PRUNABLE_SHARE, "sparsity": share}
        changes = targets.converted(plain, self.unit, self._model, self._form)
        self._change({**plain, **changes})

    # User actions

    def _change(self, changes: Mapping[str, Any]) -> None:
        self._line.setModified(False)
        self._values = {**self._values, **changes}
        self._show()
        self.edited.emit()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Show the target again in place of a text when Escape is pressed."""
        if event.key() == Qt.Key.Key_Escape and self._line.isModified():
            self._shown = self.unit, None
            self._change({})
        else:
            super().keyPressEvent(event)

    @Slot()
    def _on_typed(self) -> None:
        """Take a text and keep it, unless a tidier one means the same."""
        if not self._line.isModified():
            return
        unit, locale = self.unit, self._line.locale()
        typed = self._line.text().strip()
        is_count = (number_in(typed, locale) or 0) >= _COUNT
        if not _split(typed)[1] and not (is_count and unit is Target.PARAMETERS):
            typed = f"{typed} {self._suffix}"
        try:
            target, value = found = self._checked(_parsed(typed, unit, locale))
        except ConfigError as error:
            self._shown = unit, None
            self.refused.emit(error)
            return
        tidy = targets.value_text(target, value)
        self._shown = target, value
        self._write(tidy if _parsed(tidy, target, locale) == found else typed)
        if target is not unit:
            self._settings.size_unit = target
        self._change({"target": target, targets.target_field(target): value})
        if self._line.hasFocus():
            self._line.selectAll()

    def _checked(self, found: tuple[Target, float] | None) -> tuple[Target, float]:
        """Return what a text says.

        Raises:
            ConfigError: It is no size, or cannot be the target.
        """
        if found is not None:
            target, value = found
            if reason := self._reasons.get(target):
                raise ConfigError(reason, settings=("target",))
            if target in OF_SHARE and value > MAX_SHARE:
                limit = tr("At most {limit}.").format(limit=numbers.percent(MAX_SHARE))
                if value > 1:
                    message, text = tr("{text:shown} is too much."), self._line.text()
                    raise ConfigError(message, limit, settings=("target",), text=text)
                show_limit(self._line, limit)
                value = MAX_SHARE
            limits = _SETTINGS[targets.target_field(target)].option.limits
            if limits is not None and limits.contain(value):
                return target, value
        raise ConfigError(
            tr("{text:shown} is not a size."),
            tr("Type a number with a unit, such as {examples}."),
            settings=("target",),
            text=self._line.text(),
            examples="500 M, 7 B, 20 %, 80 MB"
            if self.unit is Target.PARAMETERS
            else "20 %, 80 MB, 2 GB",
        )

    @Slot()
    def _on_unit_chosen(self) -> None:
        unit = self._unit.value
        if unit is self.unit:
            return
        self._had_memory |= self.unit is Target.MEMORY
        self._settings.size_unit = unit
        values = self._values
        if unit is Target.MEMORY and self._model is not None:
            context = usable_context(values["context"], self._model)
            values = {**values, "context": context}
        elif unit is Target.MEMORY:
            values = {**values, **self._memory_to_begin_with()}
        changes = targets.converted(values, unit, self._model, self._form)
        self._change({**values, **changes})

    def _memory_to_begin_with(self) -> dict[str, float]:
        """Return the usual memory that the device has, unless another was chosen."""
        name = targets.target_field(Target.MEMORY)
        # In GB in any units: a device of 24 GiB has somewhat less than that.
        usual = [x for x in COMMON_MEMORIES if x * GIGABYTE <= self.memory]
        is_chosen = self._had_memory or self._values[name] != _SETTINGS[name].default
        return {} if is_chosen or not usual else {name: usual[-1]}

    @Slot()
    def _on_context_edited(self) -> None:
        self._change({"context": self._context.value})

    def _shown_values(self) -> dict[str, Any]:
        """Return the values of the job; or its file, if that was chosen last."""
        values, unit = self._values, Target.FILE_SIZE
        is_file = self._model is not None and self._form.format is Format.GGUF
        is_chosen = self._settings.size_unit is unit and unit not in self._reasons
        if values["target"] not in OF_SHARE or not (is_file and is_chosen):
            return values
        changes = targets.converted(values, unit, self._model, self._form)
        return {**values, **changes} if len(changes) > 1 else values

    def _show(self) -> None:
        shown = self._shown_values()
        target = shown["target"]
        value = shown[targets.target_field(target)]
        if not self._line.isModified() and (target, value) != self._shown:
            self._shown = target, value
            self._write(targets.value_text(target, value))
        self._unit.choose(target)
        tip = targets.target_text(target).tip
        self._line.setToolTip(plain_tip(self._reasons.get(target) or tip))
        self._line.setAccessibleName(CHOICES[target][0])
        if not self._context.is_being_typed_in:
            self._context.show(self._values["context"])
        for each in (self._context_label, self._context.widget):
            each.setVisible(target is Target.MEMORY)

    def _write(self, text: str) -> None:
        self._line.setText(text)
        self._suffix = _split(text)[1]


def _split(text: str) -> tuple[str, str]:
    """Return the number and the unit of a text; a text without a unit is a number."""
    found = _SIZE.fullmatch(text)
    assert found is not None  # it matches all texts
    return found[1], found[2]


def _parsed(text: str, unit: Target, locale: QLocale) -> tuple[Target, float] | None:
    """Return the unit and the value of a text beside a unit; None: it is no size."""
    number, suffix = number_in(_split(text)[0], locale), _split(text)[1].lower()
    if number is None:
        return None
    if suffix == "%":
        target = unit if unit in OF_SHARE else Target.PRUNABLE_SHARE
        value = number / 100
    elif len(suffix) > 1:
        target = unit if unit in targets.IN_BYTES else Target.FILE_SIZE
        base = 1024 if "i" in suffix else 1000
        stored = targets.target_text(target).stored_bytes
        value = number * base ** _POWERS.index(suffix[0]) / stored
    elif suffix or unit is Target.PARAMETERS:
        target, value = Target.PARAMETERS, number * _MILLIONS[suffix]
    else:
        return None
    return target, round(value, _DIGITS)
