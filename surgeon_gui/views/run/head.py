"""The head of the page of a run: its name or verdict, its time, and its buttons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QMenu, QPushButton, QWidget
from typing_extensions import override

from surgeon_engine.api.verdict import Verdict
from surgeon_gui.base import paths
from surgeon_gui.base.lm_studio import models_folder
from surgeon_gui.base.theme import GAP, TITLE
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state import bars, result_text
from surgeon_gui.state.action_strip import run_controls
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import checks
from surgeon_gui.state.job.targets import step_obstacle
from surgeon_gui.state.playground.state import models_of_run
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.verdict import verdict_of_run
from surgeon_gui.text import numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Problem, sentence
from surgeon_gui.text.verdicts import COLORS
from surgeon_gui.widgets.controls import (
    button,
    eliding_label,
    enable_unless,
    explained,
    fill_menu,
    give_menu,
    large_label,
    link,
    mark,
    set_enabled,
    show_button,
    show_elided,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.dialogs import open_folder
from surgeon_gui.widgets.dot import Dot, Shape
from surgeon_gui.widgets.elided_link import ElidedLink
from surgeon_gui.widgets.layouts import horizontal, in_column, in_grid, in_row, row_of

_LEAST_TITLE = 280  # pixels, below which the buttons are below the texts
_DOT = 18
_SIDES = 40  # pixels of a button beside its label, with the arrow of a menu
_TOLD = 2000  # milliseconds for which a button says what it did
_UNKNOWN = (Shape.RING, "muted")
# The labels that a button may have, by its name: it keeps the room for all of them.
_LABELS = {
    "pause": (CAPTIONS["resume_button"].label, tr("Pausing…")),
    "stop": (tr("Finishing…"),),
    "cancel": (tr("Canceling…"),),
}
_FRUITLESS = (Status.CANCELLED, Status.FAILED, Status.INTERRUPTED)
_COPYING = tr("Copying…")


class RunHead(QWidget):
    """Title, time and controls of a run; or verdict, summary and what to do next."""

    back_clicked = Signal()
    cancel_asked = Signal()
    resume_clicked = Signal()
    try_clicked = Signal()
    lm_studio_clicked = Signal(str)  # the file

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._run = RunState()  # the run shown
        self._missing: Mapping[str, Problem] = {}  # its files that are gone
        self._is_told = False  # the bar of errors says why it failed
        self._controlled: tuple[object, ...] = ()  # state on which the controls depend
        self.name = ""  # name of the run in view
        self._back = link("run_back_button", self.back_clicked)
        self._crumb = eliding_label("run_name", quiet=True, keeps_end=True)
        self._dot = Dot(_DOT)
        self._title = large_label("run_title", TITLE)
        self._title.setElideMode(Qt.TextElideMode.ElideMiddle)  # the size is at its end
        self._time = text_label(quiet=True, name="run_time")
        self._files: list[ElidedLink] = []
        self._places = in_column(spacing=0)
        self._warning = warning_label("run_warning")
        self._controls = self._running_buttons(session)
        self._outcome = OutcomeButtons(self, session)
        self._grid = in_grid(self, wide=0)
        self._grid.addLayout(in_row(self._back, (self._crumb, 1)), 0, 0, 1, 2)
        self._grid.addLayout(in_row(self._dot, (self._title, 1)), 1, 0)
        self._grid.addWidget(self._time, 2, 0, 1, 2)
        self._grid.addLayout(self._places, 3, 0, 1, 2)
        self._grid.addWidget(self._warning, 4, 0, 1, 2)
        self._is_narrow = True
        self._place_buttons(is_narrow=False)

    def _running_buttons(self, session: Session) -> QWidget:
        self._buttons = {
            "pause": button("pause_button", session.pause_or_resume),
            "stop": button("stop_button", session.stop_and_keep),
            "cancel": button("cancel_button", self.cancel_asked),
        }
        for name, made in self._buttons.items():
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            _keep_room(made, _LABELS[name])
        row = QWidget()
        horizontal(row, *self._buttons.values())
        return row

    def show_copying(self, *, is_copying: bool) -> None:
        """Show whether the file is being copied to LM Studio."""
        self._outcome.show_copying(is_copying=is_copying)

    def show_state(self, state: AppState, now: float, place: str = "") -> None:
        """Show the run in view; `place`: in the queue, while it is in progress."""
        run = state.shown_run
        self.name = result_text.name_of(run)
        is_busy = run.status.is_busy
        is_told = run.error is not None and run.error is state.notice
        self._controls.setVisible(is_busy)
        self._outcome.setVisible(not is_busy)
        is_behind = state.is_behind
        controlled = (run.status, run.can_stop, run.is_exporting, is_behind)
        if controlled != self._controlled:
            self._controlled = controlled
            for name, view in run_controls(run, is_behind=is_behind).items():
                made = self._buttons[name]
                show_button(made, view.label, view.tip, is_enabled=view.is_enabled)
        if is_busy:
            show_elided(self._crumb, place)
            show_elided(self._title, self.name)
            is_starting = is_behind and run.status is not Status.PAUSED
            clock = result_text.clock(run, now)
            self._time.setText(tr("Engine is starting…") if is_starting else clock)
            show_text(self._warning, "")
        elif run is not self._run or is_told is not self._is_told:
            self._is_told = is_told
            self._show_outcome(run)
        self._dot.setHidden(is_busy)
        if not is_busy:
            self._outcome.show_state(state)
        if run is not self._run or state.missing is not self._missing:
            self._show_files(state)
            self._make_room()
        self._run, self._missing = run, state.missing

    def _show_outcome(self, run: RunState) -> None:
        took = result_text.clock(run, 0.0)
        show_elided(self._crumb, " · ".join(filter(None, (self.name, took))))
        headline, reason = result_text.headline(run), result_text.reason(run)
        show_elided(self._title, headline, tip=reason)
        self._time.setText(result_text.summary(run, is_told=self._is_told))
        show_text(self._warning, result_text.warnings(run))
        verdict = verdict_of_run(run) if run.status is Status.FINISHED else None
        dot = (Shape.CROSS, "bad") if run.status is Status.FAILED else _UNKNOWN
        if verdict is not None:
            is_broken = verdict is Verdict.BROKEN
            dot = (Shape.CROSS if is_broken else Shape.FILLED, COLORS[verdict])
        self._dot.show_shape(*dot)

    def _show_files(self, state: AppState) -> None:
        """Show where the files of the run are; of several, also how large each is."""
        run = state.shown_run
        found = () if run.status.is_busy else bars.files(run)
        while len(self._files) < len(found):
            on_click = partial(self._on_file_clicked, len(self._files))
            self._files.append(ElidedLink("run_file_button", on_click))
            self._places.addLayout(row_of(self._files[-1]))
        for number, made in enumerate(self._files):
            made.setVisible(number < len(found))
            if number >= len(found):
                continue
            path, size = bars.path_of(found[number]), found[number].weight_bytes
            shown = path if run.computer else paths.with_tilde(path)
            if len(found) > 1:
                shown = f"{shown} \N{MIDDLE DOT} {numbers.size(size)}"
            tip = tr("The result is {path}. Open its folder.").format(path=path)
            obstacle = sentence(checks.file_obstacle(state, found[number]))
            made.setEnabled(not obstacle)
            is_missing = found[number].folder in state.missing
            made.show_line(obstacle if is_missing else shown, obstacle or tip)

    def _on_file_clicked(self, number: int) -> None:
        open_folder(bars.files(self._run)[number].folder)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        """Put the buttons below the texts where they would leave too little room."""
        is_busy = self._controls.isVisibleTo(self)
        needed = (self._controls if is_busy else self._outcome).sizeHint().width()
        title = self._title.fontMetrics().horizontalAdvance(self._title.text())
        needed += max(title + 2 * GAP, _LEAST_TITLE)
        self._place_buttons(is_narrow=self.width() < needed)

    def _place_buttons(self, *, is_narrow: bool) -> None:
        if is_narrow == self._is_narrow:
            return
        self._is_narrow = is_narrow
        self._grid.setRowMinimumHeight(4, GAP if is_narrow else 0)
        place = (5, 0, 1, 2) if is_narrow else (1, 1, 1, 1)
        side = Qt.AlignmentFlag.AlignLeft if is_narrow else Qt.AlignmentFlag.AlignRight
        for each in (self._controls, self._outcome):
            self._grid.addWidget(each, *place, side | Qt.AlignmentFlag.AlignTop)


class OutcomeButtons(QWidget):
    """The actions for a run that has ended; one button at most is green."""

    def __init__(self, head: RunHead, session: Session) -> None:
        super().__init__()
        self._run = RunState()  # the run shown
        self._gguf = ""  # its GGUF file, if it is on this computer
        self._resume = button("run_resume_button", head.resume_clicked)
        self._again = button("run_again_button", session.use_settings)
        gentler = partial(session.use_next_step, is_smaller=False)
        self._gentler = button("run_gentler_button", gentler)
        smaller = partial(session.use_next_step, is_smaller=True)
        self._smaller = button("run_smaller_button", smaller)
        self._open = button("run_folder_button", self._open_folder)
        self._copy = button("run_copy_button")
        self._menu = QMenu(self._copy)
        slots = {
            "copy_path_action": self._copy_path,
            "copy_modelfile_action": self._copy_modelfile,
        }
        self._actions = fill_menu(self._menu, slots)
        give_menu(self._copy, self._menu)
        _keep_room(self._copy, (tr("Copied"),))
        self._add = button("run_lm_studio_button")
        self._add.clicked.connect(lambda: head.lm_studio_clicked.emit(self._gguf))
        _keep_room(self._add, (_COPYING,))
        self._try = button("run_try_button", head.try_clicked)
        self._all = (
            *(self._resume, self._again, self._gentler, self._smaller),
            *(self._open, self._copy, self._add, self._try),
        )
        horizontal(self, *self._all)

    def show_state(self, state: AppState) -> None:
        """Show the buttons that make sense for the run in view."""
        run = state.shown_run
        is_done = run.status is Status.FINISHED and run.exported is not None
        is_broken = verdict_of_run(run) is Verdict.BROKEN
        can_resume = run.resumes_at is not None and run.status is not Status.FINISHED
        self._resume.setVisible(can_resume)
        self._again.setVisible(run.status in _FRUITLESS and run.config is not None)
        self._gentler.setVisible(is_done)
        self._smaller.setVisible(is_done and not is_broken)
        self._try.setVisible(is_done)
        self._copy.setVisible(is_done)
        gguf = "" if run.computer else bars.gguf_of(run, state.missing)
        if run is not self._run or gguf != self._gguf:
            self._run, self._gguf = run, gguf
            self._show_lm_studio(is_done=is_done)
        self._open.setVisible(run.has_folder and bool(run.folder))
        best = self._gentler if is_broken else self._try if is_done else self._resume
        for each in self._all:
            mark(each, "primary", each is best)
        busy = tr("Something else is in progress.") if state.is_busy else ""
        enable_unless(self._resume, busy)
        for each, is_smaller in ((self._gentler, False), (self._smaller, True)):
            obstacle = step_obstacle(run.config, is_smaller=is_smaller)
            enable_unless(each, obstacle)
        obstacle = sentence(checks.file_obstacle(state, run.exported))
        enable_unless(self._open, obstacle)
        enable_unless(self._copy, "" if gguf else obstacle)
        compared = models_of_run(run)
        missing = checks.first_missing(state, compared.original, compared.pruned)
        enable_unless(self._try, sentence(missing))
        self._actions["copy_path_action"].setEnabled(not obstacle)
        self._actions["copy_modelfile_action"].setEnabled(bool(gguf))

    def _show_lm_studio(self, *, is_done: bool) -> None:
        """Offer to copy the file where LM Studio is on this computer."""
        models = models_folder() if is_done and self._gguf else None
        self._add.setVisible(models is not None)
        tip = tr("Add the file to the models of LM Studio, in {folder}.")
        explained(self._add, tip.format(folder=models))

    def show_copying(self, *, is_copying: bool) -> None:
        """Show whether the file is being copied to LM Studio."""
        usual = CAPTIONS[self._add.objectName()].label
        self._add.setText(_COPYING if is_copying else usual)
        set_enabled(self._add, is_enabled=not is_copying)

    @Slot()
    def _open_folder(self) -> None:
        """Show the files, or the folder of the run without any, in the file manager."""
        run = self._run
        open_folder(run.folder if run.exported is None else run.exported.folder)

    @Slot()
    def _copy_path(self) -> None:
        if self._run.exported is not None:
            self._copy_text(bars.path_of(self._run.exported))

    @Slot()
    def _copy_modelfile(self) -> None:
        self._copy_text(f"FROM {self._gguf}")

    def _copy_text(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._copy.setText(tr("Copied"))
        usual = CAPTIONS[self._copy.objectName()].label
        QTimer.singleShot(_TOLD, self, lambda: self._copy.setText(usual))


def _keep_room(made: QPushButton, labels: tuple[str, ...]) -> None:
    """Make a button wide enough for each of its labels, so that nothing moves."""
    metrics = made.fontMetrics()
    texts = [text.replace("&", "") for text in (made.text(), *labels)]
    widest = max(metrics.horizontalAdvance(text) for text in texts)
    made.setMinimumWidth(widest + _SIDES)
