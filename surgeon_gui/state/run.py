"""The state of a run, as a pure function of its events. No Qt.

    state = apply(state, envelope)

Events of other runs, and events after the end, change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.events import Cancelled, Envelope, Event, Failed
from surgeon_engine.api.messages.judgment import Judged, Judgment
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Estimate,
    Evaluation,
    Exported,
    HeldOutMeasured,
    LayerSparsity,
    MemorySampled,
    Paused,
    Progressed,
    Recovered,
    RecoveryUndone,
    Resumed,
    RunFinished,
    RunResumed,
    RunStarted,
    SampleWritten,
    ShotFinished,
    Stage,
    StageStarted,
    TokensRemoved,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.saved_state import ResumePoint
from surgeon_gui.state import eta
from surgeon_gui.state.eta import Countdown, Position, RunTimeline, StageTime
from surgeon_gui.state.memory_log import MemoryLog


class Status(Enum):
    """The status of a run."""

    IDLE = "idle"  # there was no run
    STARTING = "starting"  # requested; model and text are being loaded
    RUNNING = "running"
    PAUSING = "pausing"  # requested; the run continues to a safe point
    PAUSED = "paused"
    STOPPING = "stopping"  # the current shot is the last
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # its process ended without a final event

    @property
    def is_busy(self) -> bool:
        """True if the run is in progress, paused or not."""
        return self in _BUSY

    @property
    def can_pause(self) -> bool:
        """True if the run can be paused."""
        return self in (Status.STARTING, Status.RUNNING)

    @property
    def can_cancel(self) -> bool:
        """True if the run can be cancelled."""
        return self.is_busy and self is not Status.CANCELLING


_STOPPABLE = (Status.STARTING, Status.RUNNING, Status.PAUSING, Status.PAUSED)
_BUSY = (*_STOPPABLE, Status.STOPPING, Status.CANCELLING)
_WITHOUT_PROGRESS = (MemorySampled, Paused, Resumed)  # they do not advance the run


@dataclass(frozen=True, slots=True)
class RunState:
    """One run, from its request on.

    The clock of the run is the wall clock minus all pauses. It stands still from the
    request until the engine begins, or has loaded the state of an interrupted run.
    """

    status: Status = Status.IDLE
    run: str = ""
    folder: str = ""
    config: RunConfig | None = None  # frozen at the start
    model: ModelSummary | None = None
    device: str = ""
    shots: int = 0
    resumed_after: int = 0  # shots that its earlier processes have made
    stage: Stage | None = None  # None: it is starting
    shot: int = 0  # current shot; 0 outside of the shots
    done: int = 0
    total: int = 0
    progress: float = 0.0  # share of the whole run, from 0 to 1; never decreases
    countdown: Countdown | None = None  # the remaining time that is shown
    times: tuple[StageTime, ...] = ()
    baseline: Evaluation | None = None
    tokens: TokensRemoved | None = None  # None: the vocabulary is whole
    history: tuple[ShotFinished, ...] = ()
    held_out: tuple[HeldOutMeasured, ...] = ()  # from the training in the last recovery
    recovered: Recovered | None = None
    undone: tuple[RecoveryUndone, ...] = ()
    samples: tuple[SampleWritten, ...] = ()  # the original's first
    recovery: RecoveryConfig | None = None  # as the engine has chosen it
    expected: Estimate | None = None  # KL of its file, before it started
    exported: Exported | None = None
    saved: tuple[Exported, ...] = ()  # later exports
    measured: Measured | None = None  # its speed
    judgment: Judgment | None = None  # on its file
    result: RunFinished | None = None
    error: Failed | None = None
    resumes_at: ResumePoint | None = None  # by its saved state; None: it cannot go on
    planned: Mapping[Stage, float] = field(default_factory=dict, hash=False)  # seconds
    began: float = 0.0  # seconds since the epoch, like all times
    stage_began: float = 0.0  # on the run's clock
    progressed_at: float = 0.0  # likewise: the last progress in the stage
    stage_is_kept: bool = False  # an earlier run has left its result
    ended: float | None = None
    paused_at: float | None = None  # None: not paused
    paused_seconds: float = 0.0  # in finished pauses
    saved_seconds: float | None = None  # clock until it begins (0: new run) or goes on
    memory: MemoryLog = field(default_factory=MemoryLog)
    computer: str = ""  # computer with its files; empty: this one
    name: str = ""  # name of an earlier run that was opened
    log_bytes: int = 0  # bytes read from its log; 0: it was not read from it
    goes_on: bool = False  # it is watched, and goes on without the window

    @property
    def evaluation(self) -> Evaluation | None:
        """Return the latest evaluation of the pruned model; None before a shot."""
        if self.recovered is not None:
            return self.recovered.evaluation
        found = [x.evaluation for x in self.history if x.evaluation is not None]
        return found[-1] if found else None

    @property
    def layers(self) -> tuple[LayerSparsity, ...]:
        """Return the sparsity of each layer; empty until the model is known."""
        if self.history:
            return self.history[-1].layers
        return tuple(
            LayerSparsity(layer.name, layer.block, layer.kind, layer.weights, removed=0)
            for layer in (self.model.layers if self.model is not None else ())
        )

    @property
    def is_exporting(self) -> bool:
        """True if the result is being written or verified."""
        return self.stage in (Stage.EXPORT, Stage.VERIFICATION)

    @property
    def can_stop(self) -> bool:
        """True if the run can be finished early: a shot is done, nothing is written."""
        is_open = self.status in _STOPPABLE and not self.is_exporting
        return bool(self.history) and is_open

    @property
    def has_folder(self) -> bool:
        """False if the run was refused or cancelled before it started."""
        has_ended = self.status in (Status.FAILED, Status.CANCELLED)
        return self.model is not None or not has_ended

    def seconds(self, now: float) -> float:
        """Return the elapsed seconds of the run, without pauses."""
        if self.status is Status.IDLE:
            return 0.0
        if self.result is not None:  # as the engine and the report have it
            return self.result.seconds
        end = self.ended if self.ended is not None else now
        return max(0.0, self.clock(end) - self.began)

    def clock(self, at: float) -> float:
        """Return the time `at` on the run's clock, which excludes pauses."""
        if self.saved_seconds is not None:
            return self.began + self.saved_seconds
        if self.paused_at is not None:
            at = min(at, self.paused_at)
        return at - self.paused_seconds

    def remaining_seconds(self, now: float) -> float | None:
        """Return the remaining seconds; None if unknown or not in progress."""
        if not self.status.is_busy or self.status is Status.CANCELLING:
            return None
        return eta.remaining_seconds(self.timeline, self.times, self._position(now))

    @property
    def settled_config(self) -> RunConfig | None:
        """The config with the recovery that the engine has chosen."""
        if self.config is None or self.recovery is None:
            return self.config
        return replace(self.config, recovery=self.recovery)

    @property
    def timeline(self) -> RunTimeline:
        """The stages of the run, those to come included."""
        config, shots = self.settled_config, max(self.shots, self.shot)
        assert config is not None
        whole = eta.timeline_of(config, shots, self.planned, self.resumed_after)
        if self.status is not Status.STOPPING:
            return whole
        return eta.ended_early(whole, max(self.shot, len(self.history)), self.stage)

    def _position(self, now: float) -> Position:
        fraction = min(1.0, self.done / self.total) if self.total else 0.0
        if self.status is Status.STOPPING and self.stage in eta.ENDED_EARLY:
            fraction = 1.0  # it ends with its next step
        seconds = max(0.0, self.clock(now) - self.stage_began)
        reached = min(seconds, max(0.0, self.progressed_at - self.stage_began))
        step = 1 / self.total if self.total else 0.0
        place = self.stage or Stage.LOAD, self.shot, fraction, seconds, reached, step
        return Position(*place, self.stage_is_kept)


