"""The Diagnosis tab: predicted quality with a draggable target, and two maps."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.state.diagnosis.sensitivity import (
    SHARES,
    planned_cells,
    scale_labels,
    sensitivity_cells,
)
from surgeon_gui.state.diagnosis.state import DiagnosisPhase, DiagnosisResult
from surgeon_gui.state.diagnosis.text import describe_plan
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text import numbers
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.diagnosis.curve import Prediction, QualityCurve
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.charts.heat_map import HeatMapCard, HeatMapSizes
from surgeon_gui.widgets.controls import (
    ChoiceBox,
    button,
    enable_unless,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import card, in_column

_SENSITIVITY = tr("Sensitivity: perplexity increase by part")
_COSTS = tr("Sensitivity: cost by part")
_POINTS = 240  # of the curve; about one every two pixels
_MAP_ROOM = HeatMapSizes(width=200, row=18, between_lines=2)
_MIN_CHART = 200  # pixels; in a lower window the view scrolls
_MIN_CURVE = 300  # with its note, which has several lines in a narrow window


class MapCard(HeatMapCard):
    """A heat map of the model with a title."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty, _MAP_ROOM)

    def set_title(self, title: str) -> None:
        """Change the title of the card."""
        self._title.setText(title)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("part", "row", "block", "value", "shade")
        cells = self.map.cells
        return [header, *((c.name, c.row, c.column, c.label, c.heat) for c in cells)]


class DiagnosisView(QWidget):
    """Draws a `Diagnosis`; user actions go to it."""

    part_chosen = Signal(str)  # the name of a layer

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__()
        self.setObjectName("diagnosis_view")
        self._diagnosis = diagnosis
        self._drawn: tuple[object, ...] = ()  # inputs of the curve and the map
        self._headline = text_label(name="diagnosis_headline")
        self._stale = problem_label("diagnosis_stale")
        self._plan = text_label(name="diagnosis_plan")
        self._button = button("diagnose_button", diagnosis.diagnose)
        self._progress = TaskProgress("diagnose")
        self._progress.cancel_clicked.connect(diagnosis.cancel)
        self._curve = QualityCurve()
        self._curve.target_dragged.connect(diagnosis.set_target)
        hint = tr("Diagnose the model to see which parts matter most.")
        self._sensitivity = MapCard("sensitivity", _SENSITIVITY, hint)
        label = tr("Cheapest {share}")
        shares = {x: label.format(share=numbers.percent(x)) for x in SHARES}
        self._share = ChoiceBox("sensitivity_share_combo", len(shares[SHARES[-1]]))
        self._share.offer(shares)
        self._share.currentIndexChanged.connect(self._draw_sensitivity)
        self._sensitivity.add_control(self._share)
        self._planned = MapCard(
            "planned",
            tr("Planned removal per part, %"),
            tr("Diagnose the model to see where a target removes weights."),
        )
        for chart in (self._curve, self._sensitivity, self._planned):
            chart.setMinimumHeight(_MIN_CHART)
        self._curve.setMinimumHeight(_MIN_CURVE)
        for maps in (self._sensitivity, self._planned):
            maps.map.clicked.connect(self.part_chosen)
        self._lay_out()
        diagnosis.changed.connect(self.redraw)
        self.redraw()

    @override
    def minimumSizeHint(self) -> QSize:
        width = super().minimumSizeHint().width()
        return QSize(width, self.heightForWidth(max(width, self.width())))

    @override
    def heightForWidth(self, width: int) -> int:
        # The minimum: the default, with wrapped labels, would use the preferred height
        # of the charts, and the view would scroll although everything fits.
        return self._grid.totalMinimumHeightForWidth(width)

    @Slot()
    def redraw(self) -> None:
        """Draw the current state; cheap if only the target has moved."""
        diagnosis = self._diagnosis
        phase = diagnosis.phase
        is_stale = phase is DiagnosisPhase.OUT_OF_DATE
        self._headline.setText("" if is_stale else diagnosis.headline)
        self._headline.setVisible(not is_stale)
        show_text(self._stale, diagnosis.headline if is_stale else "")
        enable_unless(self._button, sentence(diagnosis.obstacle))
        self._progress.show_request(
            diagnosis.session.state.request(RequestKind.DIAGNOSIS)
        )
        self._progress.show_share(diagnosis.progress)
        known, planner = diagnosis.known, diagnosis.planner
        if known is None or planner is None:
            self._plan.hide()
            return
        plan = diagnosis.plan
        pruning = diagnosis.session.state.config.pruning
        show_text(self._plan, describe_plan(known, plan, pruning))
        self._draw_curve(known)
        if plan is not None:
            cells = planned_cells(known.costs, plan)
            self._planned.show_cells(cells, ("0", "100"))
        share = (
            None
            if plan is None
            else plan.target_weights / known.costs.diagnosed.prunable
        )
        self._curve.show_target(share if known.predicts_loss else None)

    def _draw_curve(self, known: DiagnosisResult) -> None:
        """Draw what does not depend on the target, if it has changed."""
        planner, points = self._diagnosis.planner, self._diagnosis.points
        drawn = (known, planner, points)
        if drawn == self._drawn or planner is None:
            return
        is_new = not self._drawn or self._drawn[0] is not known
        self._drawn = drawn
        if is_new:
            self._draw_sensitivity()
        if not known.predicts_loss:
            self._curve.show_prediction(None)
            return
        weights, rises = planner.curve(_POINTS)
        found = known.costs.diagnosed
        shares = weights / found.prunable
        prediction = Prediction(
            shares, found.loss + rises, found.loss, target=None, points=points
        )
        self._curve.show_prediction(prediction)

    @Slot()
    def _draw_sensitivity(self) -> None:
        known = self._diagnosis.known
        if known is None:
            return
        share = self._share.value
        cells = sensitivity_cells(known.costs, share, known.predicts_loss)
        scale = scale_labels(known.costs, share, known.predicts_loss)
        self._sensitivity.set_title(_SENSITIVITY if known.predicts_loss else _COSTS)
        self._sensitivity.show_cells(cells, scale)

    def _lay_out(self) -> None:
        top = card()
        texts = in_column(
            self._stale, self._plan, self._headline, self._progress, spacing=GAP // 2
        )
        row = QHBoxLayout(top)
        row.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        row.setSpacing(MARGIN)
        row.addLayout(texts, 1)
        row.addWidget(self._button)
        layout = self._grid = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(top, 0, 0, 1, 2)
        layout.addWidget(self._curve, 1, 0)
        layout.addWidget(self._planned, 1, 1)
        layout.addWidget(self._sensitivity, 2, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        layout.setColumnStretch(1, 1)
        layout.setRowStretch(1, 5)
        layout.setRowStretch(2, 4)
