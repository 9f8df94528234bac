"""The course of a run: its parts, its charts, and what the model writes."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.state.charts import (
    has_recovery,
    memory_line,
    recovery_line,
    recovery_progress,
    time_bars,
)
from surgeon_gui.state.experts import routings_of_run
from surgeon_gui.state.parts import parts_of
from surgeon_gui.state.quality import Quality
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import last_choice, sample_pair, steps_left_out, undone
from surgeon_gui.text import numbers, stages
from surgeon_gui.text.captions.views import MEANINGS
from surgeon_gui.text.stages import Mark, Part, PartView
from surgeon_gui.views.experts_card import ExpertsCard
from surgeon_gui.views.run.charts import CostChart, LayerMap, QualityChart
from surgeon_gui.widgets.charts.bar_chart import BarChart
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.charts.plot import PlotCard
from surgeon_gui.widgets.controls import (
    RIGHT,
    bold,
    eliding_label,
    explained,
    heading,
    line_label,
    link,
    mark,
    show_elided,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dot import Dot, Shape
from surgeon_gui.widgets.layouts import card, in_grid, in_row, row_of, vertical
from surgeon_gui.widgets.progress import ProgressBar

_MIN_CHART = 210  # pixels; in a lower window the page scrolls
_MIN_PLOT = 255  # pixels; in a lower plot the title of an axis is cut
_PARTS_WIDTH = 320
_WIDE, _NARROW = 1000, 640  # pixels, for three columns and for two
_MEANINGS = {"perplexity": "quality"}  # charts with another name than in MEANINGS
_SHAPES = {
    Mark.DONE: (Shape.TICK, "accent"),
    Mark.NOW: (Shape.RING, "accent"),
    Mark.NEXT: (Shape.RING, "border"),
    Mark.BROKEN_OFF: (Shape.CROSS, "muted"),
    Mark.FAILED: (Shape.CROSS, "bad"),
}
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_LINES = 3  # for which there is room before a text comes


class CourseView(QWidget):
    """Draws a `RunState`; further charts are hidden until they are asked for.

    `measure` is the one that the chart of the quality shows at first.
    """

    def __init__(self, measure: Quality = Quality.LOSS) -> None:
        super().__init__()
        self.setObjectName("course_view")
        self._run, self._now = RunState(), 0.0
        self._parts = PartList()
        self._remaining = RemainingCard()
        self._sample = SampleCard()
        self._quality, self._map = QualityChart(measure), LayerMap()
        self.charts: dict[str, ChartCard] = {
            "perplexity": self._quality,
            "sparsity": self._map,
        }
        prepare(self.charts)
        self._more_button = link("more_charts_button")
        self._more_button.setCheckable(True)
        self._more = MoreCharts()
        self._more_button.toggled.connect(self._on_more_toggled)
        self.charts |= self._more.charts
        self._parts_card = card(self._parts, margin=ROOM)
        self._columns = 0
        self._grid = in_grid(beside=ROOM, below=ROOM)
        below = row_of(self._more_button)
        vertical(self, (self._grid, 1), self._sample, below, self._more, spacing=ROOM)
        self._arrange(3)

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run at the time `now`."""
        if run.run != self._run.run:
            for chart in self.charts.values():
                chart.reset_zoom()
        self._run, self._now = run, now
        self._parts.show_parts(parts_of(run, now))
        self._remaining.show_run(run)
        self._quality.show_run(run)
        self._map.show_run(run)
        self._sample.show_run(run)
        has_begun = run.status.is_busy or run.model is not None
        for each in (self._quality.place, self._remaining, self._map.place):
            each.setVisible(has_begun)  # else there is nothing to show, for good
        self._more_button.setVisible(has_begun)
        if not self._more.isHidden():
            self._more.show_run(run, now)

    def show_all(self, run: RunState, now: float) -> None:
        """Show a run in the hidden charts, too, such as for a picture of them."""
        self.show_run(run, now)
        self._more.show_run(run, now)

    @Slot(bool)
    def _on_more_toggled(self, is_shown: bool) -> None:
        if is_shown:
            self._more.show_run(self._run, self._now)
        self._more.setVisible(is_shown)

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(_NARROW // 2, super().minimumSizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = event.size().width()
        self._arrange(3 if width >= _WIDE else 2 if width >= _NARROW else 1)

    def _arrange(self, columns: int) -> None:
        """Place parts, quality and layers beside each other where there is room."""
        if columns == self._columns:
            return
        self._columns = columns
        is_single = columns == 1
        self._parts_card.setMinimumWidth(0 if is_single else _PARTS_WIDTH)
        self._parts_card.setMaximumWidth(16_777_215 if is_single else _PARTS_WIDTH)
        quality, layers = self._quality.place, self._map.place
        places = {
            1: ((0, 0, 1, 1), (1, 0, 1, 1), (2, 0, 1, 1), (3, 0, 1, 1)),
            2: ((0, 0, 2, 1), (0, 1, 1, 1), (2, 0, 1, 1), (1, 1, 2, 1)),
            3: ((0, 0, 2, 1), (0, 1, 1, 1), (1, 1, 1, 1), (0, 2, 2, 1)),
        }[columns]
        widgets = (self._parts_card, quality, self._remaining, layers)
        for widget, place in zip(widgets, places, strict=True):
            self._grid.addWidget(widget, *place)
        for column in range(3):
            is_chart = 0 < column < columns or (is_single and column == 0)
            self._grid.setColumnStretch(column, int(is_chart))
        stretched = {1: (1, 3), 2: (0, 1), 3: (0,)}[columns]
        for row in range(4):
            self._grid.setRowStretch(row, int(row in stretched))


class RemainingCard(QFrame):
    """The number of remaining parameters, as a bar and in figures."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        title = heading(tr("Remaining parameters"))
        explained(title, MEANINGS["parameters"])
        self._bar = ProgressBar("remaining_bar", title.text())
        self._figure = heading("", name="remaining_figure")
        vertical(self, title, in_row((self._bar, 1), self._figure), margin=ROOM)

    def show_run(self, run: RunState) -> None:
        """Show the parameters of the model as they are now."""
        if run.model is None:
            self._figure.setText("\N{EN DASH}")
            self._bar.show_share(0.0)
            return
        before = run.model.parameters
        after = run.history[-1].parameters if run.history else before
        text = tr("{left} of {all}").format(
            left=numbers.count(after), all=numbers.count(before)
        )
        self._figure.setText(text)
        self._bar.show_share(after / before)


class MoreCharts(QWidget):
    """Costs, recovery, memory, times and experts, hidden at first."""

    def __init__(self) -> None:
        super().__init__()
        self._run = RunState()  # the run shown
        self._costs, self._experts = CostChart(), ExpertsCard("experts")
        self._experts.hide()
        self._recovery = LineChart("recovery", tr("Recovery"), "")
        when_empty = tr("Measured about once per second during a run.")
        self._memory = LineChart("memory", tr("Engine memory"), when_empty)
        when_empty = tr("Shows the duration of each phase, by shot.")
        self._times = BarChart("times", tr("Time by phase"), when_empty)
        self.charts: dict[str, ChartCard] = {
            "costs": self._costs,
            "recovery": self._recovery,
            "memory": self._memory,
            "times": self._times,
            "experts": self._experts,
        }
        prepare(self.charts)
        self._notes = text_label(quiet=True, name="course_notes")
        explained(self._notes, MEANINGS["damping"])
        self._is_narrow = True
        self._grid = in_grid(self, beside=ROOM, below=ROOM)
        self._arrange(is_narrow=False)
        self.hide()

    def show_run(self, run: RunState, now: float) -> None:
        """Show the state of a run at the time `now`."""
        text = tr("Computed on {device}.").format(device=run.device)
        device = text if run.device else ""
        notes = (device, last_choice(run), steps_left_out(run), undone(run))
        show_text(self._notes, "\n".join(filter(None, notes)))
        self._costs.show_run(run)
        self._recovery.setVisible(has_recovery(run))
        self._recovery.show_empty_text(recovery_progress(run))
        self._recovery.show_line(recovery_line(run))
        self._times.show_bars(time_bars(run, now))
        before, self._run = self._run, run
        if run.history is not before.history:
            self._experts.show_routings(routings_of_run(run))
        if run.memory is not before.memory:  # thousands of samples
            self._memory.show_line(memory_line(run))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange(is_narrow=event.size().width() < _NARROW)

    def _arrange(self, *, is_narrow: bool) -> None:
        if is_narrow == self._is_narrow:
            return
        self._is_narrow = is_narrow
        columns = 1 if is_narrow else 2
        for number, chart in enumerate(self.charts.values()):
            span = columns if chart is self._experts else 1
            self._grid.addWidget(chart.place, *divmod(number, columns), 1, span)
        self._grid.addWidget(self._notes, len(self.charts), 0, 1, columns)
        for column in range(2):
            self._grid.setColumnStretch(column, int(column < columns))


def prepare(charts: dict[str, ChartCard]) -> None:
    """Explain charts, and give them a minimum height."""
    for name, chart in charts.items():
        chart.explain(MEANINGS[_MEANINGS.get(name, name)])
        least = _MIN_PLOT if isinstance(chart, PlotCard) else _MIN_CHART
        chart.setMinimumHeight(max(least, chart.minimumHeight()))


class PartList(QWidget):
    """Shows one row per part; rows are made once and reused."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("part_list")
        self.setAccessibleName(tr("Parts of the run"))
        self._rows = [_Row(part) for part in Part]
        parts = in_grid(self, wide=1, below=GAP + GAP // 2)
        for number, row in enumerate(self._rows):
            for column, widget in enumerate((row.dot, row.label, row.time)):
                parts.addWidget(widget, number, column)
        parts.setRowStretch(len(self._rows), 1)

    def show_parts(self, parts: tuple[PartView, ...]) -> None:
        """Show these parts."""
        shown = {each.part: each for each in parts}
        for part, row in zip(Part, self._rows, strict=True):
            row.show_view(shown.get(part))


class _Row:
    def __init__(self, part: Part) -> None:
        self.dot = Dot()
        self.label = eliding_label(f"part_{part.value}_label")
        self.time = line_label(quiet=True, name=f"part_{part.value}_time")
        self.time.setAlignment(RIGHT)
        self._plain = self.label.font()
        self._view: PartView | None = None
        for each in (self.dot, self.label, self.time):
            each.hide()

    def show_view(self, view: PartView | None) -> None:
        if view == self._view:
            return
        self._view = view
        for each in (self.dot, self.label, self.time):
            each.setVisible(view is not None)
        if view is None:
            return
        self.dot.show_shape(*_SHAPES[view.mark])
        mark(self.label, "quiet", view.mark is Mark.NEXT)
        # Each time, because another theme takes a font away.
        is_now = view.mark is Mark.NOW
        self.label.setFont(bold(self._plain) if is_now else self._plain)
        show_elided(self.label, stages.label(view), tip=stages.tip(view.part))
        self.label.setAccessibleName(stages.spoken(view))
        self.time.setText(stages.time(view))


class SampleCard(QFrame):
    """Two texts beside each other; hidden while a run has no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self._prompt = text_label(quiet=True, name="live_sample_prompt")
        self._when = line_label(quiet=True)
        self._original = text_label(name="live_sample_original")
        self._pruned = text_label(name="live_sample_pruned")
        for text in (self._original, self._pruned):
            text.setMinimumHeight(_LINES * text.fontMetrics().lineSpacing())
            text.setAlignment(Qt.AlignmentFlag.AlignTop)
            text.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse
                | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
        grid = QGridLayout(self)
        grid.setContentsMargins(ROOM, ROOM, ROOM, ROOM)
        grid.setSpacing(GAP // 2)
        grid.addWidget(heading(tr("The same prompt, both models")), 0, 0, 1, 2)
        grid.addWidget(self._prompt, 1, 0, 1, 2)
        grid.addWidget(line_label(tr("Original"), quiet=True), 2, 0)
        grid.addWidget(self._when, 2, 1)
        grid.addWidget(self._original, 3, 0)
        grid.addWidget(self._pruned, 3, 1)
        grid.setHorizontalSpacing(ROOM)
        for column in range(2):
            grid.setColumnStretch(column, 1)
        self.hide()

    def show_run(self, run: RunState) -> None:
        """Show the samples of a run."""
        pair = sample_pair(run)
        self.setVisible(pair is not None)
        if pair is None:
            return
        texts, when = pair
        self._prompt.setText(tr("“{prompt}”").format(prompt=texts.prompt))
        self._when.setText(when)
        _show_sample(self._original, texts.original, tr("Original"))
        _show_sample(self._pruned, texts.pruned, when)


def _show_sample(label: QLabel, text: str, title: str) -> None:
    label.setText(text.strip() or _ELLIPSIS)
    label.setAccessibleName(title)
