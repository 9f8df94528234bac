"""The engine: executes the commands of a client and sends events.

Commands run one at a time. Cancel, Pause and the like set flags in the `RunContext` of
a run, which checks them between batches. The client's end is
`surgeon_engine.api.client`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from surgeon_engine.api.config.export import LLAMA_PACKAGE
from surgeon_engine.api.config.run import Device
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import (
    AT_ONCE,
    Cancel,
    Command,
    Control,
    DescribeText,
    Diagnose,
    DownloadModel,
    ExportRun,
    Generate,
    InspectModel,
    Judge,
    ListFiles,
    ListModels,
    ListRuns,
    MeasureModels,
    PreviewText,
    PreviewVocabulary,
    ProbeMachine,
    ResumeRun,
    SearchHub,
    StartRun,
    Watch,
)
from surgeon_engine.api.messages.events import EngineReady, Envelope
from surgeon_engine.api.messages.judgment import Judged
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.requests import is_watched
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import TextDescribed, TextPreviewed
from surgeon_engine.api.messages.vocabulary import VocabularyPreviewed
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.paths import check_path
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration.fenced import (
    described_text,
    preview_text,
    preview_vocabulary,
)
from surgeon_engine.detached.watch import RunFollower
from surgeon_engine.export.export import export_again
from surgeon_engine.export.gguf.server import is_installed
from surgeon_engine.generation.generate import Playground
from surgeon_engine.hub.download import download_model
from surgeon_engine.hub.search import search_hub
from surgeon_engine.judging.judge import judge
from surgeon_engine.measurement.measure import measure
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.parallel.group import reported, work_on_run
from surgeon_engine.run.diagnose import diagnose
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.folders import listed
from surgeon_engine.runtime.json_streams import JsonOutput, read_messages
from surgeon_engine.runtime.kept import Kept
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.speed_probe import machine
from surgeon_engine.runtime.versions import versions

_IDLE_TIMEOUT_S = 300.0  # after which the models of the playground are unloaded
_NEEDS_MEMORY = (StartRun, ResumeRun, ExportRun, MeasureModels, Judge, Diagnose)


class Engine:
    """Executes commands one at a time and sends events.

    `handle` and `stop` may be called from any thread.
    """

    def __init__(self, send: Callable[[Envelope], object]) -> None:
        self._send = send
        self._queue: queue.Queue[tuple[Command, RunContext] | None] = queue.Queue()
        # Contexts of queued and active commands, by run.
        self._contexts: dict[str, RunContext | RunFollower] = {}
        self._playground = Playground()
        self._kept = Kept()

    def handle(self, command: Command) -> None:
        """Act on Cancel, Pause and the like at once; queue any other command."""
        if isinstance(command, Control):
            if context := self._contexts.get(command.run):
                context.handle(command)
        elif isinstance(command, StartRun | ResumeRun | Watch) and is_watched(command):
            follower = RunFollower(command, self._send)
            self._contexts[command.run] = follower
            threading.Thread(
                target=self._follow, args=(command.run,), daemon=True
            ).start()
        else:
            context = RunContext(command.run, self._send, self._kept)
            self._contexts[command.run] = context
            if isinstance(command, AT_ONCE):
                # A process of its own does long work: the engine remains available.
                task = (command, context)
                threading.Thread(target=self._execute, args=task, daemon=True).start()
            else:
                self._queue.put((command, context))

    def stop(self) -> None:
        """Cancel all commands and make `serve` return."""
        for run, context in tuple(self._contexts.items()):
            if isinstance(context, RunContext):  # other runs go on
                context.handle(Cancel(run=run))
        self._queue.put(None)

    def serve(self) -> None:
        """Execute queued commands until `stop` is called."""
        self._send(Envelope("", time.time(), _ready()))
        while (task := self._next_task()) is not None:
            self._execute(*task)
        self._playground.close()

    def _execute(self, command: Command, context: RunContext) -> None:
        with reported(context):
            self._dispatch(command, context)
        if isinstance(command, _NEEDS_MEMORY):
            devices.release_memory()  # the next command may run in another process
        self._contexts.pop(command.run, None)  # two commands may have one name

    def _follow(self, run: str) -> None:
        follower = self._contexts[run]
        assert isinstance(follower, RunFollower)
        with reported(RunContext(run, self._send)):
            follower.work()
        self._contexts.pop(run, None)

    def _next_task(self) -> tuple[Command, RunContext] | None:
        """Wait for the next command; unload the playground's models meanwhile."""
        if self._playground.is_open:
            try:
                return self._queue.get(timeout=_IDLE_TIMEOUT_S)
            except queue.Empty:
                self._playground.close()
        return self._queue.get()

    def _dispatch(self, command: Command, context: RunContext) -> None:
        context.raise_if_cancelled()
        check_path(say("The folder"), getattr(command, "folder", ""))
        if isinstance(command, _NEEDS_MEMORY):
            self._playground.close()
        if isinstance(command, Generate):
            context.emit(self._playground.generate(command, context))
        elif isinstance(command, ListFiles | ListModels | ListRuns):
            context.emit(listed(command))
        else:
            _run_command(command, context)


