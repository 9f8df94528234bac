"""The tab that shows a run as it goes: figures, two curves, a map of the layers."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from surgeon_gui.run_state import RunState
from surgeon_gui.sentences import last_choice
from surgeon_gui.theme import GAP
from surgeon_gui.widgets.chart_card import ChartCard
from surgeon_gui.widgets.layer_map import LayerMap
from surgeon_gui.widgets.number_tiles import NumberTiles
from surgeon_gui.widgets.run_charts import ParametersChart, PerplexityChart

_LEAST_CHART = 190  # pixels; in a lower window the view scrolls


class LiveView(QWidget):
    """Draws a `RunState`, one redraw for each call however much has happened."""

    save_failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("live_view")
        self._tiles = NumberTiles()
        # Lines that wrap would let the charts grow beyond what is in sight.
        self._choice = QLabel()
        self._choice.setObjectName("damping_label")
        self._choice.setProperty("quiet", True)
        self._choice.setContentsMargins(GAP + GAP // 2, 0, 0, 0)  # as the tiles
        self._perplexity = PerplexityChart()
        self._parameters = ParametersChart()
        self._sparsity = LayerMap()
        for chart in self._charts.values():
            chart.save_failed.connect(self.save_failed)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self._tiles, 0, 0, 1, 2)
        layout.addWidget(self._choice, 1, 0, 1, 2)
        layout.addWidget(self._perplexity, 2, 0)
        layout.addWidget(self._parameters, 2, 1)
        layout.addWidget(self._sparsity, 3, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        layout.setColumnStretch(1, 1)
        layout.setRowStretch(2, 5)
        layout.setRowStretch(3, 4)
        for chart in (self._perplexity, self._parameters):
            chart.setMinimumHeight(_LEAST_CHART)

    @property
    def _charts(self) -> dict[str, ChartCard]:
        return {
            "perplexity": self._perplexity,
            "parameters": self._parameters,
            "sparsity": self._sparsity,
        }

    def show_run(self, run: RunState, now: float) -> None:
        """Show how a run stands."""
        self._tiles.show_run(run, now)
        words = last_choice(run)
        self._choice.setText(words)
        self._choice.setVisible(bool(words))
        self._perplexity.show_run(run)
        self._parameters.show_run(run)
        self._sparsity.show_run(run)

    def save_pictures(self, folder: Path) -> None:
        """Write each chart into `folder`, as PNG under its own name."""
        for name, chart in self._charts.items():
            chart.save_picture(folder / f"{name}.png")
