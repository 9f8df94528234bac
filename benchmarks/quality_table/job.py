"""The process that does one run and reports the result and the cost of each shot.

The process reads a `Task` from the first line of its standard input and writes lines
of JSON. After each line it waits for an empty line, so that no other process computes
while a shot is timed. Before it reports a shot that fills a column, it writes the
weights of the prunable layers to a file. Another process compares them with the dense
model, so that the memory for the comparison is not counted as the method's.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import ShotFinished, Stage
from surgeon_engine.pipeline import prepare
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.versions import disable_progress_bars
from surgeon_engine.shots.shot import ShotPlan, evaluation, run_shot

from .plan import PlannedShot


class Task(msgspec.Struct, frozen=True):
    """A run for the process."""

    config: RunConfig
    shots: tuple[PlannedShot, ...]
    weights: str  # file to write after each shot that fills a column


class ShotDone(msgspec.Struct, frozen=True, tag=True):
    """The result of a shot."""

    planned: PlannedShot
    shot: ShotFinished
    dense_perplexity: float
    seconds: float  # from the dense model on, over all shots
    peak_memory_bytes: int  # of the process so far; on a GPU, of its tensors


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """The run has failed."""

    message: str


Message = ShotDone | JobFailed


def run_task(task: Task) -> Iterator[Message]:
    """Do a run; yield a message for each shot, and a last one if it fails."""
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
    context = RunContext("", _print_warning)
    state = prepare(task.config, context)
    dense = evaluation(state, context, Stage.BASELINE)
    last, seconds = None, 0.0
    for number, planned in enumerate(task.shots, 1):
        shot = run_shot(state, ShotPlan(number, planned.share, last), context)
        last, seconds = shot.damping, seconds + shot.seconds
        if planned.sparsity is not None:
            _save_weights(state, Path(task.weights))
        peak = devices.peak_memory(state.loaded.device)
        yield ShotDone(planned, shot, dense.perplexity, seconds, peak)


def _print_warning(envelope: Envelope) -> None:
    if isinstance(envelope.event, Logged):
        print(f"  {envelope.event.message}", file=sys.stderr)


def _save_weights(state: PruningState, path: Path) -> None:
    """Write the weights that pruning may have changed.

    Unlike safetensors, torch.save makes no copy of them in memory.
    """
    torch.save(
        {
            f"{layer.name}.{name}": parameter.detach().cpu()
            for layer in state.loaded.layers
            for name, parameter in layer.module.named_parameters()
        },
        path,
    )


def main() -> None:
    """Do the task on standard input; exit when the parent process has ended."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the parent handles it and ends this process
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # prints of libraries are no messages
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    acknowledged: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen() -> None:
        # sys.stdin has a lock that a thread must not hold when the process ends.
        while os.read(0, 1):
            acknowledged.put(None)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    disable_progress_bars()
    for message in run_task(task):
        output.write(msgspec.json.encode(message) + b"\n")
        output.flush()
        acknowledged.get()


if __name__ == "__main__":
    main()
