"""Charts of the comparison: quality during the runs and by size, and the ladder."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from typing_extensions import override

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.base.translation import tr
from surgeon_gui.state import ladder
from surgeon_gui.state.comparison import (
    ALONG,
    SIZES,
    ComparedRun,
    SizeMeasure,
    XAxis,
    axis_label,
    curves,
    front,
    points,
)
from surgeon_gui.state.quality import NAMES, Quality, measures
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.charts.series_chart import Axes, Series, SeriesChart
from surgeon_gui.widgets.charts.table_card import TableCard
from surgeon_gui.widgets.controls import button, choice_box, described
from surgeon_gui.widgets.forms.inputs import WholeInput

_MEASURE_LENGTH = 11  # characters
_CONTEXT = settings_of(PruningConfig)["context"].option.limits


class CurvesChart(SeriesChart):
    """Quality of each run over sparsity, shots or remaining parameters."""

    measure_chosen = Signal(object)  # Quality

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
        self._measure.setMinimumContentsLength(_MEASURE_LENGTH)
        self._measures: tuple[Quality, ...] = ()
        self._chosen: Quality | None = None  # by the user
        self._offer(tuple(Quality))
        self._log = button("compare_curves_log_button")
        self._log.setCheckable(True)
        for control in (self._along, self._measure, self._log):
            self.add_control(control)
        self._along.currentIndexChanged.connect(self._redraw)
        self._measure.currentIndexChanged.connect(self._on_measure_chosen)
        self._log.toggled.connect(self._redraw)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the curves of these runs."""
        self._runs = runs
        self._offer(measures(each.run for each in runs))
        self._redraw()

    @property
    def measure(self) -> Quality:
        """The measure that is shown."""
        return self._measures[self._measure.currentIndex()]

    def _offer(self, offered: tuple[Quality, ...]) -> None:
        """Offer these measures; show the chosen one, or else the first."""
        if offered == self._measures:
            return
        self._measures = offered
        with QSignalBlocker(self._measure):
            self._measure.clear()
            self._measure.addItems([NAMES[measure] for measure in offered])
            chosen = self._chosen if self._chosen in offered else offered[0]
            self._measure.setCurrentIndex(offered.index(chosen))

    @Slot()
    def _on_measure_chosen(self) -> None:
        self._chosen = self.measure
        self._redraw()
        self.measure_chosen.emit(self.measure)

    @Slot()
    def _redraw(self) -> None:
        along, is_log = list(XAxis)[self._along.currentIndex()], self._log.isChecked()
        found = curves(self._runs, along, self.measure, is_log=is_log)
        series = [
            Series(curve.name, tuple(curve.xs), tuple(curve.ys), number)
            for number, curve in enumerate(found)
        ]
        label = axis_label(self._runs, self.measure)
        self.show_series(series, Axes(ALONG[along], label, is_log))


class SizeChart(SeriesChart):
    """Quality over size of each model, with a line through the best."""

    def __init__(self) -> None:
        super().__init__(
            "compare_size",
            tr("Quality by size"),
            tr("None of these runs has pruned anything yet."),
        )
        self._runs: Sequence[ComparedRun] = ()
        self._measure = Quality.DIVERGENCE
        self._size = described(choice_box(), "compare_size_combo")
        self._size.addItems([SIZES[size] for size in SizeMeasure])
        self._size.setMinimumContentsLength(14)
        self.add_control(self._size)
        self._size.currentIndexChanged.connect(self._redraw)

    def show_runs(self, runs: Sequence[ComparedRun], measure: Quality) -> None:
        """Show the models of these runs, and their originals, by a measure."""
        self._runs = runs
        self.show_measure(measure)

    @Slot(object)
    def show_measure(self, measure: Quality) -> None:
        """Show the models by another measure."""
        self._measure = measure
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        size = list(SizeMeasure)[self._size.currentIndex()]
        models = points(self._runs, size, self._measure)
        best = front(models)
        line = Series(
            tr("Best for their size"),
            tuple(point.size for point in best),
            tuple(point.quality for point in best),
            has_symbols=False,
        )
        series = [
            Series(
                point.name,
                (point.size,),
                (point.quality,),
                point.run,
                is_joined=False,
            )
            for point in models
        ]
        axes = Axes(SIZES[size], axis_label(self._runs, self._measure))
        self.show_series([line, *series], axes)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        size = list(SizeMeasure)[self._size.currentIndex()]
        label = axis_label(self._runs, self._measure)
        header = ("model", SIZES[size], label, "best for its size")
        return [
            header,
            *(
                (point.name, point.size, point.quality, point.is_best)
                for point in points(self._runs, size, self._measure)
            ),
        ]


class LadderCard(TableCard):
    """The files of the runs by size, and the memory that holds each of them."""

    min_column = 105  # pixels; for seven columns of short texts

    def __init__(self) -> None:
        super().__init__(
            "compare_ladder",
            tr("Which file fits which memory"),
            tr("None of these runs has exported a model yet."),
        )
        self._runs: Sequence[ComparedRun] = ()
        self._is_chosen = False  # the context, by the user
        self._context = WholeInput(_CONTEXT, FIELDS["pruning.context"])
        box = described(self._context.widget, "compare_context_box")
        self._context.edited.connect(self._on_context_edited)
        self.add_control(box)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the files of these runs and their originals."""
        self._runs = runs
        if not self._is_chosen:
            self._context.show(ladder.default_context([each.run for each in runs]))
        self._redraw()

    @Slot(int)
    def _on_context_edited(self, _: int) -> None:
        self._is_chosen = True
        self._redraw()

    def _redraw(self) -> None:
        context = self._context.value
        found = ladder.rungs([(each.name, each.run) for each in self._runs], context)
        self.show_table(ladder.table(found, context))
