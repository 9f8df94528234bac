"""Charts of the comparison: quality during the runs, and quality by size."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Slot
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.comparison import (
    ALONG,
    MEASURES,
    SIZES,
    ComparedRun,
    Measure,
    SizeMeasure,
    XAxis,
    curves,
    front,
    points,
)
from surgeon_gui.widgets.charts.series_chart import Axes, Series, SeriesChart
from surgeon_gui.widgets.controls import button, choice_box, described


class CurvesChart(SeriesChart):
    """Perplexity or loss of each run over sparsity, shots or remaining parameters."""

    def __init__(self) -> None:
        super().__init__(
            "compare_curves",
            tr("Quality during the run"),
            tr("None of these runs has evaluated the original."),
        )
        self._runs: Sequence[ComparedRun] = ()
        self._along = described(choice_box(), "compare_curves_x_combo")
        self._along.addItems([ALONG[along] for along in XAxis])
        self._measure = described(choice_box(), "compare_curves_measure_combo")
        self._measure.addItems([MEASURES[measure] for measure in Measure])
        self._log = button("compare_curves_log_button")
        self._log.setCheckable(True)
        for control in (self._along, self._measure, self._log):
            self.controls.addWidget(control)
        self._along.currentIndexChanged.connect(self._redraw)
        self._measure.currentIndexChanged.connect(self._redraw)
        self._log.toggled.connect(self._redraw)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the curves of these runs."""
        self._runs = runs
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        along = list(XAxis)[self._along.currentIndex()]
        measure = list(Measure)[self._measure.currentIndex()]
        series = [
            Series(curve.name, curve.xs, curve.ys, number)
            for number, curve in enumerate(curves(self._runs, along, measure))
        ]
        self.show_series(
            series,
            Axes(ALONG[along], MEASURES[measure], self._log.isChecked()),
        )


class SizeChart(SeriesChart):
    """Perplexity over size of each model, with a line through the best."""

    def __init__(self) -> None:
        super().__init__(
            "compare_size",
            tr("Perplexity by size"),
            tr("None of these runs has pruned anything yet."),
        )
        self._runs: Sequence[ComparedRun] = ()
        self._size = described(choice_box(), "compare_size_combo")
        self._size.addItems([SIZES[size] for size in SizeMeasure])
        self._size.setMinimumContentsLength(14)
        self.controls.addWidget(self._size)
        self._size.currentIndexChanged.connect(self._redraw)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the models of these runs, and their originals."""
        self._runs = runs
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        size = list(SizeMeasure)[self._size.currentIndex()]
        models = points(self._runs, size)
        best = front(models)
        line = Series(
            tr("Best for their size"),
            tuple(point.size for point in best),
            tuple(point.perplexity for point in best),
            has_symbols=False,
        )
        series = [
            Series(
                point.name,
                (point.size,),
                (point.perplexity,),
                point.run,
                is_joined=False,
            )
            for point in models
        ]
        axes = Axes(SIZES[size], MEASURES[Measure.PERPLEXITY])
        self.show_series([line, *series], axes)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        size = list(SizeMeasure)[self._size.currentIndex()]
        header = ("model", SIZES[size], "perplexity", "best for its size")
        return [
            header,
            *(
                (point.name, point.size, point.perplexity, point.is_best)
                for point in points(self._runs, size)
            ),
        ]
