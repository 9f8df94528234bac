"""The state of the application: the draft, the engine, its requests and the run.

Pure functions: `apply` folds an event into the state, the others follow a user action.
Events of obsolete requests change nothing. No Qt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

import msgspec

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.presets import Preset
from surgeon_engine.api.config.run import Device, RunConfig
from surgeon_engine.api.messages.events import (
    ConnectionChanged,
    ConnectionStatus,
    EngineReady,
    EngineStarted,
    Envelope,
    Event,
    Failed,
)
from surgeon_engine.api.messages.machine import Machine, MachineProbed
from surgeon_engine.api.messages.requests import RUN_ENDS
from surgeon_engine.api.messages.sources import ModelInspected, ModelSummary
from surgeon_engine.api.model_info.header import ModelFacts
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.planning.file_form import export_form
from surgeon_engine.planning.resource_check import ResourceCheck
from surgeon_gui.state import run as run_state
from surgeon_gui.state.job.draft import DraftHistory
from surgeon_gui.state.job.file_formats import suggested_format
from surgeon_gui.state.request import NO_REQUEST, Request, RequestKind
from surgeon_gui.state.run import RunState
from surgeon_gui.state.sources.download import Download
from surgeon_gui.text.problems import Problem, Problems, Step

_MAX_PACE = 4.0  # measured over estimated seconds; more is an outlier

# The requests that occupy the engine, which handles one of them at a time.
_OF_A_RUN = (RequestKind.SAVE, RequestKind.MEASUREMENT, RequestKind.JUDGMENT)
TASKS = (*_OF_A_RUN, RequestKind.DIAGNOSIS)


class Engine(Enum):
    """The state of the engine."""

    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"  # it could not be started


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything that the window shows."""

    config: RunConfig = field(default_factory=RunConfig)  # the draft
    model_is_chosen: bool = False
    is_fitting: bool = False  # the draft waits for what a newly chosen model has
    default_device: Device = Device.AUTO  # for new jobs
    run_parent: str = ""  # the folder of the run folders
    computer: str = ""  # OpenSSH name of the engine's computer; empty: this one
    connection: ConnectionChanged | None = None  # with that computer
    started: EngineStarted | None = None  # what that computer is
    remote_runs: str = ""  # the folder of the run folders there; empty: the default
    job_file: str = ""  # the file of the unchanged draft
    engine: Engine = Engine.STARTING
    ready: EngineReady | None = None
    machine: Machine | None = None  # as of the last probe
    pace: float = 1.0  # actual over estimated seconds of the runs so far
    resource_check: ResourceCheck | None = None  # for the draft; None: unknown
    facts: ModelFacts | None = None  # from the model's files, until it is inspected
    requests: Mapping[RequestKind, Request[Any]] = field(default_factory=dict)
    can_replace: bool = False  # the destination holds an export; ask before replacing
    may_replace: bool = False  # the user has said yes, for the next run
    save_draft: ExportConfig | None = None  # settings of another export; None: defaults
    problems: Problems = field(default_factory=dict)  # in the draft
    rejected: Problems = field(default_factory=dict)  # errors of page values
    own_config: RunConfig | None = None  # the settings before a preset was chosen
    own_presets: tuple[Preset, ...] = ()
    draft_history: DraftHistory = DraftHistory()
    run: RunState = RunState()  # the engine's run: in progress, or the latest
    opened_run: RunState | None = None  # an earlier run; in view in place of `run`
    # Models and files of the run in view, by source, that were missing when looked for.
    missing: Mapping[str, Problem] = field(default_factory=dict)
    notice: Failed | None = None  # the error that is shown until it is dismissed

    def request(self, kind: RequestKind) -> Request[Any]:
        """Return the latest request of a kind; an empty one if there was none."""
        return self.requests.get(kind, NO_REQUEST)

    def problem(self, step: Step) -> Problem | None:
        """Return the first problem of a step; None if it has none."""
        return next(iter(self.problems.get(step, ())), None)

    @property
    def has_plan(self) -> bool:
        """True if the target is possible and no page holds a refused edit."""
        return not self.rejected and Step.TARGET not in self.problems

    @property
    def download(self) -> Download:
        """Return the latest download."""
        request = self.request(RequestKind.DOWNLOAD)
        return request if isinstance(request, Download) else Download()

    @property
    def model(self) -> ModelSummary | None:
        """Return the chosen model once it has been inspected."""
        inspected: ModelInspected | None
        inspected = self.request(RequestKind.INSPECTION).response
        return inspected.model if inspected is not None else None

    @property
    def on_cuda(self) -> bool:
        """True if the draft computes on a GPU that torch calls "cuda".

        False until the machine of the engine is known.
        """
        machine, device = self.machine, self.config.model.device
        return machine is not None and machine.computes_on_cuda(device)

    @property
    def task(self) -> RequestKind | None:
        """Return the kind of the request that occupies the engine."""
        return next((kind for kind in TASKS if self.request(kind).is_open), None)

    @property
    def is_connected(self) -> bool:
        """True if the engine is on this computer, or there is a connection with it."""
        status = self.connection.status if self.connection is not None else None
        return not self.computer or status is ConnectionStatus.CONNECTED

    @property
    def runs_folder(self) -> str:
        """Return the folder of further runs, on the computer of the engine."""
        if not self.computer:
            return self.run_parent
        default = self.started.runs_folder if self.started is not None else ""
        return self.remote_runs or default

    @property
    def is_busy(self) -> bool:
        """True if the engine is occupied by a run or another task."""
        return self.task is not None or self.run.status.is_busy

    @property
    def shown_run(self) -> RunState:
        """Return the run in view."""
        return self.run if self.opened_run is None else self.opened_run

    @property
    def active_run(self) -> RunState:
        """Return the run in progress; without one, the run in view."""
        return self.run if self.run.status.is_busy else self.shown_run

    @property
    def is_behind(self) -> bool:
        """True if the run was read from its log, and no engine watches it yet."""
        return bool(self.run.log_bytes) and self.engine is Engine.STARTING

    def time_of_run(self, now: float) -> float:
        """Return the time at which to show the run; it stands still if `is_behind`."""
        run = self.run
        return run.progressed_at + run.paused_seconds if self.is_behind else now

    @property
    def shows_run(self) -> bool:
        """True if there is a run to show, in progress or ended."""
        return bool(self.shown_run.run)

    @property
    def save_config(self) -> ExportConfig:
        """Return the settings of another export of the run in view."""
        exported, saved = self.shown_run.exported, self.shown_run.saved
        if self.save_draft is not None or exported is None:
            return self.save_draft or ExportConfig()
        files = (exported, *saved)
        there = {each.format for each in files if each.folder not in self.missing}
        return ExportConfig(format=suggested_format(exported, there))

    @property
    def save_form(self) -> ExportConfig:
        """Return these settings with an explicit GGUF format, if the file gets one."""
        run, wanted = self.shown_run, self.save_config
        if run.config is None or run.model is None:
            return wanted
        return export_form(wanted, run.config, run.model)

    def request_of_run(self, kind: RequestKind) -> Request[Any]:
        """Return the latest request of a kind, if it is about the run in view."""
        request = self.request(kind)
        return request if request.folder == self.shown_run.folder else NO_REQUEST


