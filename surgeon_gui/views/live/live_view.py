"""The tabs Live and Resources: figures and charts of a run in progress."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.charts import is_recovering
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import last_choice, undone
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.views.live.number_tiles import NumberTiles
from surgeon_gui.views.live.run_charts import (
    CostChart,
    LayerMap,
    MemoryChart,
    QualityChart,
    RecoveryChart,
    TimeChart,
)
from surgeon_gui.views.sample_card import SampleCard
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import (
    explained,
    line_label,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.layouts import vertical

_MIN_CHART = 210  # pixels; in a lower window the view scrolls
_NARROW = 690  # pixels; minimum width for two columns
_MIN_WIDTH = 360
_MEANINGS = {"perplexity": "quality"}  # of charts named otherwise
_FIRST_ROW = 3  # of the charts, below the figures and the notes
_ROWS = 3  # of charts in one column


class LiveView(QWidget):
    """Draws a `RunState`."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("live_view")
        self._run = ""  # that is shown
        self._tiles = NumberTiles()
        # Not wrapped: it would push the charts out of view.
        self._damping = line_label(quiet=True, name="damping_label")
        indent = GAP + GAP // 2  # aligned with the tiles
        self._damping.setContentsMargins(indent, 0, 0, 0)
        self._undone = warning_label("undone_label")
        self._sample = SampleCard("live")
        self._quality = QualityChart()
        self._costs = CostChart()
        self._recovery = RecoveryChart()
        self._recovery.hide()
        self._costs.recovery_chosen.connect(partial(self._swap, True))
        self._recovery.costs_clicked.connect(partial(self._swap, False))
        self._has_begun = False
        self._sparsity = LayerMap()
        explained(self._damping, MEANINGS["damping"])
        for name, chart in self.charts.items():
            chart.explain(MEANINGS[_MEANINGS.get(name, name)])
            chart.setMinimumHeight(max(_MIN_CHART, chart.minimumHeight()))
        self._columns = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange(2)

    @property
    def charts(self) -> dict[str, ChartCard]:
        """The charts by name."""
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
            for chart in self.charts.values():
                chart.reset_zoom()
        self._tiles.show_run(run, now)
        show_text(self._damping, last_choice(run))
        show_text(self._undone, undone(run))
        self._sample.show_run(run)
        self._quality.show_run(run)
        self._costs.show_run(run)
        self._recovery.show_run(run)
        self._show_relevant(run)
        self._sparsity.show_run(run)

    def _show_relevant(self, run: RunState) -> None:
        """Show the recovery from its begin on, and the costs before it."""
        has_begun = is_recovering(run)
        if has_begun != self._has_begun:
            self._has_begun = has_begun
            self._swap(has_begun)

    def _swap(self, shows_recovery: bool, _: bool = False) -> None:
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


class ResourcesView(QWidget):
    """The Resources tab: draws the memory and the times of a `RunState`."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("resources_view")
        self._device = text_label(quiet=True, name="resources_device_label")
        self._memory, self._times = MemoryChart(), TimeChart()
        self.charts: dict[str, ChartCard] = {
            "memory": self._memory,
            "times": self._times,
        }
        column = vertical(self, self._device)
        for name, chart in self.charts.items():
            chart.explain(MEANINGS[name])
            chart.setMinimumHeight(max(_MIN_CHART, chart.minimumHeight()))
            column.addWidget(chart, 1)

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run."""
        device = tr("Computed on {device}.").format(device=run.device)
        show_text(self._device, device if run.device else "")
        self._memory.show_run(run)
        self._times.show_run(run, now)
