"""The settings of the samples: whether they are written, and their prompt."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import AnyWidget, named
from surgeon_gui.widgets.layouts import vertical


class SampleSettings(QWidget):
    """A check box and a line for the prompt, which is hidden without samples."""

    edited = Signal(object)  # SamplesConfig

    def __init__(self) -> None:
        super().__init__()
        self._config = SamplesConfig()
        label = FIELDS["samples.after_shots"].label
        self._check = _named(QCheckBox(label), "after_shots")
        self._check.toggled.connect(self._on_edited)
        self._prompt = _named(QLineEdit(), "prompt")
        self._prompt.setPlaceholderText(self._config.prompt)
        self._prompt.editingFinished.connect(self._on_edited)
        vertical(self, self._check, self._prompt)
        self.show_config(self._config)

    def show_config(self, config: SamplesConfig) -> None:
        """Show settings; a prompt that is being typed stays."""
        self._config = config
        with QSignalBlocker(self._check):
            self._check.setChecked(config.after_shots)
        self._prompt.setVisible(config.after_shots)
        if not (self._prompt.hasFocus() and self._prompt.isModified()):
            self._prompt.setText(config.prompt)
            self._prompt.setCursorPosition(0)

    @Slot()
    def _on_edited(self) -> None:
        self._prompt.setModified(False)
        prompt = self._prompt.text()
        if not prompt.strip():
            prompt = SamplesConfig().prompt
        config = replace(
            self._config, after_shots=self._check.isChecked(), prompt=prompt
        )
        if config != self._config:
            self.edited.emit(config)
        self.show_config(config)


def _named(widget: AnyWidget, setting: str) -> AnyWidget:
    return named(widget, f"samples_{setting}", FIELDS[f"samples.{setting}"])
