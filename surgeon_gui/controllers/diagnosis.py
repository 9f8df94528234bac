"""Controller of the diagnosis: requests and reads diagnoses and plans removals.

Files of diagnoses are read in a background thread. A plan takes
about a millisecond and is computed on demand.
"""

from __future__ import annotations

from functools import partial
from zipfile import BadZipFile

from PySide6.QtCore import QObject, QTemporaryDir, Signal, Slot

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import Diagnose
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.diagnosis import state as diagnosis_state
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Planner, RemovalPlan, rules_of
from surgeon_gui.state.diagnosis.state import DiagnosisPhase, DiagnosisResult
from surgeon_gui.state.job.checks import diagnosis_obstacle
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text.problems import Kind, Problem


class Diagnosis(QObject):
    """Results of the latest diagnosis, and the plan for the current draft."""

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        self.known: DiagnosisResult | None = None
        self.progress = 0.0
        self._folder: QTemporaryDir | None = None  # deleted with the window
        self._pending: tuple[RunConfig, ModelSummary] | None = None
        self._background = Background(self)
        self._planner: Planner | None = None
        self._plan: RemovalPlan | None = None
        session.changed.connect(self._on_session_changed)
        session.request_ended.connect(self._on_request_ended)

    @property
    def phase(self) -> DiagnosisPhase:
        """Current phase; reading the file counts as measuring."""
        state = self.session.state
        is_open = state.request(RequestKind.DIAGNOSIS).is_open
        is_measuring = self._pending is not None or is_open
        return diagnosis_state.phase_of(self.known, state.config, is_measuring)

    @property
    def headline(self) -> str:
        """Current phase as a sentence."""
        return diagnosis_state.headline(
            self.known, self.phase, self.session.state.config
        )

    @property
    def planner(self) -> Planner | None:
        """Planner with the draft's protections; None before a diagnosis."""
        if self.known is None:
            return None
        config = diagnosis_state.planned_config(self.known, self.session.state.config)
        if (
            self._planner is None
            or self._planner.costs is not self.known.costs
            or rules_of(self._planner.pruning) != rules_of(config.pruning)
        ):
            self._planner = Planner(self.known.costs, config.pruning)
            self._plan = None
        return self._planner

    @property
    def plan(self) -> RemovalPlan | None:
        """Planned removals for the draft's target; None if it cannot be reached."""
        planner = self.planner
        if planner is None or self.known is None:
            return None
        goal = diagnosis_state.planned_goal(self.known, self.session.state.config)
        if goal is None:
            return None
        if self._plan is None or self._plan.target_weights != goal.removed:
            self._plan = planner.plan(goal.removed)
        return self._plan

    @property
    def obstacle(self) -> Problem | None:
        """Why the draft cannot be diagnosed; None if it can."""
        if self._pending is not None:
            return Problem(Kind.DIAGNOSING)
        return diagnosis_obstacle(self.session.state)

    # Actions of the user

    @Slot()
    def diagnose(self) -> None:
        """Start a diagnosis of the draft."""
        state = self.session.state
        if self.obstacle or state.model is None:
            return
        if self._folder is None:
            self._folder = QTemporaryDir()
        if not self._folder.isValid():
            message = tr("Cannot create a temporary folder: {reason}.").format(
                reason=self._folder.errorString()
            )
            self.session.store.report(message, tr("Free some disk space."))
            self._folder = None
            return
        self._pending, self.progress = (state.config, state.model), 0.0
        command = partial(Diagnose, config=state.config, folder=self._folder.path())
        self.session.store.start_request(RequestKind.DIAGNOSIS, command)

    # Reactions

    @Slot()
    def _on_session_changed(self) -> None:
        state = self.session.state
        request = state.request(RequestKind.DIAGNOSIS)
        self.progress = diagnosis_state.progress_of(request, self.progress)
        self.changed.emit()

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Diagnosed]) -> None:
        if kind is not RequestKind.DIAGNOSIS:
            return
        if request.response is None or self._pending is None:
            self._pending = None
            self.changed.emit()
            return
        work = partial(_read_result, *self._pending, request.response)
        self._background.start(work, self._on_read, self._on_read_failed)

    def _on_read(self, result: tuple[DiagnosisResult, Planner] | str) -> None:
        self._pending = None
        if isinstance(result, str):
            message = tr("The measured costs cannot be read: {reason}.")
            hint = tr("Measure the model again.")
            self.session.store.report(message.format(reason=result), hint)
            return
        self.known, self._planner = result
        self._plan = None
        self.changed.emit()

    def _on_read_failed(self) -> None:
        self._pending = None  # `Background` reports the exception
        self.changed.emit()


def _read_result(
    config: RunConfig, model: ModelSummary, diagnosed: Diagnosed
) -> tuple[DiagnosisResult, Planner] | str:
    """Read the file of a diagnosis; return why it cannot be read as a str."""
    try:
        costs = read_costs(diagnosed)
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        return str(error)
    return DiagnosisResult(config, model, costs), Planner(costs, config.pruning)
