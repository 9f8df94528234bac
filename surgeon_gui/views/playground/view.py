"""The Playground tab: a prompt, two texts side by side, and their differences."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.messages.generation import Side
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.playground.state import TokenPlace
from surgeon_gui.views.playground.differences import Differences
from surgeon_gui.views.playground.model_pane import ModelPane
from surgeon_gui.views.playground.prompt_card import PromptCard
from surgeon_gui.widgets.layouts import in_row, vertical


class PlaygroundView(QWidget):
    """Draws a `Playground`; user actions go to it."""

    def __init__(self, playground: Playground) -> None:
        super().__init__()
        self.setObjectName("playground_view")
        self._playground = playground
        self._drawn: object = None
        self._prompt = PromptCard(playground)
        self._panes = {side: ModelPane(side) for side in Side}
        self._differences = Differences()
        self._differences.place_chosen.connect(self._on_place_chosen)
        panes = in_row()
        for pane in self._panes.values():
            pane.model_chosen.connect(playground.choose_model)
            panes.addWidget(pane, 1)
        vertical(self, self._prompt, (panes, 5), (self._differences, 2))
        playground.changed.connect(self._redraw)
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        playground = self._playground
        state, models = playground.state, playground.models
        inputs = (state, models, playground.obstacle, playground.app.shows_run)
        if inputs == self._drawn:
            return  # the session changes often during a run
        self._drawn = inputs
        self._prompt.show_state(state)
        for pane in self._panes.values():
            pane.show_state(state, models)
        self._differences.show_state(state)

    @Slot(object)
    def _on_place_chosen(self, place: TokenPlace) -> None:
        self._panes[place.side].text.show_token(place.index)