def requested(
    run: str,
    config: RunConfig,
    folder: str,
    at: float,
    planned: Mapping[Stage, float] | None = None,
) -> RunState:
    """Return a run just requested; `planned`: seconds of each stage, if known."""
    shots, planned = config.pruning.shots, planned or {}
    state = RunState(Status.STARTING, run, folder, config, shots=shots, planned=planned)
    return replace(state, began=at, stage_began=at, saved_seconds=0.0)


def resume_requested(
    run: str, state: RunState, at: float, saved_seconds: float
) -> RunState:
    """Return an interrupted run that is to go on from its state at `saved_seconds`."""
    state = replace(_reopened(state, at, saved_seconds), run=run, log_bytes=0)
    return advanced(replace(state, status=Status.STARTING), at)


def interrupted(state: RunState, at: float) -> RunState:
    """Return the run after its process died; `at`: the time of its last event."""
    return _ended(state, Status.INTERRUPTED, at) if state.status.is_busy else state


def apply(state: RunState, envelope: Envelope) -> RunState:
    """Return the run after an event."""
    if envelope.run != state.run:
        return state
    if state.saved_seconds == 0 and isinstance(envelope.event, StageStarted):
        # As when its log is read: the time that it took is the same.
        state = replace(state, began=envelope.at, paused_seconds=0.0, countdown=None)
        state = replace(state, saved_seconds=None, memory=MemoryLog())
    if not state.status.is_busy and not isinstance(envelope.event, RunResumed):
        return with_later_result(state, envelope.event)
    if (handle := _HANDLERS.get(type(envelope.event))) is None:
        return state
    state = handle(state, envelope.event, envelope.at)
    has_advanced = type(envelope.event) not in _WITHOUT_PROGRESS
    return advanced(state, envelope.at) if has_advanced else state


