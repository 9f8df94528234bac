"""Choice of a preset, its description, and the management of user presets."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction, QStandardItemModel
from PySide6.QtWidgets import QLineEdit, QMenu, QWidget

from surgeon_engine.api.config.presets import Preset
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.preset_store import PresetStore
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.editing import all_presets, preset_in
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import (
    button,
    described,
    fill_menu,
    give_menu,
    problem_label,
    set_enabled,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import JOB_FILES, ask_file, ask_new_file
from surgeon_gui.widgets.layouts import horizontal, in_row, vertical
from surgeon_gui.widgets.tool_tips import plain_tip

CUSTOM = tr("Custom settings")
_ABOUT_CUSTOM = tr("Custom settings. Choosing a preset keeps the model and the texts.")
_BACK_TO_CUSTOM = tr("Back to your settings from before you chose a preset.")


class PresetBox(QWidget):
    """Shows the preset that matches the settings, and emits the chosen one."""

    chosen = Signal(object)  # a Preset, or None for the custom settings

    def __init__(self, preset_store: PresetStore) -> None:
        super().__init__()
        self._preset_store = preset_store
        self._presets: dict[str, Preset] = {}  # by name
        self._shown: Preset | None = None
        self._box = ChoiceBox("preset_combo")
        self._box.activated.connect(self._on_activated)
        self._about = text_label(quiet=True, name="preset_note")
        self._save = button("preset_save_button", self._on_ask_name)
        self._more = button("preset_more_button")
        self._actions = self._make_menu()
        self._restore = button("preset_restore_button", preset_store.restore)
        self._naming = self._make_naming()
        self._problem = problem_label("preset_problem")
        self._lay_out()

    def _make_menu(self) -> dict[str, QAction]:
        menu = QMenu(self._more)
        give_menu(self._more, menu)
        slots = {
            "preset_export_action": self._on_export,
            "preset_import_action": self._on_import,
            "preset_delete_action": self._on_delete,
        }
        return fill_menu(menu, slots)

    def _make_naming(self) -> QWidget:
        naming = QWidget()
        self._name = described(QLineEdit(), "preset_name_edit")
        self._name.setPlaceholderText(CAPTIONS["preset_name_edit"].label)
        save, cancel = (
            button("preset_keep_button", self._on_save_name),
            button("preset_drop_button", self._on_cancel_name),
        )
        self._name.returnPressed.connect(self._on_save_name)
        horizontal(naming, (self._name, 1), save, cancel)
        naming.hide()
        return naming

    def _lay_out(self) -> None:
        row = in_row((self._box, 1), self._save, self._more)
        layout = vertical(
            self, row, self._naming, self._problem, self._about, spacing=GAP // 2
        )
        layout.addWidget(self._restore, 0, Qt.AlignmentFlag.AlignLeft)

    def show_state(self, state: AppState) -> None:
        """Show the presets, and the one that matches the draft."""
        self._shown = preset = preset_in(state)
        presets = {each.name: each for each in all_presets(state)}
        titles = {name: tr(each.title) for name, each in presets.items()}
        chosen = preset.name if preset is not None else ""
        self._box.offer({"": CUSTOM, **titles}, chosen)
        if presets != self._presets:
            self._presets = presets
            abouts = (tr(each.about) for each in presets.values())
            for index, tip in enumerate((_BACK_TO_CUSTOM, *abouts)):
                self._box.disable(index, "", tip=tip)
        self._about.setText(_ABOUT_CUSTOM if preset is None else tr(preset.about))
        items = self._box.model()
        assert isinstance(items, QStandardItemModel)
        items.item(0).setEnabled(preset is None or state.own_config is not None)
        can_save = preset is None and not state.rejected
        set_enabled(self._save, is_enabled=can_save)
        self._actions["preset_export_action"].setEnabled(preset is not None)
        self._actions["preset_delete_action"].setEnabled(preset in state.own_presets)
        deleted = self._preset_store.deleted
        self._restore.setVisible(deleted is not None)
        if deleted is not None:
            tip = tr("Restore {title}").format(title=deleted.title)
            self._restore.setToolTip(plain_tip(tip))

    @Slot()
    def _on_activated(self) -> None:
        self.chosen.emit(self._presets.get(self._box.value))

    @Slot()
    def _on_ask_name(self) -> None:
        show_text(self._problem, "")
        self._name.clear()
        self._naming.show()
        self._name.setFocus()

    @Slot()
    def _on_save_name(self) -> None:
        try:
            if self._preset_store.save(self._name.text()):
                self._on_cancel_name()
        except ConfigError as error:
            show_text(self._problem, error.message)

    @Slot()
    def _on_cancel_name(self) -> None:
        show_text(self._problem, "")
        self._naming.hide()

    @Slot()
    def _on_export(self) -> None:
        if self._shown is not None:
            name = f"{self._shown.name}.toml"
            ask_new_file(self, tr("Share the preset"), name, self._on_export_chosen)

    @Slot(str)
    def _on_export_chosen(self, path: str) -> None:
        if self._shown is not None:
            self._preset_store.share(self._shown, path)

    @Slot()
    def _on_import(self) -> None:
        title = tr("Add a preset")
        ask_file(self, title, "", JOB_FILES, self._preset_store.add_from_file)

    @Slot()
    def _on_delete(self) -> None:
        if self._shown is not None:  # the action is of the user's own presets
            self._preset_store.delete(self._shown)
