"""The window: it puts steps, charts, log and strip together and draws the session."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QMainWindow,
    QVBoxLayout,
    QWidget,
)

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.settings import Settings, ThemeChoice, default_run_parent
from surgeon_gui.base.theme import GAP, MARGIN, apply_theme
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.active_task import active_task
from surgeon_gui.state.app import Step
from surgeon_gui.state.job import resource_text as fits
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_controls import run_controls
from surgeon_gui.state.sources.samples import smollm2
from surgeon_gui.state.step_text import plan_or_invitation
from surgeon_gui.text import labels
from surgeon_gui.views.live.live_view import LiveView
from surgeon_gui.views.playground.view import PlaygroundView
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.views.steps.export_page import ExportPage
from surgeon_gui.views.steps.model_page import ModelPage
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.run_page import RunPage
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.views.steps.target_page import TargetPage
from surgeon_gui.widgets.charts.chart_card import save_widget
from surgeon_gui.widgets.controls import finish_typing
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.widgets.error_bar import ErrorBar
from surgeon_gui.window.action_strip import ActionStrip
from surgeon_gui.window.analysis_tabs import AnalysisTabs
from surgeon_gui.window.central_tabs import Centre
from surgeon_gui.window.closing import CloseQuestion
from surgeon_gui.window.desktop_integration import DesktopIntegration
from surgeon_gui.window.docks import DockArea, Docks
from surgeon_gui.window.dropped_files import model_in, text_in
from surgeon_gui.window.empty_state import EmptyState
from surgeon_gui.window.help_menu import HelpMenu
from surgeon_gui.window.history import History
from surgeon_gui.window.log_view import LogView
from surgeon_gui.window.menus import Menus
from surgeon_gui.window.navigation import NavigationMenu
from surgeon_gui.window.undo import UndoActions
from surgeon_gui.window.window_log import WindowLog

_SIZE = (1360, 860)
_MIN_SIZE = (1024, 640)
_LOG = DockArea(Qt.DockWidgetArea.BottomDockWidgetArea, size=150, is_shown=False)


class MainWindow(QMainWindow):
    """Everything that is seen. Ends its engine when it is closed."""

    run_ended = Signal(object)  # RunState
    closed = Signal()

    def __init__(
        self,
        engine: EngineThread,
        settings: Settings | None = None,
        run_parent: Path | None = None,
    ) -> None:
        super().__init__()
        self._engine = engine
        self.settings = settings or Settings()
        parent = run_parent or Path(self.settings.run_parent or default_run_parent())
        self._first_run_parent = str(parent)
        self.session = Session(engine, parent, self)
        self._is_closing = False
        self._be_a_window()
        self._model_page = ModelPage(self.session, self.settings)
        self._calibration_page = CalibrationPage(self.session)
        self._target_page = TargetPage(self.session)
        self._run_page = RunPage(self.session)
        self._pages: dict[Step, Page] = {
            Step.MODEL: self._model_page,
            Step.CALIBRATION: self._calibration_page,
            Step.TARGET: self._target_page,
            Step.RUN: self._run_page,
            Step.EXPORT: ExportPage(self.session),
        }
        self._steps = StepPanel(dict(self._pages))
        self._error_bar = ErrorBar()
        self._empty = EmptyState()
        self._live = LiveView()
        self._centre = Centre(self._empty)
        self._playground = Playground(self.session)
        self._log = LogView()
        self._docks = Docks(self)
        self._docks.add("log_dock", self._log, _LOG)
        WindowLog(self).arrived.connect(self._log.append_line)
        self._help = HelpMenu(self.session, self.settings, self._log, self)
        self._strip = ActionStrip()
        self._menus = Menus(self)
        self._history = History(self.session, self)
        self._undoing = UndoActions(self.session, self._menus.actions, self)
        self._close_question = CloseQuestion(self.session, self)
        self._desktop_integration = DesktopIntegration(self.session, self)
        self._lay_out()
        self._connect_session()
        self._connect_controls()
        self._connect_menus()
        self._steps.open(Step.MODEL)
        self.setFocus()  # not into the first input, whose hint would then vanish
        self._restore()
        self._redraw()

    # for scripts

    def load_config(self, config: RunConfig) -> None:
        """Set everything up as `config` says."""
        self.session.load(config)

    def load_job(self, path: Path) -> None:
        """Set everything up as the job in a file says."""
        self._run_page.load_job(str(path))

    def choose_model(self, source: str) -> None:
        """Choose a model by path, or "demo"."""
        self.session.choose_model(source)

    def open_run(self, folder: Path) -> None:
        """Show the run in `folder` with all its charts."""
        self._history.open_run(folder)

    def start_run(self, folder: Path | None = None) -> None:
        """Start what is set up, in `folder` or in a new one of its own."""
        self.session.start_run(folder)

    def open_step(self, step: Step) -> None:
        """Open the page of a step."""
        self._steps.open(step)

    def save_picture(self, path: Path) -> None:
        """Write a picture of the window as it is."""
        save_widget(self, path)

    def save_charts(self, folder: Path) -> None:
        """Write a picture of each chart into `folder`."""
        self._live.save_pictures(folder)

    @Slot(object)
    def show_problem(self, problem: Failed) -> None:
        """Show an error in the bar above the centre."""
        self.session.show_problem(problem)

    # what Qt asks for

    def closeEvent(self, event: QCloseEvent) -> None:
        """Ask if something is under way; else note the layout and end the engine."""
        if self._close_question.is_needed and not self._is_closing:
            event.ignore()
            self._close_question.ask()
            return
        self.settings.geometry = self.saveGeometry()
        self.settings.layout = self._docks.layout()
        if self.session.state.run_parent != self._first_run_parent:
            self.settings.run_parent = self.session.state.run_parent
        self._engine.shut_down()
        self._help.finish_writing()
        self._history.finish()
        self.closed.emit()
        event.accept()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take a model or a text."""
        urls = event.mimeData().urls()
        if model_in(urls) or text_in(urls):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Choose what was dropped as the model, or as the calibration text."""
        urls = event.mimeData().urls()
        if model := model_in(urls):
            self.session.choose_model(model)
        elif text_file := text_in(urls):
            self._calibration_page.choose_text(text_file)
            self._steps.open(Step.CALIBRATION)
        event.acceptProposedAction()

    # making

    def _be_a_window(self) -> None:
        self.setObjectName("main_window")
        self.setWindowTitle(labels.APPLICATION)
        self.setMinimumSize(*_MIN_SIZE)
        self.setAcceptDrops(True)

    def _lay_out(self) -> None:
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(GAP, MARGIN, MARGIN, MARGIN)
        column.setSpacing(GAP)
        column.addWidget(self._error_bar)
        column.addWidget(self._history.bar)
        column.addWidget(self._help.hint)
        self._centre.add_tab("live_tab", self._live)
        self._before = AnalysisTabs(self.session, self._centre, self._target_page)
        self._before.save_failed.connect(self._on_save_failed)
        self._history.add_to(self._centre, self._docks, self._menus.actions)
        report = self._history.report_row
        self._pages[Step.EXPORT].column.insertWidget(1, report)  # below the result
        self._centre.add_tab("playground_tab", PlaygroundView(self._playground))
        column.addWidget(self._centre, 1)
        whole = QWidget()
        row = QHBoxLayout(whole)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._steps)
        row.addWidget(middle, 1)
        self.setCentralWidget(whole)
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().addPermanentWidget(self._strip, 1)

    def _connect_session(self) -> None:
        self.session.changed.connect(self._redraw)
        self.session.events_arrived.connect(self._on_events_arrived)
        self._desktop_integration.told.connect(self._on_events_arrived)
        self.session.request_ended.connect(self._on_request_ended)
        self.session.run_ended.connect(self._on_run_ended)

    def _connect_controls(self) -> None:
        self._strip.start_clicked.connect(self._on_start)
        self._strip.pause_clicked.connect(self.session.pause_or_resume)
        self._strip.stop_clicked.connect(self.session.stop_and_keep)
        self._strip.cancel_clicked.connect(self.session.cancel)
        self._docks.connect_switch("log_dock", self._strip.log_button)
        self._docks.connect_switch("runs_dock", self._strip.runs_button)
        self._error_bar.dismissed.connect(self.session.dismiss_problem)
        self._empty.demo_clicked.connect(self._on_demo)
        self._empty.folder_clicked.connect(self._model_page.ask_for_folder)
        self._empty.gguf_clicked.connect(self._model_page.ask_for_gguf)
        self._empty.sample_clicked.connect(self._on_sample)
        self._empty.source_chosen.connect(self._model_page.choose)
        self._live.save_failed.connect(self._on_save_failed)
        self._history.save_failed.connect(self._on_save_failed)
        self._history.runs.duplicated.connect(self._on_duplicated)
        self._help.bundle_written.connect(self._show_log)
        self._log.save_failed.connect(self._on_save_failed)
        self._close_question.may_close.connect(self._on_may_close)

    def _connect_menus(self) -> None:
        slots = {
            "open_folder_action": self._model_page.ask_for_folder,
            "open_gguf_action": self._model_page.ask_for_gguf,
            "use_demo_action": self._on_demo,
            "load_job_action": self._run_page.ask_for_job,
            "save_job_action": self._run_page.ask_where_to_save_job,
            "save_picture_action": self._on_save_picture,
            "quit_action": self.close,
            "start_action": self._on_start,
            "pause_action": self.session.pause_or_resume,
            "stop_action": self.session.stop_and_keep,
            "cancel_action": self.session.cancel,
            "reset_layout_action": self._on_reset_layout,
        }
        for name, slot in slots.items():
            self._menus.actions[name].triggered.connect(slot)
        self._docks.connect_switch("log_dock", self._menus.actions["log_action"])
        self._help.connect_menus(self._menus)
        NavigationMenu(self._menus.go, self._steps, self._centre, self)
        self._menus.themes.triggered.connect(self._on_theme_chosen)
        self._menus.check_theme(self.settings.theme)
        self._menus.languages.triggered.connect(self._on_language_chosen)
        self._menus.check_language(self.settings.language)

    def _restore(self) -> None:
        self.resize(*_SIZE)
        if not self.settings.geometry.isEmpty():
            self.restoreGeometry(self.settings.geometry)
        self._docks.restore(self.settings.layout)

    # reacting

    @Slot()
    def _redraw(self) -> None:
        state, now = self.session.state, time.time()
        obstacle = self.session.start_obstacle()
        self._steps.show_state(state)
        for page in self._pages.values():
            page.show_state(state)
        has_views = state.model_is_chosen or state.shows_run
        self._centre.show_tabs(has_views or self._history.was_compared)
        self._empty.show_recent(self.settings.recent_models)
        self._live.show_run(state.shown_run, now)
        plan = plan_or_invitation(state, obstacle)
        controls = run_controls(state.run, obstacle)
        self._strip.show_run(state.run, plan, controls, now)
        self._strip.show_task(active_task(state))
        self._menus.show_controls(controls)
        self._menus.actions["save_job_action"].setEnabled(state.model_is_chosen)
        is_fit_meant = obstacle in ("", fits.obstacle(state.resource_check))
        self._strip.show_fit(state.resource_check if is_fit_meant else None)
        self._error_bar.show_problem(state.notice)

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        self._log.append(log_lines(batch))

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request) -> None:
        source = self.session.state.config.model.source
        is_inspected = kind is RequestKind.INSPECTION and request.response is not None
        if is_inspected and source != DEMO:
            self.settings.remember_model(source)

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        if run.exported is not None and self._steps.is_open(Step.RUN):
            self._steps.open(Step.EXPORT)
        self.run_ended.emit(run)

    @Slot()
    def _on_start(self) -> None:
        finish_typing(self.focusWidget())  # the run is what the screen shows
        if not self.session.start_obstacle():
            self._steps.open(Step.RUN)
            self._centre.open_tab("live_tab")
            self.session.start_run()

    @Slot()
    def _on_demo(self) -> None:
        self.session.load(RunConfig())

    @Slot()
    def _on_sample(self) -> None:
        self.session.load(RunConfig(ModelConfig(smollm2())))

    @Slot()
    def _on_duplicated(self) -> None:
        self._steps.open(Step.TARGET)  # where most of the settings are

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

    @Slot(QAction)
    def _on_theme_chosen(self, action: QAction) -> None:
        self.settings.theme = ThemeChoice(action.data())  # Qt makes it a str
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        apply_theme(application, self.settings.theme)

    @Slot(QAction)
    def _on_language_chosen(self, action: QAction) -> None:
        self.settings.language = action.data()

    @Slot()
    def _on_save_picture(self) -> None:
        title = tr("Save a picture of the window")
        ask_new_file(self, title, "surgeon.png", self._on_picture_chosen)

    @Slot(str)
    def _on_picture_chosen(self, path: str) -> None:
        try:
            self.save_picture(Path(path))
        except OSError as error:
            self._on_save_failed(
                tr("The picture cannot be written: {error}.").format(error=error)
            )

    @Slot()
    def _on_reset_layout(self) -> None:
        self._docks.reset()
        self.resize(*_SIZE)