def only_run_progressed(before: AppState, after: AppState) -> bool:
    """Return whether the run has progressed, in the same status, and nothing else.

    Equal states give False: an edit without effect is shown again, so that the page
    drops what was typed.
    """
    if after.run is before.run or after.run.status is not before.run.status:
        return False
    others = (each.name for each in fields(AppState) if each.name != "run")
    return all(getattr(before, name) is getattr(after, name) for name in others)


def apply(state: AppState, envelope: Envelope) -> AppState:
    """Return the state after an event."""
    event = envelope.event
    if isinstance(event, MachineProbed):
        return _with_machine(state, event.machine)
    if not envelope.run:
        return _with_engine(state, event)
    for kind, request in state.requests.items():
        if envelope.run == request.id:
            return _with_response(state, kind, request.with_event(event))
    was_read = 0 < envelope.offset <= state.run.log_bytes
    if was_read and not isinstance(event, RUN_ENDS):
        return state
    run = run_state.apply(state.run, envelope)
    notice = run.error if run.error is not state.run.error else state.notice
    return replace(state, run=run, notice=notice)


def _with_machine(state: AppState, machine: Machine) -> AppState:
    """Return the state with a new probe; the measured pace is kept."""
    return replace(state, machine=msgspec.structs.replace(machine, pace=state.pace))


