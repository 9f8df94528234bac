"""The effects of fewer tokens, below the settings of the vocabulary."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame

from surgeon_engine.api.messages.vocabulary import VocabularyPreviewed
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.sources import PreviewController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import vocabulary_text
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.problems import Step
from surgeon_gui.widgets.controls import (
    problem_label,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import vertical


class VocabularyRows(QFrame):
    """The kept tokens, the losses of scripts, and how much longer texts get."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("vocabulary_rows")
        self.setProperty("card", "true")
        preview = session.draft.preview_vocabulary
        self._controller = PreviewController(session, self, _is_due, preview)
        self._line = text_label(name="vocabulary_line")
        self._problem = problem_label("vocabulary_problem")
        self._warning = warning_label("vocabulary_warning")
        self._texts = Facts("vocabulary_texts")
        self._scripts = Facts("vocabulary_scripts")
        note = tr(
            "Estimated from the text and the ranks of tokens. A run uses what the "
            "model predicts instead, and may remove others."
        )
        self._note = text_label(note, quiet=True, name="vocabulary_note")
        parts = (self._line, self._problem, self._warning, self._texts, self._scripts)
        vertical(self, *parts, self._note, margin=(MARGIN, GAP, MARGIN, GAP))
        self.hide()

    def show_state(self, state: AppState) -> None:
        """Show the preview of the draft; hidden while all tokens are kept."""
        request = state.request(RequestKind.VOCABULARY)
        found: VocabularyPreviewed | None = request.response
        error = request.error
        if error is not None and error.settings:  # the form shows it at its fields
            error = None
        is_awaited = request.is_open or self._controller.is_soon
        line = tr("Looking at the tokens…") if is_awaited else ""
        if is_awaited and not self.isHidden():
            show_text(self._line, line)  # the last rows stay meanwhile: nothing moves
            show_text(self._problem, "")
            return
        if state.is_busy and not request.id:
            line = tr("A preview follows when the engine is free.")
        is_shown = bool(line) or error is not None or found is not None
        self.setVisible(is_shown and state.config.pruning.removes_tokens)
        show_text(self._line, vocabulary_text.preview_line(found) if found else line)
        problem = f"{error.message} {error.hint}".strip() if error is not None else ""
        show_text(self._problem, problem)
        show_text(self._warning, vocabulary_text.hit_warning(found))
        self._texts.show_facts(vocabulary_text.text_rows(found) if found else ())
        self._scripts.show_facts(vocabulary_text.script_rows(found) if found else ())
        self._note.setVisible(found is not None)


def _is_due(state: AppState) -> bool:
    return (
        state.config.pruning.removes_tokens
        and not state.request(RequestKind.VOCABULARY).id
        and not {Step.TARGET, Step.CALIBRATION} & set(state.problems)
    )
