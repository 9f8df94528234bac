"""The inside end of the engine's line: hears commands, does them, sends events.

A thread listens while the work goes on, because Cancel, Pause and their like must be
heard in the middle of a run. They set flags that the run looks at between two batches.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from surgeon_engine.api.client import kill_process_tree
from surgeon_engine.api.config.run import Device
from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.benchmark import BenchmarkSettings, Measured
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    DescribeText,
    Diagnose,
    DownloadModel,
    ExportRun,
    Generate,
    InspectModel,
    MeasureModels,
    Pause,
    PreviewText,
    ProbeMachine,
    Resume,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Cancelled, EngineReady, Envelope, Failed
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.calibration.texts import described_text
from surgeon_engine.calibration.windows import preview_text
from surgeon_engine.diagnose import diagnose
from surgeon_engine.export.export import export_again
from surgeon_engine.generation.generate import Playground
from surgeon_engine.hub.download import download_model
from surgeon_engine.measurement.measure import measure
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.pipeline import prune
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunCancelled, RunContext
from surgeon_engine.runtime.speed_probe import machine
from surgeon_engine.runtime.versions import versions, without_progress_bars

_IDLE_SECONDS = 300.0  # until the models of the playground are given up
_NEEDS_MEMORY = (StartRun, ExportRun, MeasureModels, Diagnose)


class Engine:
    """Does one command after the other; `handle` may be called from another thread."""

    def __init__(self, send: Callable[[Envelope], object]) -> None:
        self._send = send
        self._waiting: queue.Queue[tuple[Command, RunContext] | None] = queue.Queue()
        self._sessions: dict[str, RunContext] = {}  # of what waits or is being done
        self._playground = Playground()

    def handle(self, command: Command) -> None:
        """Act on a stop at once, let anything else wait for its turn."""
        if isinstance(command, Cancel | StopAndKeep | Pause | Resume):
            if context := self._sessions.get(command.run):
                context.handle(command)
        else:
            context = self._sessions[command.run] = RunContext(command.run, self._send)
            if isinstance(command, DownloadModel):
                # Another process does the work: the engine is free for other things.
                task = (command, context)
                threading.Thread(target=self._carry_out, args=task, daemon=True).start()
            else:
                self._waiting.put((command, context))

    def stop(self) -> None:
        """Cancel all there is to do and end `serve`."""
        for run, context in tuple(self._sessions.items()):
            context.handle(Cancel(run=run))
        self._waiting.put(None)

    def serve(self) -> None:
        """Do what has been heard, one after the other, until `stop`."""
        without_progress_bars()
        self._send(Envelope("", time.time(), _ready()))
        while (task := self._next()) is not None:
            self._carry_out(*task)
        self._playground.close()

    def _carry_out(self, command: Command, context: RunContext) -> None:
        try:
            self._do(command, context)
        except RunCancelled:
            context.emit(Cancelled())
        except Exception as error:  # the process boundary: nothing above can help
            context.emit(failure(error))
        if isinstance(command, _NEEDS_MEMORY):
            devices.release_memory()  # other processes measure and write texts
        del self._sessions[command.run]

    def _next(self) -> tuple[Command, RunContext] | None:
        """What is to be done next; models that nobody asks for a while are given up."""
        if self._playground.is_open:
            try:
                return self._waiting.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                self._playground.close()
        return self._waiting.get()

    def _do(self, command: Command, context: RunContext) -> None:
        context.raise_if_cancelled()
        if isinstance(command, _NEEDS_MEMORY):
            self._playground.close()
        if isinstance(command, Generate):
            context.emit(self._playground.generate(command, context))
        else:
            _do(command, context)


def serve_standard_streams() -> None:
    """Serve lines of JSON: commands from standard input, events to standard output.

    The end of the input means that whoever started the engine is gone: the engine
    then ends at once, with whatever it has started itself.
    """
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints are not events
    writing = threading.Lock()

    def send(envelope: Envelope) -> None:
        with writing:
            events.write(msgspec.json.encode(envelope) + b"\n")
            events.flush()

    engine = Engine(send)

    def listen() -> None:
        decoder = msgspec.json.Decoder(Command)
        for line in sys.stdin.buffer:
            engine.handle(decoder.decode(line))
        kill_process_tree(os.getpid())

    threading.Thread(target=listen, daemon=True).start()
    engine.serve()


def _do(command: Command, context: RunContext) -> None:
    match command:
        case InspectModel(model=model):
            context.emit(inspect_model(model))
        case DownloadModel(source=source):
            context.emit(download_model(source, context))
        case DescribeText(calibration=calibration):
            context.emit(described_text(calibration))
        case PreviewText(model=model, calibration=calibration):
            context.emit(preview_text(model, calibration))
        case StartRun(config=config, folder=folder):
            prune(config, Path(folder), context)
        case ExportRun(folder=folder, export=wanted):
            context.emit(export_again(folder, wanted, context))
        case Diagnose(config=config, folder=folder):
            context.emit(diagnose(config, Path(folder), context))
        case MeasureModels(sources=sources, settings=settings):
            context.emit(_measured(sources, settings, context))
        case ProbeMachine():
            context.emit(MachineProbed(machine()))


def _measured(
    sources: Sequence[str], settings: BenchmarkSettings, context: RunContext
) -> Measured:
    turns = settings.turns(len(sources))
    with context.stage(Stage.MEASUREMENT, total=turns) as step:
        return measure(sources, settings, context.raise_if_cancelled, step)


def _ready() -> EngineReady:
    device = devices.choose(Device.AUTO)
    return EngineReady(
        versions=versions(),
        device=devices.display_name(device),
        memory_bytes=devices.total_memory(device),
    )


def failure(error: Exception) -> Failed:
    """What to tell of an error that ended a command."""
    if isinstance(error, EngineError):
        return Failed(error.message, error.hint)
    if devices.is_out_of_memory(error):
        return Failed(
            "There is not enough memory for this.",
            "Use fewer or shorter windows, a smaller batch, or a smaller model.",
            traceback.format_exc(),
        )
    return Failed(
        f"Something went wrong that should not have: {type(error).__name__}: {error}",
        "The details below help to find out what; please report them.",
        traceback.format_exc(),
    )
