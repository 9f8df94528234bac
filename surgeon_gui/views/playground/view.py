"""The place Playground: a prompt, two texts side by side, and their differences."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget
from typing_extensions import override

from surgeon_engine.api.messages.generation import Side
from surgeon_gui.base.theme import GAP
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.playground.state import PlaygroundState, TokenPlace, ranking
from surgeon_gui.state.playground.text import model_name, token_line
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.playground.model_pane import ModelPane
from surgeon_gui.views.playground.prompt_card import PromptCard
from surgeon_gui.views.playground.text_view import ShadeLegend
from surgeon_gui.widgets.controls import described, heading, set_min_height
from surgeon_gui.widgets.layouts import STRETCH, in_row, inside_card, vertical
from surgeon_gui.widgets.tool_tips import plain_tip

_PLACE = Qt.ItemDataRole.UserRole
_VISIBLE_LINES = 4


class PlaygroundView(QWidget):
    """Draws a `Playground`; user actions go to it."""

    def __init__(self, playground: Playground) -> None:
        super().__init__()
        self.setObjectName("playground_view")
        self._playground = playground
        self._drawn: object = None
        self._named: object = None  # what the names of the models are made of
        self._names: dict[Side, str] = {}
        self._prompt = PromptCard(playground)
        self._panes = {side: ModelPane(side, playground) for side in Side}
        self._differences = Differences()
        self._differences.place_chosen.connect(self._on_place_chosen)
        panes = in_row()
        for pane in self._panes.values():
            panes.addWidget(pane, 1)
        vertical(self, self._prompt, (panes, 5), (self._differences, 2))
        playground.changed.connect(self._redraw)
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        playground = self._playground
        state, models = playground.state, playground.models
        run = playground.app.shown_run
        named = (models, run.name, run.exported)
        inputs = (state, named, playground.obstacle, playground.app.shows_run)
        if inputs == self._drawn:
            return  # the session changes often during a run
        self._drawn = inputs
        if named != self._named:  # they may be in files
            self._named = named
            self._names = {x: model_name(models.source(x), run) for x in Side}
        self._prompt.show_state(state)
        for side, pane in self._panes.items():
            pane.show_state(state, models, self._names[side])
        self._differences.show_state(state)

    @Slot(object)
    def _on_place_chosen(self, place: TokenPlace) -> None:
        self._panes[place.side].text.show_token(place.index)


class _WholeRows(QListWidget):
    """Leaves room for no row in part."""

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        row = self.sizeHintForRow(0)
        room = self.viewport().height() + self.viewportMargins().bottom()
        self.setViewportMargins(0, 0, 0, room % row if row > 0 else 0)


class Differences(QWidget):
    """List of differences; activating one shows its token. Hidden while empty."""

    place_chosen = Signal(object)  # TokenPlace

    def __init__(self) -> None:
        super().__init__()
        self._list = described(_WholeRows(), "playground_differences")
        self._list.setFrameShape(QListWidget.Shape.NoFrame)
        self._list.setUniformItemSizes(True)
        lines = self.fontMetrics().height() * _VISIBLE_LINES + 2 * GAP
        set_min_height(self._list, lines)
        self._list.itemClicked.connect(self._on_chosen)
        self._list.itemActivated.connect(self._on_chosen)
        self._shown: list[str] = []
        top = in_row(
            heading(CAPTIONS["playground_differences"].label), STRETCH, ShadeLegend()
        )
        inside_card(self, top, (self._list, 1), spacing=GAP // 2)

    def show_state(self, state: PlaygroundState) -> None:
        """Show the largest differences."""
        places = ranking(state)
        self.setVisible(bool(places))
        lines = [token_line(state, place) for place in places]
        if lines == self._shown:
            return
        self._shown = lines
        self._list.clear()
        for line, place in zip(lines, places, strict=True):
            item = QListWidgetItem(line)
            item.setToolTip(plain_tip(line))
            item.setData(_PLACE, place)
            self._list.addItem(item)

    @Slot(QListWidgetItem)
    def _on_chosen(self, item: QListWidgetItem) -> None:
        place: TokenPlace = item.data(_PLACE)
        self.place_chosen.emit(place)
