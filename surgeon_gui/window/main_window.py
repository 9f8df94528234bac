"""The main window: creates the widgets, connects them and shows the session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.paths import is_folder
from surgeon_gui.base.settings import Settings, default_run_parent
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.computers import client_of
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state import result_text
from surgeon_gui.state.action_strip import active_task, run_controls
from surgeon_gui.state.app import AppState, only_run_progressed, settings_in_view
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import phase_with_advice
from surgeon_gui.state.sources.resolver import is_missing
from surgeon_gui.state.sources.samples import smollm2
from surgeon_gui.state.step_text import plan_or_hint
from surgeon_gui.text.problems import RESOURCES, Step, sentence
from surgeon_gui.views.playground.view import PlaygroundView
from surgeon_gui.views.run.page import RunPage as RunView
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.views.steps.export_page import ExportPage
from surgeon_gui.views.steps.model_page import ModelPage
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.run_page import RunPage
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.views.steps.target_page import TargetPage
from surgeon_gui.widgets.charts.chart_card import ChartCard, save_widget
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.widgets.error_bar import ErrorBar
from surgeon_gui.widgets.layouts import add_parts, vertical
from surgeon_gui.window.action_strip import ActionStrip
from surgeon_gui.window.analysis_tabs import AnalysisTabs
from surgeon_gui.window.central_tabs import CentralTabs
from surgeon_gui.window.closing import CloseQuestion
from surgeon_gui.window.computers import ComputersMenu
from surgeon_gui.window.desktop_integration import DesktopIntegration
from surgeon_gui.window.docks import DockPlacement
from surgeon_gui.window.dropped_files import elsewhere, model_in, text_in, unusable
from surgeon_gui.window.empty_state import EmptyState
from surgeon_gui.window.frame import WindowFrame
from surgeon_gui.window.help_menu import HelpMenu
from surgeon_gui.window.history import History
from surgeon_gui.window.log_view import LogView, WindowLog
from surgeon_gui.window.menus import Menus, NavigationMenu
from surgeon_gui.window.preferences import PreferencesMenu
from surgeon_gui.window.recent_menu import RecentMenu
from surgeon_gui.window.run_actions import RunActions
from surgeon_gui.window.undo import UndoActions

_LOG_PLACEMENT = DockPlacement(
    Qt.DockWidgetArea.BottomDockWidgetArea, size=150, is_shown=False
)


class MainWindow(WindowFrame):
    """The main window. Shuts its engine down when it is closed."""

    _drawn = AppState()  # the state at the last redraw
    run_ended = Signal(object)  # RunState
    closed = Signal()

    def __init__(
        self,
        engine: EngineThread,
        settings: Settings | None = None,
        run_parent: Path | None = None,
    ) -> None:
        super().__init__(settings or Settings())
        self._engine = engine
        parent = run_parent or Path(self.settings.run_parent or default_run_parent())
        self._initial_run_parent = str(parent)
        self.session = Session(
            engine,
            parent,
            self,
            pace=self.settings.pace,
            device=self.settings.device,
            computer=self.settings.computer if client_of(self.settings) else "",
        )
        self._is_closing = False
        self._menus = Menus(self)
        self._model_page = ModelPage(self.session, self.settings)
        self._calibration_page = CalibrationPage(self.session)
        self._target_page = TargetPage(self.session)
        self._run_page = RunPage(self.session)
        self._export_page = ExportPage(self.session)
        pages: tuple[Page, ...] = (
            *(self._model_page, self._calibration_page, self._target_page),
            *(self._run_page, self._export_page),
        )
        self._steps = StepPanel({page.step: page for page in pages})
        self._pages = pages
        self._error_bar = ErrorBar()
        self._empty_state = EmptyState(self._menus.actions)
        self._tabs = CentralTabs(self._empty_state)
        self._playground = Playground(self.session)
        self._log = LogView()
        WindowLog(self).arrived.connect(self._log.append_line)
        self._help_menu = HelpMenu(self.session, self.settings, self._log, self)
        self._strip = ActionStrip(self._menus.actions)
        self._history = History(self.session, self)
        self._undo_actions = UndoActions(self.session, self._menus.actions, self)
        self._close_question = CloseQuestion(self.session, self._queue, self)
        self._desktop_integration = DesktopIntegration(self.session, self._queue, self)
        self._run_actions = RunActions(
            self.session, self._steps, self._tabs, self._playground, self
        )
        self._lay_out()
        self._connect_session()
        self._connect_controls()
        self._connect_menus()
        self._steps.open(Step.MODEL)
        self.setFocus()  # the first input would hide its placeholder
        self.restore()
        self._redraw()

    @property
    def _queue(self) -> QueueController:
        return self._history.queue.controller

    # Used by scripts

    def load_config(self, config: RunConfig) -> None:
        """Load a job from a config."""
        self.session.draft.load(config)

    def load_job(self, path: Path) -> None:
        """Load a job from a file."""
        self._run_page.load_job(str(path))

    def restore_last_session(self) -> None:
        """Load the job and open the run that were there when the window was closed."""
        with contextlib.suppress(ConfigError):  # from another version
            config = config_from_toml(self.settings.job)
            is_here = self.session.state.computer or not is_missing(config.model.source)
            if self.settings.job and is_here:
                self.session.draft.load(config)
        if self.settings.open_run and is_folder(self.settings.open_run):
            self.open_run(Path(self.settings.open_run))

    def choose_model(self, source: str) -> None:
        """Choose a model by its path, its name on the Hub, or "demo"."""
        self.session.draft.choose_model(source)

    def open_run(self, folder: Path) -> None:
        """Open the run in `folder` and show its charts."""
        self._history.open_run(folder)

    def start_run(self, folder: Path | None = None) -> None:
        """Start a run of the current job in `folder`, or in a new folder."""
        self.session.start_run(folder)

    def open_step(self, step: Step) -> None:
        """Open the page of a step."""
        self._steps.open(step)

    def save_picture(self, path: Path) -> None:
        """Save an image of the window."""
        save_widget(self, path)

    def save_charts(self, folder: Path) -> None:
        """Save an image of each chart in `folder`."""
        self._view.show_all_charts(self.session.state.shown_run, time.time())
        for name, chart in self._view.charts.items():
            if name != "recovery" or not chart.is_empty:  # not every run has one
                chart.save_picture(folder / f"{name}.png")

    @Slot()
    def close_without_question(self) -> None:
        """Close as after a question: what is in progress here is cancelled."""
        if self._close_question.is_needed:
            self._close_question.discard()
        else:
            self.close()

    @Slot(object)
    def show_problem(self, problem: Failed) -> None:
        """Show an error in the bar above the tabs."""
        self.session.store.show_problem(problem)

    # Qt events

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if self._close_question.is_needed and not self._is_closing:
            event.ignore()
            self._close_question.ask()
            return
        self.remember()
        state = self.session.state
        is_chosen = state.model_is_chosen
        self.settings.job = config_to_toml(state.config) if is_chosen else ""
        shown = state.shown_run
        self.settings.open_run = "" if shown.computer else shown.folder
        if self.session.state.run_parent != self._initial_run_parent:
            self.settings.run_parent = self.session.state.run_parent
        self._computers.finish()
        self._engine.shut_down()
        self._model_page.sample_download.cancel()
        self._help_menu.finish_writing()
        self._history.finish()
        self.closed.emit()
        event.accept()

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().urls():
            self._empty_state.show_drag(is_over=True)
            event.acceptProposedAction()

    @override
    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._empty_state.show_drag(is_over=False)
        super().dragLeaveEvent(event)

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self._empty_state.show_drag(is_over=False)
        urls = event.mimeData().urls()
        if computer := self.session.state.computer:
            self.session.store.show_problem(elsewhere(computer))
        elif model := model_in(urls):
            self.session.draft.choose_model(model)
        elif text_file := text_in(urls):
            self._calibration_page.choose_text(text_file)
            self._steps.open(Step.CALIBRATION)
        else:
            self.session.store.show_problem(unusable(urls))
        event.acceptProposedAction()

    # Construction

    def _lay_out(self) -> None:
        self._computers = ComputersMenu(
            self.session, self.settings, self._menus.actions, self
        )
        right = QWidget()
        bars = (self._history.resume_bar, self._history.queue.bar, self._history.bar)
        margin = (GAP, MARGIN, MARGIN, MARGIN)
        column = vertical(right, self._error_bar, self._computers.bar, margin=margin)
        add_parts(column, *bars, self._help_menu.hint, (self._tabs, 1))
        row, question = self._history.report_row, self._export_page.question
        self._view = RunView(self.session, row, question)
        self._history.runs.replace_asked.connect(question.ask_about)
        self._tabs.add_tab("live_tab", self._view)
        self._analysis_tabs = AnalysisTabs(self.session, self._tabs, self._target_page)
        self._history.add_tab(self._tabs, self._menus.actions)
        self._tabs.add_tab("playground_tab", PlaygroundView(self._playground))
        self.place(self._steps, right, self._tabs)
        # In the order in which Tab goes through the window.
        self._runs_dock = self._history.add_dock(self._docks, self._menus.actions)
        self.keep_room_beside(self._runs_dock)
        self._docks.add("log_dock", self._log, _LOG_PLACEMENT)
        self.statusBar().addPermanentWidget(self._strip, 1)

    def _connect_session(self) -> None:
        self.session.changed.connect(self._redraw)
        self.session.events_arrived.connect(self._on_events_arrived)
        self._desktop_integration.logged.connect(self._on_events_arrived)
        self.session.run_ended.connect(self._on_run_ended)

    def _connect_controls(self) -> None:
        view, actions = self._view, self._run_actions
        view.pause_clicked.connect(self.session.pause_or_resume)
        view.stop_clicked.connect(self.session.stop_and_keep)
        view.cancel_asked.connect(actions.cancel)
        view.resume_clicked.connect(self._on_resume_clicked)
        view.try_clicked.connect(actions.try_out)
        view.smaller_clicked.connect(partial(actions.prepare_next, is_smaller=True))
        view.gentler_clicked.connect(partial(actions.prepare_next, is_smaller=False))
        view.discard_clicked.connect(self._on_discard_clicked)
        view.layers_clicked.connect(partial(self._tabs.open_tab, "architecture_tab"))
        view.back_clicked.connect(self._on_back_clicked)
        self._docks.connect_toggle("log_dock", self._strip.log_button)
        self._docks.connect_toggle("runs_dock", self._strip.runs_button)
        self._error_bar.dismissed.connect(self.session.dismiss_problem)
        self._empty_state.sample_clicked.connect(self._on_sample_clicked)
        self._model_page.sample_download.changed.connect(self._on_sample_changed)
        self._empty_state.source_chosen.connect(self._model_page.choose)
        for chart in self.findChildren(ChartCard):
            chart.save_failed.connect(self._on_save_failed)
        # The step that has most of the settings.
        self._history.runs.duplicated.connect(partial(self._steps.open, Step.TARGET))
        self._help_menu.bundle_written.connect(self._show_log)
        self._log.save_failed.connect(self._on_save_failed)
        self._close_question.may_close.connect(self._on_may_close)

    def _connect_menus(self) -> None:
        slots: dict[str, Callable[..., object]] = {
            "open_folder_action": self._model_page.ask_for_folder,
            "open_gguf_action": self._model_page.ask_for_gguf,
            "use_demo_action": self._on_demo_clicked,
            "load_job_action": self._run_page.ask_for_job,
            "save_job_action": self._run_page.ask_where_to_save_job,
            "save_picture_action": self._on_save_picture_triggered,
            "quit_action": self.close,
            "start_action": self._run_actions.start,
            "pause_action": self.session.pause_or_resume,
            "stop_action": self.session.stop_and_keep,
            "cancel_action": self._run_actions.cancel,
            "reset_layout_action": self.reset_layout,
        }
        self._menus.connect_slots(slots)
        self._docks.connect_toggle("log_dock", self._menus.actions["log_action"])
        self._help_menu.connect_menus(self._menus)
        NavigationMenu(self._menus.navigation, self._steps, self._tabs, self)
        preferences = PreferencesMenu(
            self.session, self.settings, self._desktop_integration, self._menus, self
        )
        preferences.offline_changed.connect(self._model_page.show_sample)
        preferences.offline_changed.connect(self._on_sample_changed)
        recent = RecentMenu(
            self._menus.recent, self.settings, self.session, self._history.runs, self
        )
        recent.cleared.connect(self.session.draft.recheck)
        recent.job_chosen.connect(self._run_page.load_job)
        recent.run_chosen.connect(self._history.runs.reopen)
        recent.model_chosen.connect(self._model_page.choose)
        self._run_page.job_used.connect(recent.remember_job)
        self._computers.fetched.connect(self._on_run_fetched)
        self._model_page.computers_clicked.connect(self._computers.show_dialog)

    # Reactions to the session and to controls

    @Slot()
    def _redraw(self) -> None:
        state, now = self.session.state, time.time()
        obstacle = self.session.start_obstacle()
        settings = settings_in_view(state)
        self._steps.show_state(settings)
        if only_run_progressed(self._drawn, state):
            self._run_page.show_state(settings)  # the others use only its status
        else:
            for page in self._pages:
                page.show_state(settings)
        self._drawn = state
        has_views = state.model_is_chosen or state.shows_run
        self._tabs.show_tabs(has_views or self._history.has_comparison)
        self._computers.redraw()
        self._model_page.show_openers(self._tabs.shows_tabs)
        self._empty_state.show_recent(self.settings.recent_models)
        self._empty_state.show_computer(state.computer)
        self._view.show_state(state, now)
        plan = plan_or_hint(state, obstacle, is_brief=True)
        self._strip.show_plan(plan, plan_or_hint(state, obstacle))
        self._history.queue.redraw()
        controls = run_controls(
            state.active_run, sentence(obstacle), sentence(self._queue.add_obstacle())
        )
        phase = phase_with_advice(state)
        self._strip.show_run(state.active_run, phase, controls, now)
        self._strip.show_task(active_task(state))
        self._menus.show_controls(controls)
        self._menus.actions["save_job_action"].setEnabled(state.model_is_chosen)
        # Another obstacle matters more than the resources.
        shows_check = obstacle is None or obstacle.kind in RESOURCES
        self._strip.show_resource_check(state.resource_check if shows_check else None)
        self._error_bar.show_problem(state.notice)

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        self._log.append(log_lines(batch))

    @Slot(str)
    def _on_run_fetched(self, folder: str) -> None:
        self._log.note(tr("The run was copied to {folder}.").format(folder=folder))
        self._history.runs.refresh()
        self._runs_dock.show()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        if result_text.has_result(run) and not self._queue.holds(run):
            self._tabs.open_at_top("live_tab")
        self.run_ended.emit(run)

    @Slot()
    def _on_demo_clicked(self) -> None:
        self.session.draft.load(self.session.draft.new_config())

    @Slot()
    def _on_sample_clicked(self) -> None:
        source = "" if self.session.state.computer else smollm2()
        if source:
            self.session.draft.load(self.session.draft.new_config(source))
        else:
            self._model_page.use_sample()

    @Slot()
    def _on_discard_clicked(self) -> None:
        self._history.ask_to_delete(self.session.state.shown_run.folder)

    @Slot()
    def _on_resume_clicked(self) -> None:
        self._history.runs.resume(self.session.state.shown_run.folder)

    @Slot()
    def _on_back_clicked(self) -> None:
        self._runs_dock.show()

    @Slot()
    def _on_sample_changed(self) -> None:
        is_busy = self._model_page.sample_download.is_busy
        self._empty_state.show_sample(is_busy=is_busy)

    @Slot()
    def _show_log(self) -> None:
        self._strip.log_button.setChecked(True)

    @Slot(str)
    def _on_save_failed(self, message: str) -> None:
        self.show_problem(Failed(message, tr("Choose a folder that you may write to.")))

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
            self.save_picture(Path(path))
        except OSError as error:
            self._on_save_failed(
                tr("The picture cannot be written: {error}.").format(error=error)
            )
            return
        self._log.note(tr("The picture was saved to {path}.").format(path=path))
        self._show_log()
