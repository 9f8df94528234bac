"""The dialog of the computers: the list, the connection, and the runs there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFormLayout, QLineEdit, QSizePolicy, QWidget

from surgeon_engine.api.messages.events import EngineStarted, Failed
from surgeon_engine.api.messages.files import RunsListed
from surgeon_engine.base.ssh import DEFAULT_COMMAND
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.computers import ComputersController
from surgeon_gui.state import computers as text
from surgeon_gui.state.app import Engine
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text import numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    button,
    described,
    enable_unless,
    heading,
    line_label,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import STRETCH, answer_row, in_row, row_of, vertical
from surgeon_gui.widgets.object_list import ObjectList
from surgeon_gui.widgets.progress import ProgressBar

_SIZE = (720, 640)
_LIST_HEIGHT = 130
_ABOUT_LINES = 3  # lines reserved for the text about the connection


class ComputersDialog(Dialog):
    """Adds and chooses computers; lists the runs of the one in use."""

    def __init__(self, computers: ComputersController, parent: QWidget) -> None:
        super().__init__("computers_dialog", tr("Computers"), parent, _SIZE)
        self._computers, self._session = computers, computers.session
        self._listed_on: EngineStarted | None = None  # whose runs were listed
        self._shown_computers: list[tuple[str, str, str]] = []
        self._shown_runs: RunsListed | None = None
        self._make_list()
        self._make_form()
        self._make_runs()
        self._lay_out()
        computers.changed.connect(self._show)
        self._session.changed.connect(self._show)
        self._show()

    def _make_list(self) -> None:
        self._list = ObjectList("computers_list", tr("Computer"), tr("Status"))
        self._list.itemSelectionChanged.connect(self._show_buttons)
        self._list.setMaximumHeight(_LIST_HEIGHT)
        self._use = button("computers_use_button", self._on_use_clicked, primary=True)
        self._remove = button("computers_remove_button", self._on_remove_clicked)
        self._obstacle = text_label(quiet=True, name="computers_obstacle_label")
        self._machine = text_label(quiet=True, name="computers_machine_label")
        self._connection = problem_label("computers_connection_label")
        self._again = button("computers_again_button", self._session.reconnect)

    def _make_form(self) -> None:
        self._host = described(QLineEdit(), "computers_host_edit")
        self._host.setPlaceholderText(tr("user@host"))
        self._command = described(QLineEdit(), "computers_command_edit")
        self._command.setPlaceholderText(DEFAULT_COMMAND)
        self._form = QFormLayout()
        self._form.setSpacing(GAP)
        for edit in (self._host, self._command):
            self._form.addRow(line_label(CAPTIONS[edit.objectName()].label), edit)
        # Beside its button it keeps its room, and nothing moves.
        self._problem = problem_label("computers_problem")
        self._problem.show()
        self._add = button("computers_add_button", self._on_add_clicked)

    def _make_runs(self) -> None:
        titles = (tr("Run"), tr("Status"), tr("Last change"), tr("Size"))
        self._runs_title = heading(tr("Runs there"))
        self._runs = ObjectList("computers_runs_list", *titles, numbers=(3,))
        self._runs.itemSelectionChanged.connect(self._show_buttons)
        self._note = text_label(quiet=True, name="computers_runs_note")
        self._bar = ProgressBar("computers_fetch_bar", tr("Copied part of the run"))
        slots: dict[str, Callable[..., object]] = {
            "refresh": self._computers.list_runs,
            "fetch": partial(self._fetch_run, True),
            "fetch_small": partial(self._fetch_run, False),
            "resume": self._on_resume_clicked,
            "cancel": self._computers.cancel_fetch,
        }
        self._buttons = {
            name: button(f"computers_{name}_button", slot)
            for name, slot in slots.items()
        }

    def _lay_out(self) -> None:
        needs = tr(
            "Surgeon must be installed there, in the same version, and ssh must reach "
            "the computer without a password."
        )
        about = QWidget()
        vertical(about, self._machine, self._connection, STRETCH)
        about.setMinimumHeight(_ABOUT_LINES * self.fontMetrics().lineSpacing())
        about.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        vertical(
            self,
            self._list,
            in_row(self._use, self._remove, self._again, (self._obstacle, 1)),
            about,
            heading(tr("Add a computer")),
            text_label(needs, quiet=True),
            self._form,
            in_row(self._add, (self._problem, 1)),
            self._runs_title,
            (self._runs, 1),
            self._note,
            self._bar,
            row_of(*self._buttons.values()),
            STRETCH,  # where no runs are shown
            answer_row(button("computers_close_button", self.accept)),
            margin=MARGIN,
        )
        self.leave_enter_alone()
        self._add.setDefault(True)

    # the state

    @Slot()
    def _show(self) -> None:
        state = self._session.state
        self._show_computers()
        show_text(self._machine, text.machine_text(state))
        show_text(self._connection, text.connection_problem(state))
        self._again.setVisible(text.can_reconnect(state))
        is_ready = bool(state.computer) and state.engine is Engine.READY
        if is_ready and state.is_connected and state.started is not self._listed_on:
            self._listed_on = state.started
            self._computers.list_runs()
        names = ("refresh", "fetch", "fetch_small", "resume")
        buttons = (self._buttons[name] for name in names)
        for widget in (self._runs_title, self._runs, self._note, *buttons):
            widget.setVisible(bool(state.computer))
        self._show_runs()
        self._show_buttons()

    def _show_computers(self) -> None:
        state = self._session.state
        names = {"": tr("This computer")}
        names |= {each.host: each.host for each in self._computers.computers}
        rows = [(x, name, text.computer_status(state, x)) for x, name in names.items()]
        if rows == self._shown_computers:
            return
        is_first, self._shown_computers = not self._shown_computers, rows
        with self._list.refilled():
            for host, *cells in rows:
                self._list.add_row(cells, host, host)
            if is_first:
                self._list.select(state.computer)

    def _show_runs(self) -> None:
        state = self._session.state
        request = state.request(RequestKind.RUNS)
        listed: RunsListed | None = request.response
        if listed is not self._shown_runs:
            self._shown_runs = listed
            self._runs.clear()
            for run in listed.runs if listed is not None else ():
                self._runs.add_row(text.run_row(run), run, run.folder)
        self._note.setText(self._runs_note(request.error))
        fetching = self._computers.fetching
        self._bar.setVisible(fetching is not None)
        self._buttons["cancel"].setVisible(fetching is not None)
        if fetching is not None:
            share = self._computers.fetched_bytes / max(1, fetching.bytes)
            self._bar.show_share(min(1.0, share))

    def _runs_note(self, error: Failed | None) -> str:
        fetching, listed = self._computers.fetching, self._shown_runs
        if fetching is not None:
            return tr("Copying {name}: {done} of {total}").format(
                name=fetching.name,
                done=numbers.size(self._computers.fetched_bytes),
                total=numbers.size(fetching.bytes),
            )
        if error is not None:
            return f"{error.message} {error.hint}".strip()
        if listed is None:
            return text.connection_wait(self._session.state)
        if self._computers.fetch_note:
            return self._computers.fetch_note
        note = tr("Runs in {folder}").format(folder=listed.folder)
        if listed.omitted:
            more = tr("{n} older ones are not shown.").format(n=listed.omitted)
            note = f"{note}. {more}"
        return note

    @Slot()
    def _show_buttons(self) -> None:
        state, host = self._session.state, self._list.current
        choose = tr("Select a computer.")
        obstacle = choose if host is None else self._computers.use_obstacle(host)
        enable_unless(self._use, obstacle)
        self._obstacle.setText("" if host == state.computer else obstacle)
        obstacle = "" if host else tr("Select another computer.")
        if host and host == state.computer:
            obstacle = tr("It is in use. Choose This computer first.")
        enable_unless(self._remove, obstacle)
        run = self._runs.current
        offline = "" if state.is_connected else tr("There is no connection.")
        enable_unless(self._buttons["refresh"], offline)
        busy = tr("A run is being copied.") if self._computers.fetching else ""
        obstacle = text.fetch_obstacle(run) or busy
        for name in ("fetch", "fetch_small"):
            enable_unless(self._buttons[name], obstacle)
        obstacle = offline or text.resume_obstacle(run, state)
        enable_unless(self._buttons["resume"], obstacle)

    # what the user does

    @Slot()
    def _on_use_clicked(self) -> None:
        if (host := self._list.current) is not None:
            self._computers.use(host)

    @Slot()
    def _on_remove_clicked(self) -> None:
        if host := self._list.current:
            self._computers.remove(host)

    @Slot()
    def _on_add_clicked(self) -> None:
        host = self._host.text()
        problem = self._computers.add(host, self._command.text())
        self._problem.setText(problem)
        if problem:
            return
        self._host.clear()
        self._command.clear()
        self._list.select(host.strip())
        self._list.setFocus()

    def _fetch_run(self, with_model: bool) -> None:
        if (run := self._runs.current) is not None:
            self._computers.fetch(run, with_model=with_model)

    @Slot()
    def _on_resume_clicked(self) -> None:
        if (run := self._runs.current) is not None:
            self._computers.resume(run)
            self.accept()
