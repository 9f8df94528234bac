"""The chips for text of the user's own domain and for languages; each opens a line."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFrame, QLineEdit, QPushButton

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.headline import has_own_text
from surgeon_gui.state.job.purposes import with_languages
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FIELDS, source_name
from surgeon_gui.text.language_names import english_name, shown_name
from surgeon_gui.widgets.controls import (
    button,
    chip,
    described,
    line_label,
    mark,
    mark_invalid,
    text_label,
)
from surgeon_gui.widgets.dialogs import TEXT_FILES, ask_files
from surgeon_gui.widgets.layouts import horizontal


class DomainChip(QFrame):
    """The line, hidden until `chip` is clicked; texts can be dropped on the window.

    With a text of the user, a click on the chip takes it back.
    """

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
            self._session.draft.choose_texts([])
            return
        self._open(is_open=self.isHidden())
        if not self.isHidden():
            self._choose.setFocus()

    @Slot()
    def _ask(self) -> None:
        title = tr("Choose texts like those your model will read")
        current = self._session.state.config.calibration.text
        chosen, close = self._session.draft.choose_texts, self._close
        ask_files(self, title, TEXT_FILES, chosen, close, engine_path=current)

    @Slot()
    def _close(self) -> None:
        self._open(is_open=False)
        self.chip.setFocus()

    def _open(self, *, is_open: bool) -> None:
        self.setVisible(is_open)
        self.chip.setChecked(False)  # until there is a text


class LanguagesChip(QFrame):
    """The line, hidden until `chip` is clicked.

    With languages of the user, a click on the chip takes them back.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("languages_line")
        self.setProperty("card", "drop")
        self._session = session
        self.chip: QPushButton = chip("purpose_languages_button", self._on_clicked)
        note = tr("Keep these languages:")
        self._edit = described(QLineEdit(), "languages_edit")
        self._edit.setPlaceholderText(FIELDS["pruning.kept_texts"].example)
        self._edit.editingFinished.connect(self._on_edited)
        parts = (line_label(note, quiet=True), (self._edit, 1))
        horizontal(self, *parts, margin=(MARGIN, GAP // 2, GAP // 2, GAP // 2))
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show the languages of the draft on the chip."""
        languages = tuple(map(shown_name, state.config.pruning.kept_texts))
        if not self._edit.hasFocus():
            if self._edit.text() and not languages:
                self.hide()  # another job has none
            self._edit.setText(", ".join(languages))
        error = state.request(RequestKind.VOCABULARY).error
        is_refused = error is not None and "kept_texts" in error.settings
        mark_invalid(self._edit, is_refused)
        label = CAPTIONS["purpose_languages_button"].label
        if languages:
            label = tr("Keep {languages}").format(languages=", ".join(languages))
        self.chip.setText(label)
        self.chip.setChecked(bool(languages) or not self.isHidden())
        self.chip.setEnabled(state.model is not None)

    @Slot()
    def _on_clicked(self) -> None:
        kept = self._session.state.config.pruning.kept_texts
        is_closed = self.isHidden() and not kept
        if not is_closed:
            self._edit.clear()
            self._apply(())
        self.setVisible(is_closed)
        self.chip.setChecked(is_closed)
        if is_closed:
            self._edit.setFocus()

    @Slot()
    def _on_edited(self) -> None:
        typed = (name.strip() for name in self._edit.text().split(","))
        self._apply(tuple(map(english_name, filter(None, typed))))

    def _apply(self, languages: tuple[str, ...]) -> None:
        config = self._session.state.config
        if languages != config.pruning.kept_texts:
            self._session.draft.edit(with_languages(config, languages))
