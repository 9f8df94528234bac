"""The maps of a diagnosis: sensitivity and planned removal of each part."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.state.diagnosis.sensitivity import (
    SHARES,
    planned_cells,
    sensitivity_map,
)
from surgeon_gui.state.diagnosis.state import (
    DiagnosisPhase,
    DiagnosisResult,
    describe_plan,
)
from surgeon_gui.state.experts import routings_of_plan
from surgeon_gui.text import numbers
from surgeon_gui.views.experts_card import ExpertsCard
from surgeon_gui.widgets.charts.heat_map import HeatMapCard, HeatMapSizes
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import problem_label, show_text, text_label
from surgeon_gui.widgets.layouts import vertical

_SENSITIVITY = tr("Sensitivity: perplexity increase by part")
_COSTS = tr("Sensitivity: cost by part")
_MAP_ROOM = HeatMapSizes(width=200, row=18, between_lines=2)
_MIN_CHART = 200  # pixels; in a lower window the page scrolls


class DiagnosisView(QWidget):
    """Draws a `Diagnosis`."""

    part_chosen = Signal(str)  # the name of a layer

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__()
        self.setObjectName("diagnosis_view")
        self._diagnosis = diagnosis
        self._drawn: DiagnosisResult | None = None
        self._headline = text_label(quiet=True, name="diagnosis_headline")
        self._stale = problem_label("diagnosis_stale")
        self._plan = text_label(name="diagnosis_plan")
        hint = tr("Measure the model to see which parts matter most.")
        self._sensitivity = HeatMapCard("sensitivity", _SENSITIVITY, hint, _MAP_ROOM)
        label = tr("Cheapest {share}")
        shares = {x: label.format(share=numbers.percent(x)) for x in SHARES}
        self._share = ChoiceBox("sensitivity_share_combo", len(shares[SHARES[-1]]))
        self._share.offer(shares)
        self._share.currentIndexChanged.connect(self._draw_sensitivity)
        self._sensitivity.add_control(self._share)
        self._planned = HeatMapCard(
            "planned",
            tr("Planned removal per part, %"),
            tr("Measure the model to see where a target removes weights."),
            _MAP_ROOM,
        )
        self._experts = ExpertsCard("measured_experts")
        self._experts.hide()
        maps = (self._planned, self._sensitivity, self._experts)
        for chart in maps:
            chart.setMinimumHeight(_MIN_CHART)
            chart.map.clicked.connect(self.part_chosen)
        vertical(self, self._stale, self._plan, self._headline, *maps, spacing=GAP)
        diagnosis.changed.connect(self.redraw)
        self.redraw()

    @Slot()
    def redraw(self) -> None:
        """Draw the current state; cheap if only the target has moved."""
        diagnosis = self._diagnosis
        is_stale = diagnosis.phase is DiagnosisPhase.OUT_OF_DATE
        show_text(self._headline, "" if is_stale else diagnosis.headline)
        show_text(self._stale, diagnosis.headline if is_stale else "")
        known = diagnosis.known
        if known is None:
            self._plan.hide()
            return
        plan = diagnosis.plan
        pruning = diagnosis.session.state.config.pruning
        show_text(self._plan, describe_plan(known, plan, pruning))
        if self._drawn is not known:
            self._drawn = known
            self._draw_sensitivity()
        self._experts.show_routings(routings_of_plan(known.costs, plan))
        if plan is not None:
            self._planned.show_cells(planned_cells(known.costs, plan), ("0", "100"))

    @Slot()
    def _draw_sensitivity(self) -> None:
        known = self._diagnosis.known
        if known is None:
            return
        share = self._share.value
        cells, scale = sensitivity_map(known.costs, share, known.predicts_loss)
        self._sensitivity.show_title(_SENSITIVITY if known.predicts_loss else _COSTS)
        self._sensitivity.show_cells(cells, scale)
