"""The card with the map of a model's experts."""

from __future__ import annotations

from PySide6.QtCore import Slot
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.experts import ExpertMeasure, Routings, cells_of, scale_of
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.widgets.charts.heat_map import HeatMapCard, HeatMapSizes
from surgeon_gui.widgets.choice_box import ChoiceBox

_ROOM = HeatMapSizes(width=200, row=5, text=40, scale=44, has_low_rows=True)
_MEASURES: dict[object, str] = {
    ExpertMeasure.COST: tr("Cost"),
    ExpertMeasure.TOKENS: tr("Tokens"),
}


class ExpertsCard(HeatMapCard):
    """The experts of each block, and which of them are removed.

    Shows what the removal of each costs, or how many tokens are routed to it.
    """

    def __init__(self, name: str) -> None:
        when_empty = tr("Shows the experts of each block once they are measured.")
        super().__init__(
            *(name, tr("Experts"), when_empty, _ROOM),
            tr("Number of the expert (rows: blocks; outlines: removed)"),
        )
        self.explain(MEANINGS["experts"])
        self._routings: Routings = ()
        self._measure = ChoiceBox(f"{name}_measure_combo")
        self._measure.offer(_MEASURES)
        self._measure.currentIndexChanged.connect(self._redraw)
        self.add_control(self._measure)

    def show_routings(self, routings: Routings) -> None:
        """Show the experts of a model; without any, hide the card."""
        self.setVisible(bool(routings))
        if routings != self._routings:
            self._routings = routings
            self._redraw()

    @Slot()
    def _redraw(self) -> None:
        measure = self._measure.value
        cells = cells_of(self._routings, measure)
        self.show_cells(cells, scale_of(self._routings, measure))

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("block", "expert", "cost", "tokens", "removed")
        rows: list[tuple[object, ...]] = [header]
        for each in self._routings:
            routing, kept = each.routing, set(each.routing.kept)
            numbered = enumerate(zip(routing.costs, routing.tokens, strict=True))
            for expert, (cost, tokens) in numbered:
                rows.append((each.block, expert, cost, tokens, expert not in kept))
        return rows
