"""The Compare tab: curves, sizes, figures and settings of several runs."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.comparison import (
    MIN_RUNS,
    ComparedRun,
    differences,
    figures,
    protocol_note,
)
from surgeon_gui.views.comparison.charts import CurvesChart, LadderCard, SizeChart
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.table_card import TableCard
from surgeon_gui.widgets.controls import bold, button, heading, show_text, text_label
from surgeon_gui.widgets.layouts import STRETCH, add_parts, in_row, stack, vertical

_MIN_CHART = 300  # pixels; in a lower window the view scrolls
_MIN_WIDTH = 280  # pixels, of a chart or a table
_TWO_COLUMNS = 980  # pixels; minimum width for two charts side by side
_TITLE_SCALE = 1.25
_NOTE_WIDTH = 420


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
