"""The box with the presets, and what the chosen one is good for."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QVBoxLayout, QWidget

from surgeon_engine.presets import Preset, presets
from surgeon_gui.theme import GAP
from surgeon_gui.translation import tr
from surgeon_gui.widgets.controls import choice_box, described, text_label

OWN = tr("Own settings")
_ABOUT_OWN = tr("No preset has these settings. Choosing one keeps model and texts.")
_BACK_TO_OWN = tr("Back to the settings that you had before you chose a preset.")


class PresetBox(QWidget):
    """Shows which preset the settings are, and tells which one is chosen."""

    chosen = Signal(object)  # a Preset, or None for one's own settings

    def __init__(self) -> None:
        super().__init__()
        self._presets = presets()
        self._box = described(choice_box(), "preset_combo")
        self._box.addItem(OWN)
        for index, preset in enumerate(self._presets, start=1):
            self._box.addItem(tr(preset.title))
            self._box.setItemData(index, tr(preset.about), Qt.ItemDataRole.ToolTipRole)
        self._box.setItemData(0, _BACK_TO_OWN, Qt.ItemDataRole.ToolTipRole)
        self._box.activated.connect(self._on_activated)
        self._about = text_label(quiet=True)
        self._about.setObjectName("preset_note")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP // 2)
        layout.addWidget(self._box)
        layout.addWidget(self._about)

    def show_preset(self, preset: Preset | None, *, can_go_back: bool) -> None:
        """Show which preset it is; None: none of them."""
        index = 0 if preset is None else self._presets.index(preset) + 1
        with QSignalBlocker(self._box):
            self._box.setCurrentIndex(index)
        self._about.setText(_ABOUT_OWN if preset is None else tr(preset.about))
        items = self._box.model()
        assert isinstance(items, QStandardItemModel)
        items.item(0).setEnabled(preset is None or can_go_back)

    @Slot(int)
    def _on_activated(self, index: int) -> None:
        self.chosen.emit(self._presets[index - 1] if index else None)
