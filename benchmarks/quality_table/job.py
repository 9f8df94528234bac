"""One run in a process of its own: shot by shot, what it came to and what it took.

The process is told a `Task` on the first line of its standard input and answers with
lines of JSON. After each it waits for an empty line, so that nobody else computes while
a shot is timed. Where a shot is to be measured, the weights of the prunable layers lie
in a file by then: whoever compares them with the dense model needs memory, and that is
not to count as the method's.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import Corrected, ShotFinished, Stage
from surgeon_engine.pipeline import prepare
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.correction import correct
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.versions import without_progress_bars
from surgeon_engine.shots.shot import ShotPlan, evaluation, run_shot

from .plan import PlannedShot


class Task(msgspec.Struct, frozen=True):
    """What the process does."""

    config: RunConfig
    shots: tuple[PlannedShot, ...]
    weights: str  # a file to write, again after each shot that is measured


class ShotDone(msgspec.Struct, frozen=True, tag=True):
    """A shot is over."""

    planned: PlannedShot
    shot: ShotFinished
    corrected: Corrected | None  # as if the run ended here; None: without correction
    dense_perplexity: float
    seconds: float  # from the dense model on, over all shots, with that correction
    peak_memory_bytes: int  # of the process so far; on a GPU of its tensors


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """There are no more shots; why, in a sentence."""

    words: str


Message = ShotDone | JobFailed


def messages(task: Task) -> Iterator[Message]:
    """Do the task: a message for each shot, and a last one if it fails."""
    try:
        yield from _shots(task)
    except EngineError as error:
        yield JobFailed(f"{error.message} {error.hint}".strip())
    except (MemoryError, RuntimeError) as error:
        if not devices.is_out_of_memory(error):
            raise
        yield JobFailed("There is not enough memory for this.")


def _shots(task: Task) -> Iterator[ShotDone]:
    devices.reset_peak_memory()
    context = RunContext("", _say_warning)
    state = prepare(task.config, context)
    dense = evaluation(state, context, Stage.BASELINE)
    last, seconds = None, 0.0
    for number, planned in enumerate(task.shots, 1):
        shot = run_shot(state, ShotPlan(number, planned.share, last), context)
        last, seconds = shot.damping, seconds + shot.seconds
        with _ended(state, task, planned, context) as corrected:
            yield ShotDone(
                planned,
                shot,
                corrected,
                dense.perplexity,
                seconds + (corrected.seconds if corrected else 0),
                devices.peak_memory(state.loaded.device),
            )


def _say_warning(envelope: Envelope) -> None:
    if isinstance(envelope.event, Logged):
        print(f"  {envelope.event.message}", file=sys.stderr)


@contextmanager
def _ended(
    state: PruningState, task: Task, planned: PlannedShot, context: RunContext
) -> Iterator[Corrected | None]:
    """The model as if the run ended here, in a file if it is to be measured.

    A run ends with the correction, if it has one; the shot after this one begins
    without.
    """
    if planned.sparsity is None:
        yield None
        return
    weights = Path(task.weights)
    if not (state.config.pruning.is_corrected and planned.is_corrected):
        _save_weights(state, weights)
        yield None
        return
    kept = weights.with_suffix(".kept")
    _save_weights(state, kept)  # in memory they would count as the method's
    corrected = _corrected(state, context)
    _save_weights(state, weights)
    yield corrected
    values = torch.load(kept, weights_only=True, map_location="cpu", mmap=True)
    state.loaded.model.load_state_dict(values, strict=False)


def _corrected(state: PruningState, context: RunContext) -> Corrected:
    begun = time.monotonic()
    steps = correct(state, context)
    found = evaluation(state, context, Stage.EVALUATION)
    seconds = time.monotonic() - begun
    return Corrected(steps.lengths, steps.loss_before, steps.loss_after, found, seconds)


def _save_weights(state: PruningState, path: Path) -> None:
    """Write what pruning may have changed; unlike safetensors without a copy of it."""
    torch.save(
        {
            f"{layer.name}.{name}": parameter.detach().cpu()
            for layer in state.loaded.layers
            for name, parameter in layer.module.named_parameters()
        },
        path,
    )


def main() -> None:
    """Do the task on standard input; end when whoever gave it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end is told, and ends this
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints are no messages
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    may_go_on: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen() -> None:
        # Not by sys.stdin, whose lock a thread must not hold when the process ends.
        while os.read(0, 1):
            may_go_on.put(None)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    without_progress_bars()
    for message in messages(task):
        answers.write(msgspec.json.encode(message) + b"\n")
        answers.flush()
        may_go_on.get()


if __name__ == "__main__":
    main()
