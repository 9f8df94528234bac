"""The Live tab: figures and charts of a run in progress."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP
from surgeon_gui.state.run import RunState
from surgeon_gui.state.step_text import last_choice
from surgeon_gui.text.captions.live import MEANINGS
from surgeon_gui.views.live.layer_map import LayerMap
from surgeon_gui.views.live.number_tiles import NumberTiles
from surgeon_gui.views.live.run_charts import (
    CostChart,
    MemoryChart,
    ParametersChart,
    PerplexityChart,
    TimeChart,
)
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import explained

_MIN_CHART = 210  # pixels; in a lower window the view scrolls
_WIDE = 1260  # pixels; minimum width for three columns
_NARROW = 690  # pixels; minimum width for two columns
_MIN_WIDTH = 360
_FIRST_ROW = 2  # of the charts, below the figures and the damping


class LiveView(QWidget):
    """Draws a `RunState`."""

    save_failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("live_view")
        self._tiles = NumberTiles()
        # Not wrapped: it would push the charts out of view.
        self._damping = QLabel()
        self._damping.setObjectName("damping_label")
        self._damping.setProperty("quiet", True)
        self._damping.setContentsMargins(
            GAP + GAP // 2, 0, 0, 0
        )  # aligned with the tiles
        self._perplexity = PerplexityChart()
        self._parameters = ParametersChart()
        self._costs = CostChart()
        self._sparsity = LayerMap()
        self._memory = MemoryChart()
        self._times = TimeChart()
        explained(self._damping, MEANINGS["damping"])
        for name, chart in self._charts.items():
            chart.explain(MEANINGS[name])
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
            "perplexity": self._perplexity,
            "parameters": self._parameters,
            "costs": self._costs,
            "sparsity": self._sparsity,
            "memory": self._memory,
            "times": self._times,
        }

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run."""
        self._tiles.show_run(run, now)
        damping = last_choice(run)
        self._damping.setText(damping)
        self._damping.setVisible(bool(damping))
        self._perplexity.show_run(run)
        self._parameters.show_run(run)
        self._costs.show_run(run)
        self._sparsity.show_run(run)
        self._memory.show_run(run)
        self._times.show_run(run, now)

    def save_pictures(self, folder: Path) -> None:
        """Save each chart to `folder` as a PNG named after it."""
        for name, chart in self._charts.items():
            chart.save_picture(folder / f"{name}.png")

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(_MIN_WIDTH, super().minimumSizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = event.size().width()
        self._arrange(1 if width < _NARROW else 2 if width < _WIDE else 3)

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        self._columns = columns
        self._grid.addWidget(self._tiles, 0, 0, 1, columns)
        self._grid.addWidget(self._damping, 1, 0, 1, columns)
        for number, chart in enumerate(self._charts.values()):
            row, column = divmod(number, columns)
            self._grid.addWidget(chart, _FIRST_ROW + row, column)
        self._tiles.arrange(2 if columns == 1 else 4)
        for column in range(3):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        rows = -(-len(self._charts) // columns)
        for row in range(len(self._charts)):
            self._grid.setRowStretch(_FIRST_ROW + row, 1 if row < rows else 0)
