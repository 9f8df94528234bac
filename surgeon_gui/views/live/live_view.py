"""The Live tab: figures and charts of a run in progress."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP
from surgeon_gui.state.charts import is_recovering
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import last_choice, undone
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.views.live.layer_map import LayerMap
from surgeon_gui.views.live.number_tiles import NumberTiles
from surgeon_gui.views.live.run_charts import (
    CostChart,
    QualityChart,
    RecoveryChart,
)
from surgeon_gui.views.sample_card import SampleCard
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import (
    explained,
    line_label,
    show_text,
    warning_label,
)

_MIN_CHART = 210  # pixels; in a lower window the view scrolls
_NARROW = 690  # pixels; minimum width for two columns
_MIN_WIDTH = 360
_MEANINGS = {"perplexity": "quality"}  # of charts named otherwise
_FIRST_ROW = 3  # of the charts, below the figures and the notes
_ROWS = 3  # of charts in one column


class LiveView(QWidget):
    """Draws a `RunState`."""

    save_failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("live_view")
        self._run = ""  # that is shown
        self._tiles = NumberTiles()
        # Not wrapped: it would push the charts out of view.
        self._damping = line_label(quiet=True, name="damping_label")
        self._damping.setContentsMargins(
            GAP + GAP // 2, 0, 0, 0
        )  # aligned with the tiles
        self._undone = warning_label("undone_label")
        self._sample = SampleCard("live")
        self._quality = QualityChart()
        self._costs = CostChart()
        self._recovery = RecoveryChart()
        self._recovery.hide()
        self._costs.recovery_chosen.connect(self._show_recovery)
        self._recovery.costs_clicked.connect(self._show_costs)
        self._has_begun = False
        self._sparsity = LayerMap()
        explained(self._damping, MEANINGS["damping"])
        for name, chart in self._charts.items():
            chart.explain(MEANINGS[_MEANINGS.get(name, name)])
            chart.save_failed.connect(self.save_failed)
            chart.setMinimumHeight(max(_MIN_CHART, chart.minimumHeight()))
        self._columns = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange(2)

    @property
    def _charts(self) -> dict[str, ChartCard]:
        return {
            "perplexity": self._quality,
            "costs": self._costs,
            "recovery": self._recovery,
            "sparsity": self._sparsity,
        }

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run."""
        if run.run != self._run:
            self._run = run.run
            for chart in self._charts.values():
                chart.reset_zoom()
        self._tiles.show_run(run, now)
        damping = last_choice(run)
        show_text(self._damping, damping)
        show_text(self._undone, undone(run))
        self._sample.show_run(run)
        self._quality.show_run(run)
        self._costs.show_run(run)
        self._recovery.show_run(run)
        self._show_relevant(run)
        self._sparsity.show_run(run)

    def save_pictures(self, folder: Path) -> None:
        """Save each chart to `folder` as a PNG named after it.

        The recovery is left out if the run has none.
        """
        for name, chart in self._charts.items():
            if chart is not self._recovery or not chart.is_empty:
                chart.save_picture(folder / f"{name}.png")

    def _show_relevant(self, run: RunState) -> None:
        """Show the recovery from its begin on, and the costs before it."""
        has_begun = is_recovering(run)
        if has_begun != self._has_begun:
            self._has_begun = has_begun
            self._swap(has_begun)

    @Slot()
    def _show_recovery(self) -> None:
        self._swap(True)

    @Slot()
    def _show_costs(self) -> None:
        self._swap(False)

    def _swap(self, shows_recovery: bool) -> None:
        """Show one of the two charts that share a place."""
        charts: tuple[ChartCard, ChartCard] = (self._recovery, self._costs)
        hidden, shown = reversed(charts) if shows_recovery else charts
        hidden.shrink()
        shown.resize(hidden.size())
        hidden.hide()
        shown.show()

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(_MIN_WIDTH, super().minimumSizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = event.size().width()
        self._arrange(1 if width < _NARROW else 2)

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        self._columns = columns
        self._grid.addWidget(self._tiles, 0, 0, 1, columns)
        self._grid.addWidget(self._damping, 1, 0, 1, columns)
        self._grid.addWidget(self._undone, 2, 0, 1, columns)
        self._grid.addWidget(self._quality.place, _FIRST_ROW, 0, 1, columns)
        below = ((self._costs, self._recovery), (self._sparsity,))
        for number, charts in enumerate(below):
            row, column = divmod(number, columns)
            for chart in charts:
                self._grid.addWidget(chart.place, _FIRST_ROW + 1 + row, column)
        self._grid.addWidget(self._sample, _FIRST_ROW + _ROWS, 0, 1, columns)
        self._tiles.arrange(2 if columns == 1 else 5)
        for column in range(2):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        rows = _ROWS if columns == 1 else _ROWS - 1
        for row in range(_ROWS):
            self._grid.setRowStretch(_FIRST_ROW + row, 1 if row < rows else 0)