def advanced(state: RunState, now: float) -> RunState:
    """Return the run with its progress and its countdown at a time."""
    if not state.status.is_busy:
        return state
    share = eta.progress(state.timeline, state.times, state._position(now))
    share = max(share, state.progress)
    return replace(state, progress=share, countdown=_countdown(state, now))


def _countdown(state: RunState, now: float) -> Countdown | None:
    before, at = state.countdown, state.clock(now)
    if before is not None and not before.is_due(at):
        return before
    left = state.remaining_seconds(now)
    return None if left is None else eta.followed(before, left, at)


def with_later_result(state: RunState, event: Event) -> RunState:
    """Return a run that has ended, with a later export, its speed or a judgment."""
    if isinstance(event, Exported):
        return replace(state, saved=(*state.saved, event))
    if isinstance(event, Judged):
        return replace(state, judgment=event.judgment)
    return replace(state, measured=event) if isinstance(event, Measured) else state


def _on_started(state: RunState, event: RunStarted, at: float) -> RunState:
    return replace(
        state,
        status=Status.RUNNING if state.status is Status.STARTING else state.status,
        model=event.model,
        device=event.device,
        shots=event.shots,
        folder=event.folder,
        recovery=event.recovery,
        saved_seconds=None,
        expected=event.expected,
        planned=event.planned or state.planned,
    )


def _on_run_resumed(state: RunState, event: RunResumed, at: float) -> RunState:
    """Return to the last save: the engine does again what it had done since."""
    state = replace(state, history=state.history[: event.shots])
    state = _reopened(state, at, event.seconds)
    is_waiting = state.status is Status.STARTING or not state.status.is_busy
    return replace(
        state,
        status=Status.RUNNING if is_waiting else state.status,
        paused_seconds=at - state.began - event.seconds,
        saved_seconds=None,
        samples=tuple(
            x for x in state.samples if x.shot <= event.shots and not x.is_recovered
        ),
        times=tuple(each for each in state.times if each.shot <= event.shots),
    )


def _reopened(state: RunState, at: float, seconds: float) -> RunState:
    """Return a run without its end, and without what its last stages have shown.

    Its clock stands at `seconds`: what came later is done again. A stage that was cut
    off begins again.
    """
    is_cut_off = not state.status.is_busy and state.stage is not None
    times = state.times[:-1] if is_cut_off else state.times
    elapsed = state.progressed_at - state.began  # at its progress so far
    share = min(1.0, seconds / elapsed) if elapsed > 0 else 0.0
    return replace(
        _with_pause_over(state, at),
        resumed_after=len(state.history),
        times=eta.until(times, seconds),
        saved_seconds=seconds,
        stage_began=state.began + seconds,
        stage=None,
        shot=0,
        done=0,
        total=0,
        progress=share * state.progress,
        countdown=None,
        held_out=(),
        recovered=None,
        exported=None,
        saved=(),
        measured=None,
        judgment=None,
        result=None,
        error=None,
        ended=None,
    )


