"""The losses of a file by kind of text, and the places where the answers part."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QLabel, QWidget

from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.theme import GAP, ROOM
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import ended_note, problem_of
from surgeon_gui.state.job import checks
from surgeon_gui.state.judgment import (
    LostRow,
    Standing,
    answers,
    judging_time,
    lost_rows,
)
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.judgments import Answer
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    button,
    enable_unless,
    explained,
    heading,
    line_label,
    link,
    text_label,
)
from surgeon_gui.widgets.dialogs import PROMPT_FILES, ask_file
from surgeon_gui.widgets.dot import Dot, Shape
from surgeon_gui.widgets.layouts import (
    STRETCH,
    CardRow,
    card,
    in_grid,
    in_row,
    row_of,
    vertical,
)

_NARROW = 900  # pixels, below which the answers are below the rows
_SHOWN = 2  # answers before the user asks for more
_MARKS = {
    Standing.KEPT: (Shape.TICK, "accent"),
    Standing.OPEN: (Shape.RING, "muted"),
    Standing.LOST: (Shape.CROSS, "warning"),
    Standing.BROKEN: (Shape.CROSS, "bad"),
}


class LossView(CardRow):
    """Two cards: what was lost, and where the answers part."""

    def __init__(self, session: Session) -> None:
        self._run: RunState | None = None  # the run shown
        self._rows = LostRows()
        self._session = session
        judge = partial(session.judge)  # without the state of the button
        self._judge = button("judge_button", judge)
        self._prompts = link("judge_prompts_button", self._on_prompts_clicked)
        self._time = text_label(quiet=True, name="judge_note")
        cancel = partial(session.store.cancel_request, RequestKind.JUDGMENT)
        self._progress = TaskProgress("judge", cancel, self._judge, self._prompts)
        self._judging = QWidget()
        vertical(
            self._judging,
            in_row(self._judge, self._prompts, (self._time, 1)),
            self._progress,
        )
        self._judging.hide()
        self._answers = AnswerList()
        note = tr("The demo is tiny: what it writes makes little sense, pruned or not.")
        self._demo = text_label(note, quiet=True, name="answers_demo_note")
        parts = (heading(tr("Where the answers part")), self._demo, self._answers)
        self._left = card(
            heading(tr("What was lost")),
            self._rows,
            self._judging,
            STRETCH,
            margin=ROOM,
        )
        self._right = card(*parts, STRETCH, margin=ROOM)
        super().__init__(self._left, self._right, narrow=_NARROW)
        self.setObjectName("loss_view")

    def show_state(self, state: AppState) -> None:
        """Show what is known of the file of the run in view."""
        run = state.shown_run
        if run is not self._run:
            self._run = run
            self._rows.show_rows(lost_rows(run))
            found = answers(run)
            self._answers.show_answers(found)
            self._right.setVisible(bool(found))
            source = run.config.model.source if run.config is not None else ""
            self._demo.setVisible(source == DEMO)
        self._judging.setVisible(run.model is not None)
        if run.model is not None:
            self._offer_judging(state, run)

    def _offer_judging(self, state: AppState, run: RunState) -> None:
        """Show the buttons with the time that it takes, or the progress."""
        request = state.request_of_run(RequestKind.JUDGMENT)
        obstacle = checks.judge_obstacle(state)
        self._progress.show_request(request)
        self._judge.setHidden(request.is_open or run.judgment is not None)
        for each in (self._prompts, self._time):
            each.setHidden(request.is_open)
        for made in (self._judge, self._prompts):
            enable_unless(made, sentence(obstacle))
        about = judging_time(run, state.machine)
        ended = problem_of(request, state.notice) or ended_note(request, tr("Judging"))
        self._time.setText(checks.untold(obstacle) or ended or about)

    @Slot()
    def _on_prompts_clicked(self) -> None:
        title = CAPTIONS["judge_prompts_button"].spoken
        judge = self._session.judge  # which reads the prompts where the engine is
        ask_file(self, title, "", PROMPT_FILES, judge, engine_path="")


class LostRows(QWidget):
    """A dot, a name and an outcome for each row; the rows are reused."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("lost_rows")
        self._widgets: list[tuple[Dot, QLabel, QLabel]] = []
        self._grid = in_grid(self, wide=2)

    def show_rows(self, rows: tuple[LostRow, ...]) -> None:
        """Show exactly these."""
        while len(self._widgets) < len(rows):
            self._add_row()
        for number, widgets in enumerate(self._widgets):
            for each in widgets:
                each.setVisible(number < len(rows))
            if number < len(rows):
                row, (dot, name, outcome) = rows[number], widgets
                dot.show_shape(*_MARKS[row.standing])
                name.setText(row.name)
                outcome.setText(row.outcome)
                explained(outcome, row.meaning)

    def _add_row(self) -> None:
        made = (Dot(), line_label(), text_label(quiet=True))
        for column, each in enumerate(made):
            self._grid.addWidget(each, len(self._widgets), column)
        self._widgets.append(made)


