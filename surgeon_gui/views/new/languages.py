"""The chip for languages that the model must keep, and the line that asks for them."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFrame, QLineEdit, QPushButton

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.purposes import with_languages
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.language_names import english_name, shown_name
from surgeon_gui.widgets.controls import chip, described, line_label, mark_invalid
from surgeon_gui.widgets.layouts import horizontal


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
