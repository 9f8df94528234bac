"""The main window: creates the places, connects them and shows the session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QEvent, QSize, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QMainWindow, QWidget
from shiboken6 import isValid
from typing_extensions import override

from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.paths import is_folder
from surgeon_gui.base.settings import Settings, default_run_parent
from surgeon_gui.base.theme import PAGE, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.computers import client_of
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.action_strip import run_controls
from surgeon_gui.state.app import AppState, only_run_progressed
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.sources.resolver import is_missing
from surgeon_gui.text import labels
from surgeon_gui.text.problems import Step, blocking, sentence
from surgeon_gui.views.bars import NoteBar, ResumeBar
from surgeon_gui.views.playground.view import PlaygroundView
from surgeon_gui.widgets.charts.chart_card import ChartCard, save_widget
from surgeon_gui.widgets.controls import neighbor_in_focus_chain
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.widgets.error_bar import ErrorBar
from surgeon_gui.widgets.layouts import PageArea, vertical
from surgeon_gui.window.closing import CloseQuestion
from surgeon_gui.window.computers import ComputersMenu
from surgeon_gui.window.desktop_integration import DesktopIntegration
from surgeon_gui.window.dropped_files import elsewhere, model_in, texts_in, unusable
from surgeon_gui.window.help_menu import HelpMenu
from surgeon_gui.window.log_view import LogView, WindowLog
from surgeon_gui.window.menus import Menus
from surgeon_gui.window.new_place import NewPlace
from surgeon_gui.window.places import Place, Places
from surgeon_gui.window.preferences import PreferencesMenu
from surgeon_gui.window.recent_menu import RecentMenu
from surgeon_gui.window.run_actions import RunActions
from surgeon_gui.window.runs_place import RunsPlace
from surgeon_gui.window.undo import UndoActions

_SIZE = (1440, 900)
_FRAME = QSize(8, 40)  # pixels for the title bar and the borders
_MIN_SIZE = (920, 560)  # half of a 4k screen at scale 2


class MainWindow(QMainWindow):
    """The main window. Shuts its engine down when it is closed."""

    closed = Signal()

    def __init__(
        self,
        engine: EngineThread,
        settings: Settings | None = None,
        run_parent: Path | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self._engine = engine
        self._drawn = AppState()  # the state at the last redraw
        self._disabled: QWidget | None = None  # the last that has lost the focus so
        self._is_closing = False
        parent = run_parent or Path(self.settings.run_parent or default_run_parent())
        # The folder of the settings may be another one: it can be an argument.
        self._initial_run_parent = str(parent)
        self._stored_run_parent = self.settings.run_parent
        computer = self.settings.computer if client_of(self.settings) else ""
        self.session = Session(
            engine,
            parent,
            self,
            pace=1.0 if computer else self.settings.pace,
            device=self.settings.device,
            computer=computer,
        )
        self.setObjectName("main_window")
        self.setWindowTitle(labels.APPLICATION)
        self.setAcceptDrops(True)
        self._menus = Menus(self)
        self._make_places()
        self.setCentralWidget(self.places)
        self._log = LogView(self)
        WindowLog(self).arrived.connect(self._log.append)
        self._help_menu = HelpMenu(
            self.session, self.settings, self._log, self._menus, self
        )
        self._undo_actions = UndoActions(self.session, self._menus.actions, self)
        queue = self.runs.queue.controller
        self._close_question = CloseQuestion(self.session, queue, self)
        self._desktop_integration = DesktopIntegration(self.session, queue, self)
        self._run_actions = RunActions(self.session, queue, self, self.start_run)
        self._connect_controls()
        self._connect_menus()
        self.places.open(Place.NEW)
        self.setFocus()  # the first input would hide its placeholder
        self._reset_size()
        if not self.settings.geometry.isEmpty():
            self.restoreGeometry(self.settings.geometry)
        self._redraw()

    # Used by scripts

    def restore_last_session(self) -> None:
        """Load the job and open the run that were there when the window was closed."""
        with contextlib.suppress(ConfigError):  # from another version
            config = config_from_toml(self.settings.job)
            is_here = self.session.state.computer or not is_missing(config.model.source)
            if self.settings.job and is_here:
                self.session.draft.restore(config)
        if self.settings.open_run and is_folder(self.settings.open_run):
            self.runs.open_run(Path(self.settings.open_run))

    def start_run(self, folder: Path | None = None) -> None:
        """Start a run of the current job in `folder`, or in a new folder."""
        self.session.start_run(folder, self.new.expected)

    def save_charts(self, folder: Path) -> None:
        """Save an image of each chart of the run in `folder`."""
        run = self.session.state.shown_run
        self.runs.page.save_charts(run, time.time(), folder)

    @Slot()
    def remember(self) -> None:
        """Put into the settings what is to be there at the next start."""
        self.settings.geometry = self.saveGeometry()
        state = self.session.state
        is_chosen = state.model_is_chosen
        self.settings.job = config_to_toml(state.config) if is_chosen else ""
        shown = state.shown_run
        self.settings.open_run = "" if shown.computer else shown.folder
        if Step.RUN not in state.problems:
            is_initial = state.run_parent == self._initial_run_parent
            stored = self._stored_run_parent if is_initial else state.run_parent
            self.settings.run_parent = stored

    @Slot()
    def close_without_question(self) -> None:
        """Close as after a question: what is in progress here is cancelled."""
        if self._close_question.is_needed:
            self._close_question.discard()
        else:
            self.close()

    @Slot(object)
    def show_problem(self, problem: Failed) -> None:
        """Show an error in the bar below the page, unless it is shown there."""
        shown = self.session.state.notice
        if shown is None or shown.message != problem.message:
            self.session.store.show_problem(problem)

    # Qt events

    @override
    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.WindowActivate:
            # Another program may have changed the files of the draft or of a run.
            self.session.draft.recheck()
        return super().event(event)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if self._close_question.is_needed and not self._is_closing:
            event.ignore()
            self._close_question.ask()
            return
        self.remember()
        self._computers.finish()
        self._engine.shut_down()
        self.new.model_card.sample_download.cancel()
        self._help_menu.finish_writing()
        self._run_actions.finish()
        self.runs.finish()
        self.closed.emit()
        event.accept()

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().urls():
            self.new.show_drag(is_over=True)
            event.acceptProposedAction()

    @override
    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.new.show_drag(is_over=False)
        super().dragLeaveEvent(event)

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self.new.show_drag(is_over=False)
        urls = event.mimeData().urls()
        if computer := self.session.state.computer:
            self.session.store.show_problem(elsewhere(computer))
        elif model := model_in(urls):
            self.settings.remember_folder_of(model)
            self.session.draft.choose_model(model)
            self.places.open(Place.NEW)
        elif texts := texts_in(urls):
            self.session.draft.choose_texts(texts)
            self.places.open(Place.NEW)
        else:
            self.session.store.show_problem(unusable(urls))
        event.acceptProposedAction()

    @override
    def focusNextPrevChild(self, next: bool) -> bool:
        """Move the focus for Tab, but not when the widget that has it is disabled.

        Qt would move it to the next widget, which may be in another group. So nothing
        has it until Tab goes on from there.
        """
        focused = self.focusWidget()
        if focused and not focused.isEnabled():
            self._disabled = focused
            return False
        if not focused and self._disabled is not None:
            if isValid(self._disabled):
                neighbor_in_focus_chain(self._disabled, is_next=next).setFocus(
                    Qt.FocusReason.TabFocusReason
                )
                return True
            self._disabled = None
        return super().focusNextPrevChild(next)

    # Construction

    def _make_places(self) -> None:
        actions = self._menus.actions
        runs = RunsController(self.session)
        self.new = NewPlace(self.session, self.settings, runs, actions)
        of_new = (self.new.question, self.new.layers)
        self.runs = RunsPlace(self.session, runs, actions, *of_new, self)
        self._playground = Playground(self.session)
        self._error_bar = ErrorBar()
        self._computers = ComputersMenu(self.session, self.settings, actions, self)
        resume = ResumeBar(self.session, runs)
        self._note_bar = NoteBar()
        bars = (
            *(self._error_bar, self._note_bar, self._computers.bar),
            *(resume, self.runs.queue.bar),
        )
        playground = QWidget()
        view, margin = PlaygroundView(self._playground), (PAGE, ROOM, PAGE, ROOM)
        column = vertical(playground, view, margin=margin)
        widgets = {
            Place.NEW: self.new,
            Place.RUNS: self.runs,
            Place.PLAYGROUND: PageArea(playground, column),
        }
        self.places = Places(actions, widgets, bars)

    @Slot(object, bool)
    def _on_place_chosen(self, place: Place, was_open: bool) -> None:
        if place is Place.NEW:
            self.new.show_page()
        elif place is Place.RUNS and was_open:
            self.runs.show_home()

    def _connect_controls(self) -> None:
        head, details = self.runs.page.head, self.runs.page.details
        actions = self._run_actions
        self.session.changed.connect(self._redraw)
        self.session.events_arrived.connect(self._on_events_arrived)
        self._desktop_integration.noted.connect(self._log.note)
        head.cancel_asked.connect(actions.cancel)
        head.try_clicked.connect(self._on_try_clicked)
        self.session.job_reused.connect(partial(self.places.open, Place.NEW))
        details.discard_clicked.connect(self._on_discard_clicked)
        details.save.saved.connect(self._note_bar.show_note)
        head.lm_studio_clicked.connect(actions.add_to_lm_studio)
        actions.copying.connect(lambda now: head.show_copying(is_copying=now))
        self.session.store.noted.connect(self._on_saved)
        self._log.saved.connect(self._on_saved)
        actions.started.connect(self.runs.runs.forget_opening)
        actions.started.connect(self.runs.show_run)
        self.runs.asked_to_open.connect(partial(self.places.open, Place.RUNS))
        self.runs.home.new_clicked.connect(partial(self.places.open, Place.NEW))
        self.places.chosen.connect(self._on_place_chosen)
        for left in (self.places.left, self.runs.currentChanged):
            left.connect(self._note_bar.hide)
        self.new.asked_to_open.connect(partial(self.places.open, Place.NEW))
        self._error_bar.dismissed.connect(self.session.dismiss_problem)
        for chart in self.findChildren(ChartCard):
            chart.save_failed.connect(self._on_save_failed)
            chart.saved.connect(self._on_saved)
        self._log.save_failed.connect(self._on_save_failed)
        self._close_question.may_close.connect(self._on_may_close)

    def _connect_menus(self) -> None:
        slots: dict[str, Callable[..., object]] = {
            "save_picture_action": self._on_save_picture_triggered,
            "quit_action": self.close,
            "start_action": self._run_actions.start,
            "pause_action": self.session.pause_or_resume,
            "stop_action": self.session.stop_and_keep,
            "cancel_action": self._run_actions.cancel,
            "log_action": self._log.show_on_top,
        }
        for place in Place:
            name = f"go_{place.value}_action"
            slots[name] = partial(self.places.choose, place)
        self._menus.connect_slots(slots)
        preferences = PreferencesMenu(
            self.session, self.settings, self._desktop_integration, self._menus, self
        )
        preferences.offline_changed.connect(self.new.model_card.show_sample)
        preferences.noted.connect(self._note_bar.show_note)
        RecentMenu(
            self._menus.recent, self.settings, self.session, self.runs.runs, self.new
        )
        self._computers.controller.fetched.connect(self._on_run_fetched)

    def _reset_size(self) -> None:
        # Its buttons must not lie beyond the edge of a small screen.
        available = self.screen().availableGeometry().size() - _FRAME
        self.setMinimumSize(QSize(*_MIN_SIZE).boundedTo(available))
        self.resize(QSize(*_SIZE).boundedTo(available))

    # Reactions to the session and to controls

    @Slot()
    def _redraw(self) -> None:
        state, now = self.session.state, time.time()
        obstacle = self.session.start_obstacle()
        add_obstacle = sentence(self.runs.queue.controller.add_obstacle())
        if not only_run_progressed(self._drawn, state):
            self.new.show_state(state, obstacle, add_obstacle)
            self._computers.redraw()
            self.places.show_computer(state.computer or tr("This computer"))
        if state.notice is not None and state.notice is not self._drawn.notice:
            self._note_bar.hide()  # it was about an earlier action
        self._drawn = state
        self.runs.show_state(state, now)
        is_running = state.run.status.is_busy
        self.places.show_progress(state.run.progress if is_running else None)
        self.runs.queue.redraw()
        controls = run_controls(state.active_run, is_behind=state.is_behind)
        self._menus.show_controls(controls)
        actions = self._menus.actions
        actions["start_action"].setEnabled(not blocking(obstacle))
        actions["save_job_action"].setEnabled(state.model_is_chosen)
        self._error_bar.show_problem(state.notice)

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        self._log.append(log_lines(batch))

    @Slot(str)
    def _on_run_fetched(self, folder: str) -> None:
        self._log.note(tr("The run was copied to {folder}.").format(folder=folder))
        self.runs.runs.refresh()
        self.runs.show_home()

    @Slot()
    def _on_try_clicked(self) -> None:
        self.places.open(Place.PLAYGROUND)
        self._playground.use_run()
        self._playground.generate()

    @Slot()
    def _on_discard_clicked(self) -> None:
        self.runs.home.ask_to_delete(self.session.state.shown_run.folder)

    @Slot(str)
    def _on_save_failed(self, message: str) -> None:
        self.show_problem(Failed(message, tr("Choose a folder that you may write to.")))

    @Slot(str, str)
    def _on_saved(self, text: str, path: str) -> None:
        self._log.note(text)
        self._note_bar.show_note(text, path)

    @Slot()
    def _on_may_close(self) -> None:
        self._is_closing = True
        self.close()

    @Slot()
    def _on_save_picture_triggered(self) -> None:
        title = tr("Save a picture of the window")
        ask_new_file(self, title, "surgeon.png", self._on_picture_file_selected)

    @Slot(str)
    def _on_picture_file_selected(self, path: str) -> None:
        try:
            save_widget(self, Path(path))
        except OSError as error:
            self._on_save_failed(
                tr("The picture cannot be written: {error}.").format(error=error)
            )
            return
        text = tr("The picture was saved to {path}.").format(path=path)
        self._on_saved(text, path)
