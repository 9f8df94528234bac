"""Two rows of sampling settings: length, temperature, top-p, seed and chat template."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QSpinBox,
    QWidget,
)

from surgeon_engine.api.config.fields import Limits, fields_of
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    button,
    described,
    enable_unless,
    ignore_wheel,
    line_label,
)

_LIMITS: dict[str, Limits] = {
    field.name: field.option.limits
    for field in fields_of(GenerationSettings)
    if field.option.limits is not None
}
_MIN_TOP_P = 0.01  # 0 would allow no token


class SamplingRow(QWidget):
    """Four numbers, a button for a new seed, and a check box for the chat template."""

    edited = Signal(object)  # GenerationSettings
    seed_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._settings = GenerationSettings()
        self._length = _integer_box("playground_length", "new_tokens", step=16)
        self._temperature = _decimal_box(
            "playground_temperature", "temperature", step=0.1
        )
        self._top_p = _decimal_box("playground_top_p", "top_p", step=0.05)
        self._top_p.setMinimum(_MIN_TOP_P)
        self._seed = _integer_box("playground_seed", "seed", step=1)
        self._new_seed = button("playground_new_seed_button", self.seed_requested)
        self._chat = QCheckBox(CAPTIONS["playground_chat_check"].label)
        described(self._chat, "playground_chat_check")
        self._chat.toggled.connect(self._on_edited)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(GAP)
        boxes: tuple[QSpinBox | QDoubleSpinBox, ...] = (
            *(self._length, self._temperature),
            *(self._top_p, self._seed),
        )
        for index, box in enumerate(boxes):
            box.valueChanged.connect(self._on_edited)
            label = line_label(CAPTIONS[box.objectName()].label)
            label.setBuddy(box)
            row, place = divmod(index, 2)
            grid.addWidget(label, row, 2 * place)
            grid.addWidget(box, row, 2 * place + 1)
        grid.addWidget(self._chat, 0, 4)
        grid.addWidget(self._new_seed, 1, 4)
        grid.setColumnStretch(5, 1)

    def show_settings(
        self, settings: GenerationSettings, has_template: bool | None
    ) -> None:
        """Show settings, and whether there is a chat template (None if unknown)."""
        self._settings = settings
        _show(self._length, settings.new_tokens)
        _show(self._temperature, settings.temperature)
        _show(self._top_p, settings.top_p)
        _show(self._seed, settings.seed)
        with QSignalBlocker(self._chat):
            self._chat.setChecked(settings.as_chat)
        # Greedy decoding uses neither seed nor top-p.
        is_sampled = settings.temperature > 0
        reason = tr("At temperature 0, the most likely token is always chosen.")
        for widget in (self._seed, self._new_seed, self._top_p):
            enable_unless(widget, "" if is_sampled else reason)
        is_unavailable = has_template is False and not settings.as_chat
        reason = tr("The tokenizer of these models has no chat template.")
        enable_unless(self._chat, reason if is_unavailable else "")

    @Slot()
    def _on_edited(self) -> None:
        self.edited.emit(
            replace(
                self._settings,
                new_tokens=self._length.value(),
                temperature=self._temperature.value(),
                top_p=self._top_p.value(),
                seed=self._seed.value(),
                as_chat=self._chat.isChecked(),
            )
        )


def _integer_box(name: str, field: str, step: int) -> QSpinBox:
    box = ignore_wheel(described(QSpinBox(), name))
    box.setRange(int(_LIMITS[field].low), int(_LIMITS[field].high))
    box.setSingleStep(step)
    return box


def _decimal_box(name: str, field: str, step: float) -> QDoubleSpinBox:
    box = ignore_wheel(described(QDoubleSpinBox(), name))
    box.setDecimals(2)
    box.setRange(_LIMITS[field].low, _LIMITS[field].high)
    box.setSingleStep(step)
    return box


def _show(box: QSpinBox | QDoubleSpinBox, value: float) -> None:
    with QSignalBlocker(box):
        if isinstance(box, QSpinBox):
            box.setValue(int(value))
        else:
            box.setValue(value)
