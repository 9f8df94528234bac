"""The chip for text of the user's own domain, and the line that explains it."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QFrame, QPushButton

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.headline import has_own_text
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import source_name
from surgeon_gui.widgets.controls import button, chip, mark, text_label
from surgeon_gui.widgets.dialogs import TEXT_FILES, ask_files
from surgeon_gui.widgets.layouts import horizontal


class DomainChip(QFrame):
    """The line, hidden until `chip` is clicked; texts can be dropped on the window.

    With a text of the user, a click on the chip takes it back.
    """

    chosen = Signal(list)  # paths; empty: the built-in text

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("domain_line")
        self.setProperty("card", "drop")
        self._session = session
        self.chip: QPushButton = chip("purpose_text_button", self._on_chip_clicked)
        note = tr(
            "Texts like those your model will read: drop them here or choose files."
        )
        self._note = text_label(note, quiet=True, name="domain_note")
        self._choose = button("domain_files_button", self._ask)
        self._choose.setAccessibleDescription(note)  # it gets the focus
        parts = ((self._note, 1), self._choose)
        horizontal(self, *parts, margin=(MARGIN, GAP // 2, GAP // 2, GAP // 2))
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show the text of the draft on the chip."""
        calibration = state.config.calibration
        has_own = has_own_text(calibration)
        if has_own:
            self.hide()
        self.chip.setChecked(has_own)
        label = CAPTIONS["purpose_text_button"].label
        if has_own:
            name = source_name(calibration.text)
            count = len(calibration.more_texts)
            more = tr("{text} and {n} more").format(text=name, n=count)
            text = more if count else name
            label = tr("My domain: {text}").format(text=text)
        self.chip.setText(label)

    def show_drag(self, *, is_over: bool) -> None:
        """Show whether files are dragged over the window."""
        mark(self, "card", "drop_over" if is_over else "drop")

    @Slot()
    def _on_chip_clicked(self) -> None:
        if has_own_text(self._session.state.config.calibration):
            self.chosen.emit([])
            return
        self._open(is_open=self.isHidden())
        if not self.isHidden():
            self._choose.setFocus()

    @Slot()
    def _ask(self) -> None:
        title = tr("Choose texts like those your model will read")
        current = self._session.state.config.calibration.text
        chosen, close = self.chosen.emit, self._close
        ask_files(self, title, TEXT_FILES, chosen, close, engine_path=current)

    @Slot()
    def _close(self) -> None:
        self._open(is_open=False)
        self.chip.setFocus()

    def _open(self, *, is_open: bool) -> None:
        self.setVisible(is_open)
        self.chip.setChecked(False)  # until there is a text
