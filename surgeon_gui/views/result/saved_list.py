"""List of the files saved after a run: one card for each, with its folder."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.messages.run import Exported
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import saved_facts, unrun_note
from surgeon_gui.text.choices import choice_label
from surgeon_gui.widgets.controls import button, problem_label, show_text
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import CARD_MARGINS, STRETCH, card, in_row, vertical


class SavedList(QWidget):
    """Cards of the saved files, the latest first; cards are created once and reused."""

    open_clicked = Signal(str)  # the folder

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("saved_list")
        self._shown: tuple[Exported, ...] | None = None
        self._cards: list[_SavedCard] = []
        self._column = vertical(self)
        self._add_card()  # so that its button exists before anything is saved
        self.show_saved((), 0)

    def show_saved(self, saved: tuple[Exported, ...], original_bytes: int) -> None:
        """Show exactly these."""
        if saved == self._shown:
            return
        self._shown = saved
        while len(self._cards) < len(saved):
            self._add_card()
        for number, saved_card in enumerate(self._cards):
            saved_card.setVisible(number < len(saved))
            if number < len(saved):
                saved_card.show_exported(saved[-1 - number], original_bytes)
        self.setVisible(bool(saved))

    def _add_card(self) -> None:
        new = _SavedCard()
        new.open_clicked.connect(self.open_clicked)
        self._column.addWidget(new)
        self._cards.append(new)


class _SavedCard(QWidget):
    open_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._folder = ""
        self._facts = Facts("saved_facts")
        self._unrun = problem_label("saved_unrun_note")
        self._button = button("open_saved_button", self._on_clicked)
        frame = card()
        vertical(self, frame)
        row = in_row(self._button, STRETCH)
        vertical(frame, self._facts, self._unrun, row, margin=CARD_MARGINS)

    def show_exported(self, exported: Exported, original_bytes: int) -> None:
        self._folder = exported.folder
        self._facts.show_facts(saved_facts(exported, original_bytes))
        show_text(self._unrun, unrun_note(exported))
        name = tr("Open folder: {format}").format(
            format=choice_label(exported.format)[0]
        )
        self._button.setAccessibleName(name)

    @Slot()
    def _on_clicked(self) -> None:
        self.open_clicked.emit(self._folder)