def _with_engine(state: AppState, event: Event) -> AppState:
    if isinstance(event, EngineReady):
        return replace(state, engine=Engine.READY, ready=event)
    if isinstance(event, Failed):
        return replace(state, engine=Engine.UNAVAILABLE, notice=event)
    if isinstance(event, ConnectionChanged) and event.computer == state.computer:
        return replace(state, connection=_with_reason(event, state.connection))
    if isinstance(event, EngineStarted) and state.computer:
        return replace(state, started=event)
    return state


def _with_reason(
    event: ConnectionChanged, before: ConnectionChanged | None
) -> ConnectionChanged:
    """Return a change that keeps, during another attempt, why the last one failed."""
    if event.status is not ConnectionStatus.CONNECTING or before is None:
        return event
    return msgspec.structs.replace(event, message=before.message, hint=before.hint)


def with_computer(state: AppState, computer: str, pace: float = 1.0) -> AppState:
    """Return the state after another computer was chosen; empty: this one.

    The results about the model, the machine and the run are dropped: they belong to the
    previous computer. `pace` belongs to the chosen one, 1 if it is not known.
    """
    return replace(
        with_run(state, RunState()),
        computer=computer,
        pace=pace,
        remote_runs="",
        connection=None,
        started=None,
        engine=Engine.STARTING,
        ready=None,
        machine=None,
        resource_check=None,
        facts=None,
        requests={},
        draft_history=state.draft_history.unread(),
    )


def _with_response(
    state: AppState, kind: RequestKind, request: Request[Any]
) -> AppState:
    has_ended = state.request(kind).is_open and not request.is_open
    state = with_request(state, kind, request)
    if has_ended and request.folder and request.response is not None:
        state = _with_later_result(state, request.folder, request.response)
    if has_ended and kind in TASKS and request.error is not None:
        state = replace(state, notice=request.error)
    return state


def _with_later_result(state: AppState, folder: str, result: Event) -> AppState:
    """Return the state with a further export, or the speed, of the run in a folder."""
    run, opened = state.run, state.opened_run
    if run.folder == folder:
        run = run_state.with_later_result(run, result)
    if opened is not None and opened.folder == folder:
        opened = run_state.with_later_result(opened, result)
    return replace(state, run=run, opened_run=opened)


def with_request(state: AppState, kind: RequestKind, request: Request[Any]) -> AppState:
    """Return the state with `request` as the latest of its kind."""
    return replace(state, requests={**state.requests, kind: request})


def without_requests(state: AppState, *kinds: RequestKind) -> AppState:
    """Return the state without the requests of these kinds, which are obsolete."""
    requests = {k: request for k, request in state.requests.items() if k not in kinds}
    return replace(state, requests=requests)


def with_pace(state: AppState) -> AppState:
    """Return the state after a run, with the pace of the machine that it showed.

    Other programs make a run slower, and none makes it faster: half of a delay counts.
    A run that was stopped early has done less than estimated and is ignored.
    """
    run, machine = state.run, state.machine
    if run.result is None or run.result.stopped_early or machine is None:
        return state
    config = run.settled_config
    if config is None or run.model is None:
        return state
    nominal = msgspec.structs.replace(machine, pace=1.0)
    estimated = estimate(config, run.model, nominal).seconds
    if estimated is None:
        return state
    pace = min(max(run.result.seconds / estimated, 1 / _MAX_PACE), _MAX_PACE)
    pace = min(pace, math.sqrt(pace * state.pace))
    return _with_machine(replace(state, pace=pace), machine)


def with_run(state: AppState, run: RunState, *, of_queue: bool = False) -> AppState:
    """Return the state after a run was requested.

    While one of the queue begins, an earlier run that is shown stays open, and the
    draft keeps its consent.
    """
    state = replace(without_requests(state, *_OF_A_RUN), run=run, notice=None)
    if of_queue:
        return state
    # The consent holds for one run.
    return replace(state, may_replace=False, opened_run=None, save_draft=None)


def with_opened_run(state: AppState, run: RunState) -> AppState:
    """Return the state after an earlier run was opened."""
    return replace(state, opened_run=run, save_draft=None, notice=run.error)


def without_opened_run(state: AppState) -> AppState:
    """Return the state after an earlier run was closed."""
    if state.opened_run is None:
        return state
    return replace(state, opened_run=None, save_draft=None, notice=None)


def without_run(state: AppState, folder: str) -> AppState:
    """Return the state after the run in a folder was deleted."""
    if state.opened_run is not None and state.opened_run.folder == folder:
        state = without_opened_run(state)
    if state.run.folder != folder:
        return state
    return replace(state, run=RunState(), save_draft=None, notice=None)
