"""The Compare tab: curves, sizes, memory, figures and settings of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state import ladder
from surgeon_gui.state.comparison import (
    ALONG,
    MIN_RUNS,
    SIZES,
    ComparedRun,
    axis_label,
    curves,
    differences,
    figures,
    front,
    points,
    protocol_note,
)
from surgeon_gui.state.quality import NAMES, Quality, measures
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.charts.chart_card import MEASURE_LENGTH, ChartCard
from surgeon_gui.widgets.charts.series_chart import Axes, Series, SeriesChart
from surgeon_gui.widgets.charts.table_card import TableCard
from surgeon_gui.widgets.controls import (
    ChoiceBox,
    bold,
    button,
    described,
    heading,
    show_text,
    text_label,
)
from surgeon_gui.widgets.forms.inputs import WholeInput
from surgeon_gui.widgets.layouts import STRETCH, add_parts, in_row, stack, vertical

_MIN_CHART = 300  # pixels; in a lower window the view scrolls
_MIN_WIDTH = 280  # pixels, of a chart or a table
_TWO_COLUMNS = 980  # pixels; minimum width for two charts side by side
_TITLE_SCALE = 1.25
_NOTE_WIDTH = 420
_CONTEXT = settings_of(PruningConfig)["context"].option.limits


class CompareView(QWidget):
    """Draws a comparison; with fewer than two runs, explains how to choose them."""

    runs_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("compare_view")
        self._note = text_label(name="compare_note")
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._protocol = text_label(name="compare_protocol_note")
        self._protocol.setProperty("problem", True)
        self._curves, self._sizes = CurvesChart(), SizeChart()
        self._curves.measure_chosen.connect(self._sizes.show_measure)
        self._ladder = LadderCard()
        self._figures = TableCard("compare_figures", tr("Figures"), "")
        self._settings = TableCard(
            "compare_settings",
            tr("Settings that differ"),
            tr("All of these runs had the same settings."),
        )
        self._invitation = self._make_invitation()
        self._content = self._make_content()
        vertical(self, self._invitation, self._content, spacing=None)
        self.show_runs(())

    @property
    def charts(self) -> dict[str, ChartCard]:
        """The charts and tables by name."""
        return {
            "curves": self._curves,
            "sizes": self._sizes,
            "ladder": self._ladder,
            "figures": self._figures,
            "settings": self._settings,
        }

    def show_runs(self, runs: tuple[ComparedRun, ...]) -> None:
        """Show a comparison of these runs."""
        is_enough = len(runs) >= MIN_RUNS
        self._content.setVisible(is_enough)
        self._invitation.setVisible(not is_enough)
        self._note.setText(_invitation(runs))
        if not is_enough:
            return
        self._curves.show_runs(runs)
        self._sizes.show_runs(runs, self._curves.measure)
        self._ladder.show_runs(runs)
        self._figures.show_table(figures(runs))
        self._settings.show_table(differences(runs))
        show_text(self._protocol, protocol_note(runs))

    def _make_invitation(self) -> QWidget:
        title = heading(tr("Compare runs"))
        title.setFont(bold(title.font(), _TITLE_SCALE))
        show = button("compare_runs_button", self.runs_clicked, primary=True)
        content = QWidget()
        content.setFixedWidth(_NOTE_WIDTH)
        column = QVBoxLayout(content)
        column.setSpacing(MARGIN)
        column.addWidget(title, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self._note)
        column.addWidget(show, 0, Qt.AlignmentFlag.AlignHCenter)
        invitation = QWidget()
        outer = QVBoxLayout(invitation)
        add_parts(outer, STRETCH, in_row(STRETCH, content, STRETCH), STRETCH)
        return invitation

    def _make_content(self) -> QWidget:
        content = QWidget()
        column = vertical(content, self._protocol)
        self._charts_row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._charts_row.setSpacing(GAP)
        for chart in (self._curves, self._sizes):
            chart.setMinimumSize(_MIN_WIDTH, _MIN_CHART)
            self._charts_row.addWidget(chart, 1)
        column.addLayout(self._charts_row, 1)
        for table in (self._ladder, self._figures, self._settings):
            table.setMinimumWidth(_MIN_WIDTH)
            column.addWidget(table)
        return content

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        stack(self._charts_row, is_stacked=self.width() < _TWO_COLUMNS)
        super().resizeEvent(event)


def _invitation(runs: tuple[ComparedRun, ...]) -> str:
    if runs:
        return tr(
            "One run is ticked: {run}. Tick another one in the list of runs to compare "
            "curves, sizes, figures and settings."
        ).format(run=runs[0].name)
    return tr(
        "Tick two or more runs in the list of runs to compare curves, sizes, figures "
        "and settings."
    )


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
        self._along = ChoiceBox("compare_curves_x_combo")
        self._along.offer(ALONG)
        self._measure = ChoiceBox("compare_curves_measure_combo", MEASURE_LENGTH)
        self._chosen: Quality | None = None  # by the user
        self._measure.offer(NAMES)
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
        offered = {
            measure: NAMES[measure] for measure in measures(each.run for each in runs)
        }
        self._measure.offer(offered, self._chosen)
        self._redraw()

    @property
    def measure(self) -> Quality:
        """The measure that is shown."""
        measure: Quality = self._measure.value
        return measure

    @Slot()
    def _on_measure_chosen(self) -> None:
        self._chosen = self.measure
        self._redraw()
        self.measure_chosen.emit(self.measure)

    @Slot()
    def _redraw(self) -> None:
        along, is_log = self._along.value, self._log.isChecked()
        found = curves(self._runs, along, self.measure, is_log=is_log)
        series = [
            Series(x.name, tuple(x.xs), tuple(x.ys), number)
            for number, x in enumerate(found)
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
        self._size = ChoiceBox("compare_size_combo", min_length=14)
        self._size.offer(SIZES)
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
        size = self._size.value
        models = points(self._runs, size, self._measure)
        best = front(models)
        line = Series(
            tr("Best for their size"),
            tuple(point.size for point in best),
            tuple(point.quality for point in best),
            has_symbols=False,
        )
        series = [
            Series(x.name, (x.size,), (x.quality,), x.run, is_joined=False)
            for x in models
        ]
        axes = Axes(SIZES[size], axis_label(self._runs, self._measure))
        self.show_series([line, *series], axes)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        size = self._size.value
        label = axis_label(self._runs, self._measure)
        header = ("model", SIZES[size], label, "best for its size")
        found = points(self._runs, size, self._measure)
        return [header, *((x.name, x.size, x.quality, x.is_best) for x in found)]


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
