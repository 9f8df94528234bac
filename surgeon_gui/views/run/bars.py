"""Three bars against the original: the file, its memory and its speed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtWidgets import QFrame, QStackedWidget, QWidget

from surgeon_gui.base.theme import GAP, LARGE, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state import bars
from surgeon_gui.state.app import AppState
from surgeon_gui.state.bars import Pair
from surgeon_gui.state.export_text import ended_note, original_speed, problem_of
from surgeon_gui.state.job import checks
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text import memory, numbers
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    bold,
    button,
    eliding_label,
    enable_unless,
    explained,
    heading,
    line_label,
    mark,
    show_elided,
)
from surgeon_gui.widgets.layouts import STRETCH, CardRow, in_row, vertical
from surgeon_gui.widgets.progress import ProgressBar
from surgeon_gui.widgets.tool_tips import show_tip

_NARROW = 640  # pixels, below which the bars are below each other
_TAKES = tr("1 min or more")
_LARGER = 1.02  # from which a figure counts as larger than the original's


class OutcomeBars(CardRow):
    """The three cards."""

    def __init__(self, session: Session) -> None:
        self._file = BarCard("file", tr("File"))
        self._memory = explained(BarCard("memory", tr("Memory")), memory.MEANING)
        self._speed = SpeedCard(session)
        super().__init__(self._file, self._memory, self._speed, narrow=_NARROW)
        self.setObjectName("outcome_bars")

    def show_state(self, state: AppState) -> None:
        """Show the result of the run in view."""
        run = state.shown_run
        file = bars.file_bytes(run)
        self._file.setVisible(file is not None)
        if file is not None:
            self._file.show_sizes(file)
        found = bars.memory_bytes(run)
        self._memory.setVisible(found is not None)
        if found is not None:
            pair, context = found
            self._memory.title.setText(memory.title(context))
            self._memory.show_sizes(pair, numbers.needed_size)
        self._speed.show_state(state)


class BarCard(QFrame):
    """A title, the figures of the file and the original, and a bar."""

    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.title = heading(title)
        self._figures = FigureRow(name)
        vertical(self, self.title, self._figures, margin=ROOM)

    def show_sizes(
        self, pair: Pair, to_text: Callable[[int], str] = numbers.size
    ) -> None:
        """Show two sizes in bytes."""
        after, before = (to_text(round(x)) for x in (pair.after, pair.before))
        self._figures.show_texts(after, tr("of {size}").format(size=before), pair)
        self._figures.warn(is_worse=pair.after > _LARGER * pair.before)


class FigureRow(QWidget):
    """A large figure, a quiet one beside it, and a bar below."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.after = line_label(name=f"{name}_after")
        self.after.setFont(bold(self.after.font(), LARGE))
        self._before = line_label(quiet=True, name=f"{name}_before")
        self._bar = ProgressBar(f"{name}_share_bar")
        vertical(self, in_row(self.after, (self._before, 1)), STRETCH, self._bar)

    def show_texts(self, after: str, before: str, pair: Pair) -> None:
        """Show two figures as texts, and their bar if both are known."""
        self.after.setText(after)
        self._before.setText(before)
        self._bar.setAccessibleName(f"{after}, {before}")
        self._bar.show_share(pair.share)
        self._bar.setVisible(bool(pair.before))

    def warn(self, *, is_worse: bool) -> None:
        """Show whether the file is worse than the original in amber."""
        for each in (self.after, self._bar):
            mark(each, "warning", is_worse)


class SpeedCard(QFrame):
    """The speed once it has been measured; until then a button, or why not.

    The pages of the card are equally high, so that nothing moves.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self._figures = FigureRow("speed")
        self._measure = button("measure_button", session.measure)
        self._note = eliding_label("measure_note", quiet=True)
        needed = self._note.fontMetrics().horizontalAdvance(_TAKES)
        self._note.setMinimumWidth(needed)
        cancel = partial(session.store.cancel_request, RequestKind.MEASUREMENT)
        self._progress = TaskProgress("measure", cancel, self._measure)
        self._invitation = QWidget()
        row = in_row(self._measure, (self._note, 1))
        vertical(self._invitation, row, STRETCH, spacing=GAP // 2)
        self._work = QWidget()
        vertical(self._work, self._progress)
        self._pages = QStackedWidget()
        for page in (self._figures, self._invitation, self._work):
            self._pages.addWidget(page)
        vertical(self, heading(tr("Speed, tokens/s")), self._pages, margin=ROOM)

    def show_state(self, state: AppState) -> None:
        """Show the speed, the progress of its measurement, or how to get it."""
        request = state.request_of_run(RequestKind.MEASUREMENT)
        measured = state.shown_run.measured
        pair = bars.generation(measured)
        self._progress.show_request(request)
        if request.is_open:
            self._pages.setCurrentWidget(self._work)
        elif measured is not None and pair is not None:
            before = original_speed(measured)
            self._figures.show_texts(numbers.rate(pair.after), before.text, pair)
            show_tip(self._figures, before.ratio)
            self._figures.warn(is_worse=before.is_file_slower)
            self._pages.setCurrentWidget(self._figures)
        else:
            obstacle = checks.measure_obstacle(state)
            reason = checks.untold(obstacle)
            self._measure.setHidden(bool(reason))
            enable_unless(self._measure, sentence(obstacle))
            ended = problem_of(request, state.notice) or ended_note(
                request, tr("Measurement")
            )
            show_elided(self._note, reason or ended or _TAKES)
            self._pages.setCurrentWidget(self._invitation)
