"""All about the model of the draft: facts, its layers, and the maps of a diagnosis."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import PAGE, ROOM, TITLE
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.text import facts_of
from surgeon_gui.text.labels import source_name
from surgeon_gui.views.architecture.view import ArchitectureView, LayersPlace
from surgeon_gui.views.diagnosis.view import DiagnosisView
from surgeon_gui.widgets.controls import large_label, link, show_elided
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import card, in_row, scrolling, vertical

_MIN_LAYERS = 420  # pixels


class ModelDetails(QWidget):
    """A page that leads back to New."""

    back_clicked = Signal()

    def __init__(self, diagnosis: Diagnosis, layers: ArchitectureView) -> None:
        super().__init__()
        self.setObjectName("model_details")
        self._title = large_label("details_title", TITLE)
        self._facts = Facts("model_facts")
        maps = DiagnosisView(diagnosis)
        maps.part_chosen.connect(layers.controller.select)
        place = LayersPlace(layers, of_run=False)
        place.setMinimumHeight(_MIN_LAYERS)
        back = link("details_back_button", self.back_clicked)
        content = QWidget()
        parts = (card(self._facts), place, maps)
        vertical(content, *parts, margin=(PAGE, 0, PAGE, PAGE), spacing=ROOM)
        top = in_row(back, (self._title, 1))
        top.setContentsMargins(PAGE, ROOM, PAGE, 0)
        vertical(self, top, (scrolling(content), 1), spacing=ROOM)

    def show_state(self, state: AppState) -> None:
        """Show the model of the draft."""
        show_elided(self._title, source_name(state.config.model.source))
        self._facts.show_facts(facts_of(state))
