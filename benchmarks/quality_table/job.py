"""The process that does one run and reports the result and the cost of each shot.

It reads a `Task` from the first line of its standard input and writes lines of JSON. A
process does one run, so that its time and peak memory belong to the run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import Evaluation, ShotFinished, Stage
from surgeon_engine.api.saved_state import Origin, SavedState, StateFolder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.recover import recover
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.json_streams import JsonOutput, exit_with_parent
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.saver import Saver
from surgeon_engine.runtime.versions import versions
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.resume import restore, save_shot
from surgeon_engine.shots.shot import evaluate_original, evaluation, run_shot
from surgeon_engine.shots.steps import ShotPlan

from .plan import PlannedShot
from .rival import prune_and_distil


class Task(msgspec.Struct, frozen=True):
    """A run for the process."""

    config: RunConfig
    shots: tuple[PlannedShot, ...]
    folder: str  # for the state after the last shot, if the run is interrupted
    rival_seconds: float | None = None  # time of a rival; None: an ordinary run


class ShotDone(msgspec.Struct, frozen=True, tag=True):
    """The result of a shot; the last one includes recovery."""

    planned: PlannedShot
    shot: ShotFinished
    original: Evaluation
    evaluation: Evaluation  # after the shot, or after recovery
    seconds: float  # from the first curvature on, over all shots and recovery
    sampling_seconds: float  # for the text that the model itself writes
    peak_memory_bytes: int  # peak of the process so far; on a GPU, of its tensors


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """The run has failed."""

    message: str


class JobLogged(msgspec.Struct, frozen=True, tag=True):
    """A line of the run's log."""

    message: str


Message = ShotDone | JobFailed | JobLogged


def run_task(
    task: Task, log: Callable[[JobLogged], object]
) -> Iterator[ShotDone | JobFailed]:
    """Do a run; yield a message for each shot, and a last one if it fails."""

    def send(envelope: Envelope) -> None:
        if isinstance(envelope.event, Logged):
            log(JobLogged(str(envelope.event.message)))  # in words

    try:
        context = RunContext("", send)
        run = _shots if task.rival_seconds is None else _rival
        yield from run(task, context)
    except EngineError as error:
        yield JobFailed(f"{error.message} {error.hint}".strip())
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        yield JobFailed("There is not enough memory for this.")


def _shots(task: Task, context: RunContext) -> Iterator[ShotDone]:
    devices.reset_peak_memory()
    state = prepare(task.config, context)
    original = evaluate_original(state, context)
    run_folder = Path(task.folder)
    run_folder.mkdir(parents=True, exist_ok=True)
    shots = _saved_shots(StateFolder(run_folder), state, context)
    seconds = 0.0
    for number, planned in enumerate(task.shots, 1):
        if number > len(shots):
            previous = shots[-1].damping if shots else None
            plan = ShotPlan(number, planned.share, previous)
            saver, context.saver = context.saver, Saver.off()  # a shot in one go, too
            shots.append(run_shot(state, plan, context))
            compact_state(state)
            context.saver = saver
            save_shot(state, shots, None, None, context)
        shot = shots[number - 1]
        seconds += shot.seconds
        found = shot.evaluation
        if number == len(task.shots):
            context.saver = Saver.off()  # recovery in one go, as it is timed
            found, more = _recovered(state, found, context)
            seconds += more
        yield ShotDone(
            planned,
            shot,
            original,
            found,
            seconds,
            context.seconds_of_stages[Stage.SAMPLING.value],
            devices.peak_memory(state.loaded.device),
        )
    shutil.rmtree(run_folder, ignore_errors=True)


def _saved_shots(
    folder: StateFolder, state: PruningState, context: RunContext
) -> list[ShotFinished]:
    """Return to the state after the last shot of an interrupted run, if there is one.

    Args:
        folder: the folder of the state.
        state: the original model; pruned as far as the run was afterwards.
        context: receives the saver of the run.

    Returns:
        The shots so far.
    """
    saved = SavedState(Origin({}, "", "", versions()), state.config.recovery)
    if folder.exists:
        saved = folder.read()
    context.saver = Saver(folder, saved)
    if saved.shots:
        restore(state, context)
    return list(saved.shots)


def _rival(task: Task, context: RunContext) -> Iterator[ShotDone]:
    devices.reset_peak_memory()
    state = prepare(task.config, context)
    original = evaluate_original(state, context)
    (planned,) = task.shots
    assert task.rival_seconds is not None
    start, limit = context.clock(), task.rival_seconds

    def progress(_: int) -> float:
        return (context.clock() - start) / limit

    shot, _ = prune_and_distil(state, planned.share, progress, context)
    yield ShotDone(
        planned,
        shot,
        original,
        evaluation(state, context),
        context.clock() - start,
        context.seconds_of_stages[Stage.SAMPLING.value],
        devices.peak_memory(state.loaded.device),
    )


def _recovered(
    state: PruningState, found: Evaluation, context: RunContext
) -> tuple[Evaluation, float]:
    """Recover the model if the run asks for it; return its evaluation and the seconds.

    Args:
        state: the pruned model.
        found: its evaluation as it is.
        context: receives the progress.
    """
    if state.config.recovery.level is Recovery.OFF:
        return found, 0.0
    before = state.take_snapshot()
    result = recover(state, before, lambda: evaluation(state, context), context)
    return (found, 0.0) if result is None else (result.evaluation, result.seconds)


def main() -> None:
    """Do the task on standard input; exit when the parent process has ended."""
    output = JsonOutput()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    exit_with_parent()
    for message in run_task(task, output.write):
        output.write(message)


if __name__ == "__main__":
    main()