def _on_stage(state: RunState, event: StageStarted, at: float) -> RunState:
    if event.stage in (Stage.REFIT, Stage.RECONSTRUCTION):  # a recovery may begin again
        undone = tuple(each for each in state.undone if each.shot != event.shot)
        state = replace(state, undone=undone)
    if event.stage is Stage.LOAD and state.stage is not None:  # after a kill
        seconds = state.progressed_at - state.began
        state = _reopened(replace(state, status=Status.STARTING), at, seconds)
    state = _with_stage_closed(state, at)
    job = state.config, state.model, state.exported
    begun = (event.stage, event.shot) if event.seconds else None  # before, too
    return replace(
        state,
        times=tuple(x for x in state.times if (x.stage, x.shot) != begun),
        stage=event.stage,
        shot=event.shot,
        done=0,
        total=0,
        stage_began=state.clock(at) - event.seconds,
        progressed_at=state.clock(at),
        stage_is_kept=event.is_kept or eta.is_checkpoint(event.stage, *job),
    )


def _on_progress(state: RunState, event: Progressed, at: float) -> RunState:
    if (event.stage, event.shot) != (state.stage, state.shot):
        return state
    done, total = event.done, event.total
    return replace(state, done=done, total=total, progressed_at=state.clock(at))


def _on_paused(state: RunState, event: Paused, at: float) -> RunState:
    is_paused = state.status.can_pause or state.status is Status.PAUSING
    status = Status.PAUSED if is_paused else state.status
    return replace(state, status=status, paused_at=at)


def _on_resumed(state: RunState, event: Resumed, at: float) -> RunState:
    status = Status.RUNNING if state.status is Status.PAUSED else state.status
    return replace(_with_pause_over(state, at), status=status)


def _ended(state: RunState, status: Status, at: float) -> RunState:
    state = _with_pause_over(_with_stage_closed(state, at), at)
    return replace(state, status=status, ended=at)


def _with_pause_over(state: RunState, at: float) -> RunState:
    if state.paused_at is None:
        return state
    seconds = state.paused_seconds + max(0.0, at - state.paused_at)
    return replace(state, paused_at=None, paused_seconds=seconds)


def _with_stage_closed(state: RunState, at: float) -> RunState:
    if state.stage is None:
        return state
    seconds = max(0.0, state.clock(at) - state.stage_began)
    time = StageTime(state.stage, state.shot, seconds, state.stage_is_kept)
    return replace(state, times=(*state.times, time))


_HANDLERS: dict[type, Callable[[RunState, Any, float], RunState]] = {
    RunStarted: _on_started,
    RunResumed: _on_run_resumed,
    StageStarted: _on_stage,
    Progressed: _on_progress,
    BaselineEvaluated: lambda run, event, at: replace(run, baseline=event.evaluation),
    TokensRemoved: lambda run, event, at: replace(run, tokens=event),
    # The last shot comes again if its evaluation follows.
    ShotFinished: lambda run, event, at: replace(
        run, history=(*run.history[: event.shot - 1], event)
    ),
    # A training begins at step 0.
    HeldOutMeasured: lambda run, event, at: replace(
        run, held_out=(*(run.held_out if event.done else ()), event)
    ),
    Recovered: lambda run, event, at: replace(run, recovered=event),
    RecoveryUndone: lambda run, event, at: replace(run, undone=(*run.undone, event)),
    SampleWritten: lambda run, event, at: replace(run, samples=(*run.samples, event)),
    Paused: _on_paused,
    Resumed: _on_resumed,
    MemorySampled: lambda run, event, at: replace(
        run, memory=run.memory.plus(max(0.0, run.clock(at) - run.began), event)
    ),
    Exported: lambda run, event, at: replace(run, exported=event),
    RunFinished: lambda run, event, at: replace(
        _ended(run, Status.FINISHED, at), result=event, progress=1.0
    ),
    Failed: lambda run, event, at: replace(_ended(run, Status.FAILED, at), error=event),
    Cancelled: lambda run, event, at: _ended(run, Status.CANCELLED, at),
}
