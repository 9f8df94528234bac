"""The Preferences dialog: changes apply at once, and Cancel undoes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLineEdit, QWidget
from typing_extensions import override

from surgeon_engine.api.config.run import Device
from surgeon_gui.base import offline, paths
from surgeon_gui.base.keep_awake import may_sleep, missing_package
from surgeon_gui.base.settings import Preferences, ThemeChoice, Units
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import LANGUAGES, tr
from surgeon_gui.state.job.checks import runs_folder_problem
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.problems import sentence
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import (
    button,
    described,
    enable_unless,
    line_label,
    mark_invalid,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import Dialog, ask_folder
from surgeon_gui.widgets.layouts import answer_row, vertical, with_button

_WIDTH = 520
_UNIT_NAMES = {
    Units.DECIMAL: tr("MB and GB (steps of 1000)"),
    Units.BINARY: tr("MiB and GiB (steps of 1024)"),
}


class PreferencesDialog(Dialog):
    """Shows preferences and reports each change; the old ones when it is cancelled."""

    edited = Signal(object)  # Preferences

    def __init__(self, preferences: Preferences, parent: QWidget) -> None:
        super().__init__("preferences_dialog", tr("Preferences"), parent)
        self.setMinimumWidth(_WIDTH)
        self._before = self._shown = preferences
        self._form = QFormLayout()
        self._form.setSpacing(GAP)
        self._add_folder()
        self._add_choices()
        awake = self._add_check("keeps_awake", "preferences_awake_check")
        _switch(awake, may_sleep(missing_package()), is_on=False)
        self._add_check("runs_go_on", "preferences_runs_go_on_check")
        check = self._add_check("is_offline", "preferences_offline_check")
        if offline.is_forced():
            reason = tr("HF_HUB_OFFLINE is set where Surgeon was started.")
            _switch(check, reason, is_on=True)
        note = text_label(
            tr(
                "Changes apply at once, and Cancel takes them back. Language and units "
                "change at the next start."
            ),
            quiet=True,
        )
        vertical(self, self._form, note, self._buttons(), margin=MARGIN, spacing=MARGIN)

    @override
    def reject(self) -> None:
        if self._shown != self._before:
            self.edited.emit(self._before)
        super().reject()

    @override
    def accept(self) -> None:
        self._on_folder_entered()
        if not self._folder_problem.text():
            super().accept()

    def _add_folder(self) -> None:
        self._folder = described(QLineEdit(), "preferences_run_parent_edit")
        self._folder.setText(self._shown.run_parent)
        self._folder.setCursorPosition(0)
        self._folder.editingFinished.connect(self._on_folder_entered)
        choose = button("preferences_run_parent_button", self._on_choose_clicked)
        choose.setAutoDefault(False)
        label = line_label(CAPTIONS["preferences_run_parent_edit"].label)
        self._form.addRow(label, with_button(self._folder, choose))
        self._folder_problem = problem_label("preferences_run_parent_problem")
        self._form.addRow(line_label(), self._folder_problem)

    def _add_choices(self) -> None:
        themes = {
            choice: CAPTIONS[f"theme_{choice.value}_action"].spoken
            for choice in ThemeChoice
        }
        system = CAPTIONS["language_system_action"].spoken
        devices = {device: choice_label(device)[0] for device in Device}
        self._add_choice("theme", "preferences_theme_combo", themes)
        languages = {"": system} | LANGUAGES
        self._add_choice("language", "preferences_language_combo", languages)
        self._add_choice("units", "preferences_units_combo", _UNIT_NAMES)
        self._add_choice("device", "preferences_device_combo", devices)

    def _add_choice(self, field: str, name: str, labels: dict[Any, str]) -> None:
        box = ChoiceBox(name)
        box.offer(labels, getattr(self._shown, field))
        box.activated.connect(lambda _: self._edit(**{field: box.value}))
        self._form.addRow(line_label(CAPTIONS[name].label), box)

    def _add_check(self, field: str, name: str) -> QCheckBox:
        box = described(QCheckBox(CAPTIONS[name].label), name)
        box.setChecked(getattr(self._shown, field))
        box.clicked.connect(lambda is_on: self._edit(**{field: is_on}))
        self._form.addRow(line_label(), box)
        return box

    def _buttons(self) -> QHBoxLayout:
        ok = button("preferences_ok_button", self.accept, primary=True)
        cancel = button("preferences_cancel_button", self.reject)
        ok.setDefault(True)
        return answer_row(cancel, ok)

    def _edit(self, **changes: Any) -> None:
        shown = replace(self._shown, **changes)
        if shown != self._shown:
            self._shown = shown
            self.edited.emit(shown)

    @Slot()
    def _on_folder_entered(self) -> None:
        folder = self._folder.text().strip()
        is_kept = folder == self._shown.run_parent or paths.is_folder(folder)
        problem = None if is_kept else runs_folder_problem(folder)
        show_text(self._folder_problem, sentence(problem))
        mark_invalid(self._folder, problem is not None)
        if folder and problem is None:
            self._edit(run_parent=folder)

    @Slot()
    def _on_choose_clicked(self) -> None:
        title = CAPTIONS["preferences_run_parent_button"].tip
        ask_folder(self, title, self._folder.text(), self._on_folder_chosen)

    @Slot(str)
    def _on_folder_chosen(self, folder: str) -> None:
        self._folder.setText(folder)
        self._on_folder_entered()


def _switch(box: QCheckBox, reason: str, *, is_on: bool) -> None:
    """Show a box that cannot be changed for a reason; without one, leave it."""
    if reason:
        box.setChecked(is_on)
        enable_unless(box, reason)