class AnswerList(QWidget):
    """Answers below each other; all but the first ones are hidden at first."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("answer_list")
        self._shown: tuple[Answer, ...] = ()
        self._views: list[AnswerView] = []
        self._more = link("more_answers_button", self._on_more_clicked)
        self._shows_all = False
        self._column = vertical(self, row_of(self._more), spacing=ROOM)

    def show_answers(self, answers: tuple[Answer, ...]) -> None:
        """Show exactly these."""
        if answers == self._shown:
            return
        self._shown, self._shows_all = answers, False
        while len(self._views) < len(answers):
            self._views.append(AnswerView())
            self._column.insertWidget(len(self._views) - 1, self._views[-1])
        for view, answer in zip(self._views, answers, strict=False):
            view.show_answer(answer)
        self._show_some()

    def _show_some(self) -> None:
        count = len(self._shown)
        shown = count if self._shows_all else min(count, _SHOWN)
        for number, view in enumerate(self._views):
            view.setVisible(number < shown)
        text = ntr("{n} more", "{n} more", count - shown).format(n=count - shown)
        self._more.setText(text)
        self._more.setVisible(shown < count)

    @Slot()
    def _on_more_clicked(self) -> None:
        self._shows_all = True
        self._show_some()


_NATS_PER_BYTE = tr(
    "How unlikely the answer is for the original: its loss per byte of the text."
)


class AnswerView(QWidget):
    """A prompt, what both models answer alike, and how each goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._prompt = text_label(quiet=True, name="answer_prompt")
        self._shared = text_label(name="answer_shared")
        answers = in_grid(wide=1, beside=ROOM, below=GAP // 2)
        self._rows = []
        for row, name in enumerate(("original", "pruned")):
            text = text_label(name=f"answer_{name}")
            nats = line_label(quiet=True, name=f"answer_{name}_nats")
            label = line_label(quiet=True, name=f"answer_{name}_title")
            top = Qt.AlignmentFlag.AlignTop
            for column, each in enumerate((label, text, nats)):
                answers.addWidget(each, row, column)
            label.setAlignment(top)
            nats.setAlignment(top | Qt.AlignmentFlag.AlignRight)
            explained(nats, _NATS_PER_BYTE)
            self._rows.append((label, text, nats))
        vertical(self, self._prompt, self._shared, answers, STRETCH, spacing=GAP // 2)

    def show_answer(self, answer: Answer) -> None:
        """Show one answer."""
        self._prompt.setText(tr("“{prompt}”").format(prompt=answer.prompt))
        shared = answer.shared
        self._shared.setText(shared.strip())
        self._shared.setVisible(bool(shared.strip()))
        ellipsis = "\N{HORIZONTAL ELLIPSIS} " if shared.strip() else ""
        file = tr("Before rounding") if answer.is_rounded_later else tr("This file")
        titles, texts = (tr("Original"), file), (answer.original, answer.pruned)
        for number, text in enumerate(texts):
            title, label, nats = self._rows[number]
            title.setText(titles[number])
            label.setText(f"{ellipsis}{text[len(shared) :].strip()}")
            nats.setVisible(answer.nats is not None)
            if answer.nats is not None:
                each = numbers.nats(answer.nats[number])
                nats.setText(tr("{nats} nats per byte").format(nats=each))