def serve_standard_streams(output: JsonOutput) -> None:
    """Read commands from the standard input and write events to an output.

    Both are JSON lines. A thread reads the commands, so that Cancel and Pause take
    effect during a run. When the input ends, the parent has exited: the engine is
    killed with everything it has started.
    """
    engine = Engine(output.write)
    read_messages(Command, engine.handle)
    engine.serve()


def _run_command(command: Command, context: RunContext) -> None:
    match command:
        case InspectModel(model=model):
            context.emit(inspect_model(model))
        case DownloadModel(source=source):
            context.emit(download_model(source, context))
        case SearchHub(query=query):
            context.emit(search_hub(query, context))
        case DescribeText() | PreviewText() | PreviewVocabulary():
            context.emit(_read_text(command))
        case StartRun() | ResumeRun() | ExportRun():
            _work_on_run(command, context)
        case Diagnose(config=config, folder=folder):
            context.emit(diagnose(config, Path(folder), context))
        case MeasureModels() | Judge():
            context.emit(_measure(command, context))
        case ProbeMachine():
            context.emit(MachineProbed(machine()))


def _read_text(
    command: DescribeText | PreviewText | PreviewVocabulary,
) -> TextDescribed | TextPreviewed | VocabularyPreviewed:
    match command:
        case PreviewText(model=model, calibration=calibration, own_windows=count):
            return preview_text(model, calibration, count)
        case PreviewVocabulary(model=model, calibration=calibration):
            return preview_vocabulary(
                model, calibration, command.tokens, command.kept_texts
            )
    return described_text(command.calibration)


def _work_on_run(
    command: StartRun | ResumeRun | ExportRun, context: RunContext
) -> None:
    match command:
        case StartRun() | ResumeRun():
            work_on_run(command, context)
        case ExportRun(folder=folder, export=export, replace=replace):
            exported = export_again(folder, export, context, replace=replace)
            context.emit(exported)


def _measure(command: MeasureModels | Judge, context: RunContext) -> Measured | Judged:
    if isinstance(command, Judge):
        return judge(command.target, command.original, command.settings, context)
    sources, settings = command.sources, command.settings
    turns = settings.turns(len(sources))
    with context.stage(Stage.MEASUREMENT, total=turns) as step:
        measured = measure(sources, settings, context.raise_if_cancelled, step)
    if command.folder:
        context.record(RunFolder(Path(command.folder)), measured)
    return measured


def _runtimes() -> dict[str, str]:
    """Return the version of llama.cpp's package, if it is installed."""
    return {LLAMA_PACKAGE: version(LLAMA_PACKAGE)} if is_installed() else {}


def _ready() -> EngineReady:
    device = devices.choose(Device.AUTO)
    return EngineReady(
        versions=versions() | _runtimes(),
        device=devices.display_name(device),
    )
