"""The place New: the ways to open a model, the draft, or all about its model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QStackedWidget, QWidget

from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.theme import PAGE
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.forecast import points_of
from surgeon_gui.text.problems import Problem, Step
from surgeon_gui.views.architecture.view import ArchitectureView
from surgeon_gui.views.new.details import ModelDetails
from surgeon_gui.views.new.empty_state import EmptyState
from surgeon_gui.views.new.page import NewPage
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.views.steps.export_page import ExportPage
from surgeon_gui.views.steps.model_page import ModelPage
from surgeon_gui.views.steps.page import Page
from surgeon_gui.views.steps.run_page import RunSettingsPage
from surgeon_gui.views.steps.target_page import TargetPage
from surgeon_gui.widgets.layouts import scrolling, vertical


class NewPlace(QStackedWidget):
    """Create the pages of the draft, and connect them."""

    asked_to_open = Signal()  # something in this place should be seen

    def __init__(
        self,
        session: Session,
        settings: Settings,
        runs: RunsController,
        actions: Mapping[str, QAction],
    ) -> None:
        super().__init__()
        self._session, self._settings, self._runs = session, settings, runs
        self.diagnosis = Diagnosis(session)
        self._page = NewPage(session, settings, self.diagnosis, actions)
        self.model_card = self._page.model_card
        self._empty = EmptyState(self.model_card, actions)
        self._model_page = ModelPage(session)
        self.run_page = RunSettingsPage(session)
        self._export_page = ExportPage(session)
        self.question = self._export_page.question
        self._pages: tuple[Page, ...] = (
            self._model_page,
            CalibrationPage(session),
            TargetPage(session, self._page.size_input),
            self._export_page,
            self.run_page,
        )
        self._expert = self._page.add_expert({page.step: page for page in self._pages})
        self.layers = ArchitectureView(ArchitectureController(self.diagnosis))
        self._details = ModelDetails(self.diagnosis, self.layers)
        first = QWidget()
        vertical(first, scrolling(self._empty), margin=PAGE)
        for each in (first, self._page, self._details):
            self.addWidget(each)
        self._connect(actions)

    def _connect(self, actions: Mapping[str, QAction]) -> None:
        card = self.model_card
        self._runs.changed.connect(self._show_points)
        card.details_clicked.connect(partial(self.setCurrentWidget, self._details))
        self._details.back_clicked.connect(self.show_page)
        self._page.folder_asked.connect(self._export_page.ask_for_folder)
        self._model_page.source_entered.connect(card.choose)
        for name, slot in (
            ("open_folder_action", card.ask_for_folder),
            ("open_gguf_action", card.ask_for_gguf),
            ("search_hub_action", card.search_hub),
            ("use_demo_action", self._on_demo_clicked),
            ("load_job_action", self.run_page.ask_for_job),
            ("save_job_action", self.run_page.ask_where_to_save_job),
        ):
            actions[name].triggered.connect(slot)

    @property
    def expected(self) -> Estimate | None:
        """The expected KL of the draft's file, as the page shows it."""
        return self._page.expected

    def show_state(
        self, state: AppState, obstacle: Problem | None, add_obstacle: str
    ) -> None:
        """Show the draft, and why it cannot be started or added to the queue."""
        for page in self._pages:
            page.show_state(state)
        self._expert.steps.show_state(state)
        self._details.show_state(state)
        self._empty.show_recent(self._settings.recent_models)
        self._empty.show_computer(state.computer)
        self._show_points()
        self._page.show_state(state, obstacle, add_obstacle)
        if not state.model_is_chosen:
            self.setCurrentIndex(0)
        elif self.currentIndex() == 0:
            self.show_page()

    def show_drag(self, *, is_over: bool) -> None:
        """Show whether files are dragged over the window."""
        self._empty.show_drag(is_over=is_over)
        self._page.domain.show_drag(is_over=is_over)

    def open_expert(self, step: Step) -> None:
        """Open the section of a step in the drawer Expert."""
        self.show_page()
        self._page.open_expert(step)

    @Slot()
    def _show_points(self) -> None:
        """Show finished runs of the model on the curve."""
        records, state = self._runs.state.records, self._session.state
        points = points_of(records, state.config, state.model, datetime.now())
        self._page.show_points(points)

    @Slot()
    def show_page(self) -> None:
        """Show the draft in place of the details of its model."""
        if self._session.state.model_is_chosen:
            self.setCurrentWidget(self._page)

    @Slot()
    def _on_demo_clicked(self) -> None:
        self.model_card.choose(DEMO)
        self.asked_to_open.emit()
