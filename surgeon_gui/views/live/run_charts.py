"""The charts of a run: how good the model is, what is left, what it costs and takes."""

from __future__ import annotations

from PySide6.QtCore import Slot

from surgeon_gui.base.translation import tr
from surgeon_gui.state.charts import (
    Counted,
    Quality,
    SizeUnit,
    cost_bars,
    cost_rows,
    memory_line,
    quality_line,
    size_line,
    time_bars,
)
from surgeon_gui.state.run import RunState
from surgeon_gui.widgets.charts.bar_chart import BarChart
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.controls import button, choice_box, described


class PerplexityChart(LineChart):
    """Perplexity or loss on held-out text after each shot, with the original's."""

    def __init__(self) -> None:
        super().__init__(
            "perplexity",
            tr("Quality"),
            tr("The original is measured first; each shot then adds a point."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "perplexity_measure_combo")
        self._measure.addItem(tr("Perplexity"), Quality.PERPLEXITY.value)
        self._measure.addItem(tr("Loss"), Quality.LOSS.value)
        self._log = button("perplexity_log_button")
        self._log.setCheckable(True)
        self.controls.addWidget(self._measure)
        self.controls.addWidget(self._log)
        self._measure.currentIndexChanged.connect(self._redraw)
        self._log.toggled.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show what a run has measured."""
        self._run = run
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        measure = Quality(self._measure.currentData())
        line = quality_line(self._run, measure, is_log=self._log.isChecked())
        self.show_line(line)


class ParametersChart(LineChart):
    """How many parameters, or bytes, the whole model has left after each shot."""

    def __init__(self) -> None:
        super().__init__(
            "parameters",
            tr("Remaining size"),
            tr("Each shot leaves fewer parameters, and fewer bytes."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "parameters_measure_combo")
        self._measure.addItem(tr("Parameters"), SizeUnit.PARAMETERS.value)
        self._measure.addItem(tr("Bytes"), SizeUnit.BYTES.value)
        self.controls.addWidget(self._measure)
        self._measure.currentIndexChanged.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show what a run has left."""
        self._run = run
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        self.show_line(size_line(self._run, SizeUnit(self._measure.currentData())))


class CostChart(BarChart):
    """What the candidates of the latest shot cost, and the threshold between them."""

    def __init__(self) -> None:
        super().__init__(
            "costs",
            tr("Cost distribution"),
            tr("Each shot shows what its removals cost, and where it drew the line."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "costs_measure_combo")
        self._measure.addItem(tr("Weights"), Counted.WEIGHTS.value)
        self._measure.addItem(tr("Removals"), Counted.REMOVALS.value)
        self.controls.addWidget(self._measure)
        self._measure.currentIndexChanged.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show the latest shot of a run."""
        self._run = run
        self._redraw()

    def rows(self) -> list[tuple[object, ...]]:
        """See `ChartCard.rows`; removals and weights alike."""
        return cost_rows(self._run)

    @Slot()
    def _redraw(self) -> None:
        self.show_bars(cost_bars(self._run, Counted(self._measure.currentData())))


class MemoryChart(LineChart):
    """How much memory the engine uses over time."""

    def __init__(self) -> None:
        super().__init__(
            "memory",
            tr("Memory of the engine"),
            tr("Told about once a second while a run is at work."),
        )
        self._memory = RunState().memory

    def show_run(self, run: RunState) -> None:
        """Show what a run has used so far."""
        if run.memory is not self._memory:  # there may be thousands of samples
            self._memory = run.memory
            self.show_line(memory_line(run))


class TimeChart(BarChart):
    """How long each phase took in each shot."""

    def __init__(self) -> None:
        super().__init__(
            "times",
            tr("Time by phase"),
            tr("Shows where the time goes, shot by shot."),
        )

    def show_run(self, run: RunState, now: float) -> None:
        """Show how long a run has been at what."""
        self.show_bars(time_bars(run, now))
