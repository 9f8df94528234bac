"""Choice of the part of a table or dataset: configuration, split and column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLabel, QWidget

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.messages.sources import TextDescribed
from surgeon_engine.api.model_info.source_names import is_hub_source
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.resolver import has_columns
from surgeon_gui.text.source_fields import FIELDS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import label_of, named, text_label
from surgeon_gui.widgets.layouts import in_grid

_NAMES = ("dataset_config", "split", "column", "validation_split")
_OF_DATASETS = ("dataset_config", "split", "validation_split")


class TextParts(QWidget):
    """A combo box for each part; the first item means automatic."""

    edited = Signal(object)  # the new values by the name of the part

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("text_parts")
        self._calibration = CalibrationConfig()
        self._rows: dict[str, tuple[QLabel, ChoiceBox]] = {}
        self._note = text_label(quiet=True, name="text_parts_note")
        self._grid = in_grid(self, wide=1)
        for name in _NAMES:
            self._add_row(name)
        self._grid.addWidget(self._note, len(_NAMES), 0, 1, 2)
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show the parts that the engine found in the text, and the chosen ones."""
        calibration = self._calibration = state.config.calibration
        self.setVisible(has_columns(calibration.text))
        if not has_columns(calibration.text):
            return
        is_dataset = is_hub_source(calibration.text)
        request = state.request(RequestKind.DESCRIPTION)
        described = request.response or TextDescribed((), "")
        choices = {
            "dataset_config": described.configs,
            "split": described.splits,
            "column": described.columns,
            "validation_split": described.splits,
        }
        default = {"split": described.split, "column": described.column}
        for name in _NAMES:
            applies = is_dataset or name not in _OF_DATASETS
            for widget in self._rows[name]:
                widget.setVisible(applies)
            chosen = getattr(calibration, name)
            self._fill(name, choices[name], default.get(name, ""), chosen)
        self._note.setText(tr("Reading the text…") if request.is_open else "")
        self._note.setVisible(request.is_open)

    @Slot(int)
    def _on_activated(self, _: int) -> None:
        changes: dict[str, Any] = {
            name: box.value
            for name, (_, box) in self._rows.items()
            if not box.isHidden()
        }
        if any(getattr(self._calibration, x) != changes[x] for x in changes):
            self.edited.emit(changes)

    def _add_row(self, name: str) -> None:
        text = FIELDS[f"calibration.{name}"]
        box = named(ChoiceBox(), f"calibration_{name}", text)
        box.activated.connect(self._on_activated)
        label = label_of(text, box)
        row = len(self._rows)
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(box, row, 1)
        self._rows[name] = (label, box)

    def _fill(
        self, name: str, choices: Sequence[str], default: str, chosen: str
    ) -> None:
        automatic = tr("Automatic")
        if default:
            automatic = tr("Automatic ({choice})").format(choice=default)
        if name == "validation_split":
            automatic = tr("Held out from the text above")
        if chosen and chosen not in choices:
            choices = (chosen, *choices)
        labels = {"": automatic} | {choice: choice for choice in choices}
        self._rows[name][1].offer(labels, chosen)
