"""The mind of the views before the cut: it asks for diagnoses, reads them, and plans.

The file of a diagnosis is read, and finished runs are looked for, beside the window; a
plan takes a millisecond and is made where it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

from PySide6.QtCore import QObject, QTemporaryDir, Signal, Slot

from surgeon_engine.api.config.layer_patterns import LayerLimit, parse_limit
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.errors import ConfigError, EngineError
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.run_folder import Report, RunFolder
from surgeon_gui.base import paths
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.diagnosis import state as states
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Plan, Planner, rules_of
from surgeon_gui.state.diagnosis.state import Asked, Known, MeasuredPoint, Phase
from surgeon_gui.state.job.checks import diagnosis_obstacle
from surgeon_gui.state.job.protections import Layers, with_choice
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState

_MAX_REPORTS = 50  # of finished runs, the latest, that are looked at


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What was read beside the window."""

    asked: Asked
    planner: Planner
    runs: dict[str, tuple[MeasuredPoint, ...]]  # by folder


class Diagnosis(QObject):
    """What is known before the cut, and the plan for the draft as it is."""

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        self.known: Known | None = None
        self.progress = 0.0
        self._folder: QTemporaryDir | None = None  # goes with the window
        self._asked: Asked | None = None
        self._request: Request = Request()
        self._runs: dict[str, tuple[MeasuredPoint, ...]] = {}
        self._seen: tuple[RunState, ...] = ()
        self._background = Background(self)
        self._planner: Planner | None = None
        self._plan: Plan | None = None
        session.changed.connect(self._on_session_changed)

    @property
    def phase(self) -> Phase:
        """How it stands; while a file is being read it is still being measured."""
        state = self.session.state
        found = states.phase_of(self.known, state.diagnosis, state.config)
        if self._asked is not None and found is not Phase.NONE:
            return Phase.FIRST if self.known is None else Phase.AGAIN
        return Phase.FIRST if self._asked is not None else found

    @property
    def headline(self) -> str:
        """The phase in a sentence."""
        return states.headline(self.known, self.phase, self.session.state.config)

    @property
    def planner(self) -> Planner | None:
        """What plans under the protections of the draft; None: nothing is known."""
        if self.known is None:
            return None
        config = states.planned_config(self.known, self.session.state.config)
        rules = rules_of(config.pruning)
        if (
            self._planner is None
            or self._planner.costs is not self.known.costs
            or self._planner.rules != rules
        ):
            self._planner, self._plan = Planner(self.known.costs, rules), None
        return self._planner

    @property
    def plan(self) -> Plan | None:
        """What goes for the target of the draft; None: there is no such target."""
        planner = self.planner
        if planner is None or self.known is None:
            return None
        goal = states.goal_then(self.known, self.session.state.config)
        if goal is None:
            return None
        if self._plan is None or self._plan.wanted != goal.removed:
            self._plan = planner.plan(goal.removed)
        return self._plan

    @property
    def points(self) -> tuple[MeasuredPoint, ...]:
        """What runs have measured of the same model and text."""
        return tuple(point for points in self._runs.values() for point in points)

    @property
    def obstacle(self) -> str:
        """Why the draft cannot be diagnosed; empty if it can."""
        if self._asked is not None:
            return tr("The model is being diagnosed.")
        return diagnosis_obstacle(self.session.state)

    # what the user does

    @Slot()
    def diagnose(self) -> None:
        """Ask the engine what everything would cost."""
        state = self.session.state
        if self.obstacle or state.model is None:
            return
        if self._folder is None:
            self._folder = QTemporaryDir()
        if not self._folder.isValid():
            message = tr("No temporary folder can be made: {why}.").format(
                why=self._folder.errorString()
            )
            self.session.show_problem(Failed(message, tr("Make room on the disk.")))
            self._folder = None
            return
        self._asked, self.progress = Asked(state.config, state.model), 0.0
        self.session.diagnose(Path(self._folder.path()))

    @Slot()
    def cancel(self) -> None:
        """End the diagnosis; what was known before stays."""
        self.session.cancel_diagnosis()

    @Slot(float)
    def set_target(self, share: float) -> None:
        """Move the draft's target to a share of the prunable weights."""
        state = self.session.state
        if self.known is None:
            return
        self._edit(states.with_share(state.config, self.known.model, share))

    def protect(self, choice: str, layers: Layers, *, is_protected: bool) -> None:
        """Let nothing go of what a pattern means, from the next run on; or let it."""
        pruning = self.session.state.config.pruning
        protect = with_choice(
            pruning.protect, choice, layers, is_protected=is_protected
        )
        self._edit(replace(pruning, protect=protect))

    def limit(self, pattern: str, share: float | None) -> None:
        """Let what a pattern means keep a share from the next run on; None: any."""
        pruning = self.session.state.config.pruning
        limits = tuple(
            x for x in pruning.layer_min_density if parse_limit(x).pattern != pattern
        )
        if share is not None:
            limits = (*limits, str(LayerLimit(pattern, share)))
        self._edit(replace(pruning, layer_min_density=limits))

    def _edit(self, pruning: PruningConfig) -> None:
        if pruning != self.session.state.config.pruning:
            self.session.edit_pruning(pruning)

    # what happens

    @Slot()
    def _on_session_changed(self) -> None:
        state = self.session.state
        self._handle(state.diagnosis)
        runs = (state.run, state.shown_run)
        if runs != self._seen:
            self._seen = runs
            self._take_points()
        self.changed.emit()

    def _take_points(self) -> None:
        """Take what the runs that are shown have measured, where it can be compared."""
        for run in self._seen:
            if self.known is None or not states.is_comparable(self.known, run.config):
                continue
            if points := states.points_of(run):
                self._runs[run.folder] = points

    def _handle(self, request: Request) -> None:
        before, self._request = self._request, request
        self.progress = states.progress_of(request, self.progress)
        if before.is_open and before.request == request.request and not request.is_open:
            if request.answer is None:
                self._asked = None
            else:
                self._begin_to_read()

    def _begin_to_read(self) -> None:
        request, asked = self._request, self._asked
        diagnosed: Diagnosed | None = request.answer
        assert diagnosed is not None
        assert asked is not None
        parent = paths.expanded(self.session.state.run_parent)
        work = partial(_read, asked, diagnosed, parent)
        self._background.start(work, self._on_read, self._on_not_read)

    def _on_read(self, read: _Read | str) -> None:
        self._asked = None
        if isinstance(read, str):
            self._report_unreadable(read)
            return
        self._planner, self._plan = read.planner, None
        costs = read.planner.costs
        self.known = Known(read.asked.config, read.asked.model, costs)
        self._runs = dict(read.runs)
        self._take_points()
        self.changed.emit()

    def _on_not_read(self) -> None:
        """Something was raised, which is told elsewhere."""
        self._asked = None
        self.changed.emit()

    def _report_unreadable(self, why: str) -> None:
        message = tr("The costs that were measured cannot be read: {why}.")
        hint = tr("Diagnose the model again.")
        self.session.show_problem(Failed(message.format(why=why), hint))


def _read(asked: Asked, diagnosed: Diagnosed, parent: Path) -> _Read | str:
    """What a diagnosis has found, or why it cannot be read."""
    try:
        costs = read_costs(diagnosed)
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        return str(error)
    planner = Planner(costs, rules_of(asked.config.pruning))
    known = Known(asked.config, asked.model, costs)
    return _Read(asked, planner, finished_runs(known, parent))


def finished_runs(known: Known, parent: Path) -> dict[str, tuple[MeasuredPoint, ...]]:
    """What the latest runs in a folder have measured, where it can be compared."""
    try:
        folders = sorted((p for p in parent.iterdir() if p.is_dir()), reverse=True)
    except OSError:
        return {}
    found = {}
    for folder in folders[:_MAX_REPORTS]:
        try:
            report = RunFolder(folder).read_report()
        except (EngineError, ConfigError):
            continue  # none of a finished run, or of another version
        if states.is_comparable(known, report.config):
            found[str(folder)] = _points_of_report(report)
    return found


def _points_of_report(report: Report) -> tuple[MeasuredPoint, ...]:
    run = RunState(history=report.shots, corrected=report.corrected)
    return states.points_of(run)
