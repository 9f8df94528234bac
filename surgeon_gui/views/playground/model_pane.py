"""One side of the playground: the model, its text, and its speed and memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu, QWidget

from surgeon_engine.api.messages.generation import Side
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.lm_studio import start_folder
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.playground.state import Models, PlaygroundState
from surgeon_gui.state.playground.text import (
    side_name,
    text_of,
    written_line,
    written_tip,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.playground.text_view import TextView
from surgeon_gui.widgets.controls import (
    OnClick,
    button,
    eliding_label,
    fill_menu,
    give_menu,
    heading,
    set_min_height,
    show_elided,
)
from surgeon_gui.widgets.dialogs import MODEL_FILES, ask_file, ask_folder
from surgeon_gui.widgets.layouts import in_row, inside_card

_MIN_TEXT = 120  # pixels


class ModelPane(QWidget):
    """Left or right side, with a button to choose its model."""

    def __init__(self, side: Side, playground: Playground) -> None:
        super().__init__()
        self._side, self._playground = side, playground
        self._source = ""  # source of the model
        name = f"playground_{side.value}"
        self._model = eliding_label(f"{name}_model", keeps_end=True)
        self._choose = button(f"{name}_button")
        self._choose.setText(tr("Choose…"))
        give_menu(self._choose, self._menu(name))
        self._copy = button(f"{name}_copy_button", self._on_copy)
        self.text = TextView(f"{name}_text")
        set_min_height(self.text, _MIN_TEXT)
        self._figures = eliding_label(f"{name}_figures", quiet=True)
        top = in_row(heading(side_name(side)), (self._model, 1), self._choose)
        bottom = in_row((self._figures, 1), self._copy)
        inside_card(self, top, (self.text, 1), bottom)

    def show_state(self, state: PlaygroundState, models: Models, name: str) -> None:
        """Show this side of the state, and the name of its model."""
        self._source = source = models.source(self._side)
        show_elided(self._model, name, source)
        tokens = state.tokens(self._side)
        is_shown = bool(tokens) or state.question.is_open
        self.text.show_text(state.requested_prompt if is_shown else "", tokens)
        self.text.setPlaceholderText(_invitation(self._side, models))
        answer = state.question.response
        line = written_line(state, self._side, answer)
        tip = f"{line}\n{written_tip(answer)}" if line else ""
        show_elided(self._figures, line, tip)
        self._copy.setEnabled(bool(tokens))
        self._choose.setEnabled(not state.question.is_open)

    def _menu(self, name: str) -> QMenu:
        menu = QMenu(self)
        slots: dict[str, OnClick] = {
            f"{name}_demo_action": partial(self._on_chosen, DEMO),
            f"{name}_folder_action": self._ask_for_folder,
            f"{name}_gguf_action": self._ask_for_file,
        }
        fill_menu(menu, {x: slot for x, slot in slots.items() if x in CAPTIONS})
        return menu

    @Slot()
    def _ask_for_folder(self) -> None:
        title, chosen, current = tr("Choose a model"), self._on_chosen, self._source
        ask_folder(self, title, self._start(), chosen, engine_path=current)

    @Slot()
    def _ask_for_file(self) -> None:
        title, chosen, current = tr("Choose a model"), self._on_chosen, self._source
        start, kinds = self._start(), MODEL_FILES
        ask_file(self, title, start, kinds, chosen, engine_path=current)

    def _start(self) -> str:
        """Return the folder of the chosen model, or one in which models lie."""
        return start_folder(str(Path(self._source).parent) if self._source else "")

    @Slot(str)
    def _on_chosen(self, source: str) -> None:
        self._playground.choose_model(self._side, source)

    @Slot()
    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(text_of(self._playground.state, self._side))


def _invitation(side: Side, models: Models) -> str:
    if models.source(side):
        return tr("The text of this model appears here.")
    if side is Side.ORIGINAL:
        return tr("No run is open. Prune a model, open a run, or choose a model here.")
    return tr(
        "No run is open. Prune a model, open a run, or choose the folder of a "
        "checkpoint or of a finished run here."
    )
