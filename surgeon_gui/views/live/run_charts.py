"""Charts of a run: quality, remaining size, costs, memory and time."""

from __future__ import annotations

from PySide6.QtCore import Slot
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.charts import (
    BarUnit,
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
    """Perplexity or loss on held-out text, of the original and after each shot."""

    def __init__(self) -> None:
        super().__init__(
            "perplexity",
            tr("Quality"),
            tr("Starts with the original; each shot adds a point."),
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
        """Show the evaluations of a run."""
        self._run = run
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        measure = Quality(self._measure.currentData())
        line = quality_line(self._run, measure, is_log=self._log.isChecked())
        self.show_line(line)


class ParametersChart(LineChart):
    """Remaining parameters or bytes of the whole model after each shot."""

    def __init__(self) -> None:
        super().__init__(
            "parameters",
            tr("Remaining size"),
            tr("Shows the parameters and bytes that remain after each shot."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "parameters_measure_combo")
        self._measure.addItem(tr("Parameters"), SizeUnit.PARAMETERS.value)
        self._measure.addItem(tr("Bytes"), SizeUnit.BYTES.value)
        self.controls.addWidget(self._measure)
        self._measure.currentIndexChanged.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show the remaining size of the model of a run."""
        self._run = run
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        self.show_line(size_line(self._run, SizeUnit(self._measure.currentData())))


class CostChart(BarChart):
    """Distribution of the costs in the latest shot, with the threshold."""

    def __init__(self) -> None:
        super().__init__(
            "costs",
            tr("Cost distribution"),
            tr("Shows the costs of the candidates in each shot, and the threshold."),
        )
        self._run = RunState()
        self._measure = described(choice_box(), "costs_measure_combo")
        self._measure.addItem(tr("Weights"), BarUnit.WEIGHTS.value)
        self._measure.addItem(tr("Removals"), BarUnit.REMOVALS.value)
        self.controls.addWidget(self._measure)
        self._measure.currentIndexChanged.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show the costs of the latest shot of a run."""
        self._run = run
        self._redraw()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        return cost_rows(self._run)

    @Slot()
    def _redraw(self) -> None:
        self.show_bars(cost_bars(self._run, BarUnit(self._measure.currentData())))


class MemoryChart(LineChart):
    """Memory usage of the engine over time."""

    def __init__(self) -> None:
        super().__init__(
            "memory",
            tr("Engine memory"),
            tr("Measured about once per second during a run."),
        )
        self._memory = RunState().memory

    def show_run(self, run: RunState) -> None:
        """Show the memory usage of a run."""
        if run.memory is not self._memory:  # thousands of samples: draw only changes
            self._memory = run.memory
            self.show_line(memory_line(run))


class TimeChart(BarChart):
    """Duration of each phase, by shot."""

    def __init__(self) -> None:
        super().__init__(
            "times",
            tr("Time by phase"),
            tr("Shows the duration of each phase, by shot."),
        )

    def show_run(self, run: RunState, now: float) -> None:
        """Show the durations of a run at the time `now`."""
        self.show_bars(time_bars(run, now))
