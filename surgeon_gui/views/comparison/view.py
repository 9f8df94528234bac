"""The comparison of runs: size against quality, and a table of their files."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import ROOM, TITLE
from surgeon_gui.base.translation import tr
from surgeon_gui.state import comparison
from surgeon_gui.state.comparison import MIN_RUNS, ComparedRun
from surgeon_gui.views.comparison.files_card import FilesCard
from surgeon_gui.views.comparison.size_chart import SizeChart
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.controls import (
    heading,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import vertical

_MIN_CHART = 320  # pixels; in a lower window the view scrolls
_MIN_WIDTH = 280  # pixels, of a chart or a table


class CompareView(QWidget):
    """Draws a comparison; with fewer than two runs, explains how to choose them."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("compare_view")
        title = heading(tr("Compare"), TITLE)
        self._note = text_label(
            tr("Tick two or more runs to compare them."),
            quiet=True,
            name="compare_note",
        )
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._protocol = problem_label("compare_protocol_note")
        self._sizes, self._files = SizeChart(), FilesCard()
        self._sizes.setMinimumSize(_MIN_WIDTH, _MIN_CHART)
        self._files.setMinimumWidth(_MIN_WIDTH)
        parts = ((self._note, 1), self._protocol, (self._sizes, 1), self._files)
        vertical(self, title, *parts, spacing=ROOM)
        self.show_runs(())

    @property
    def charts(self) -> dict[str, ChartCard]:
        """The chart and the table by name."""
        return {"sizes": self._sizes, "files": self._files}

    def show_runs(self, runs: tuple[ComparedRun, ...]) -> None:
        """Show a comparison of these runs."""
        is_enough = len(runs) >= MIN_RUNS
        self._note.setVisible(not is_enough)
        for card in self.charts.values():
            card.setVisible(is_enough)
        show_text(self._protocol, comparison.protocol_note(runs) if is_enough else "")
        if is_enough:
            shown = comparison.by_size(runs)
            self._sizes.show_runs(shown)
            self._files.show_runs(shown)
