"""A fake engine that handles commands and sends events, without a model.

It runs in a thread or, where the process itself is under test, as `python -m
tests.helpers.fake_engine` in place of `surgeon_engine serve`. Options delay it or
simulate errors. The metrics are invented and deterministic.
"""

import argparse
import itertools
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec

from surgeon_engine.api.client import CANCEL_TIMEOUT_S
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    DescribeText,
    Diagnose,
    DownloadModel,
    ExportRun,
    Generate,
    InspectModel,
    ListFiles,
    ListModels,
    ListRuns,
    MeasureModels,
    Pause,
    PreviewText,
    PreviewVocabulary,
    ProbeMachine,
    Resume,
    ResumeRun,
    SearchHub,
    StartRun,
    StopAndKeep,
    Watch,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    EngineStarted,
    Envelope,
    Event,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.requests import is_watched
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    Progressed,
    RunFinished,
    RunResumed,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import encode_json
from surgeon_engine.base.errors import EngineError
from surgeon_engine.detached.start import start_run
from surgeon_engine.detached.watch import RunFollower
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.runtime.folders import listed
from tests.helpers import fake_sources
from tests.helpers.fake_live import Gate, flood, memory
from tests.helpers.fake_machine import PLENTY, machine
from tests.helpers.fake_playground import playground_events
from tests.helpers.fake_results import (
    evaluation,
    exported,
    measured,
    model_summary,
    shot_finished,
    write_file_of,
)

OUTSIDE_OF_SHOTS = (
    Stage.LOAD,
    Stage.TEXT,
    Stage.BASELINE,
    Stage.EXPORT,
    Stage.VERIFICATION,
)
STAGES_OF_A_SHOT = (
    Stage.CURVATURE,
    Stage.DAMPING,
    Stage.CURVATURE,  # for the held-out windows
    Stage.SELECTION,
    Stage.UPDATE,
    Stage.EVALUATION,
)
STARTED = EngineStarted(
    version("surgeon"), os.uname().nodename, f"{os.environ.get('XDG_DATA_HOME')}/runs"
)
UNITS = 6  # units of work per stage
FAILURE = "The GPU has too little memory."
HINT = "Choose fewer windows."
NO_SPACE = "There is not enough space for the new files."
DELETED = "The model can no longer be read."


class FakeEngine:
    """Handle commands one after the other.

    Args:
        options: Delays and simulated errors.
        commands: The commands as they arrive; the engine ends with them.
        send: Called with every envelope.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        commands: Iterator[Command],
        send: Callable[[Envelope], None],
    ) -> None:
        self._options = options
        self._commands = commands
        self._send = send
        self._ended = threading.Event()
        self._run = ""
        self._pause = 0.0  # seconds per unit of work
        self._config = RunConfig()  # config of the latest run
        self._cancelled: set[str] = set()
        self._stopped: set[str] = set()
        self._log: RunFolder | None = None  # folder of the current run
        self._gate = Gate()
        self._locks = ExitStack()  # locks of the current run
        self._samples = itertools.count()

    def serve(self) -> None:
        """Handle commands until they end."""
        waiting = self._arriving()
        if self._options.greets:
            self._emit(STARTED)
        self._emit(EngineReady({"torch": "0.0"}, "a processor"))
        while (command := waiting.get()) is not None:
            if not self._work(command):
                return
            self._run, self._log = "", None

    def do_detached(self, command: StartRun | ResumeRun) -> None:
        """Do a run in its folder, which is locked, while the commands arrive."""
        self._arriving()
        self._work(command)

    def _arriving(self) -> queue.SimpleQueue[Command | None]:
        """Return the queue of the commands that wait for their turn."""
        waiting: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(waiting,), daemon=True).start()
        return waiting

    def _work(self, command: Command) -> bool:
        """Handle a command; return whether the commands go on."""
        self._run = command.run
        is_run = isinstance(command, StartRun | ResumeRun)
        extra_pause = 0.0 if is_run else self._options.pause_after
        self._pause = self._options.pause + extra_pause
        try:
            if isinstance(command, ListFiles | ListModels | ListRuns):
                self._emit(listed(command))
            else:
                self._handle(command)
        except InterruptedError:
            self._emit(Cancelled())
        except EngineError as error:
            self._emit(Failed(error.message, error.hint))
        except _Failed:
            pass  # the error has been sent
        except _Ended:
            return False
        finally:
            self._locks.close()
        return True

    def _listen(self, waiting: queue.SimpleQueue[Command | None]) -> None:
        followers: dict[str, RunFollower] = {}
        for command in self._commands:
            if follower := followers.get(command.run):
                follower.handle(command)
                continue
            if is_watched(command):
                followers[command.run] = follower = self._follower(command)
                threading.Thread(target=follower.work, daemon=True).start()
                continue
            self._gate.handle(command)
            if isinstance(command, Cancel):
                self._cancelled.add(command.run)
            elif isinstance(command, StopAndKeep):
                self._stopped.add(command.run)
            elif not isinstance(command, Pause | Resume):
                waiting.put(command)
        self._ended.set()
        self._gate.open()
        waiting.put(None)

    def _follower(self, command: StartRun | ResumeRun | Watch) -> RunFollower:
        python = ("env", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable)
        module = ("-P", "-m", "tests.helpers.fake_detached")
        process = (*python, *module, *self._options.arguments)
        start = partial(start_run, process=process)
        return RunFollower(command, self._send, start, self._options.cancel)

    def _sleep(self, seconds: float) -> None:
        """Wait, or end the work if the commands have ended.

        Raises:
            _Ended: The commands have ended.
        """
        if self._ended.wait(seconds):
            raise _Ended

    def _handle(self, command: Command) -> None:
        match command:
            case InspectModel(model=model):
                self._inspect(model.source)
            case (
                DownloadModel()
                | SearchHub()
                | DescribeText()
                | PreviewText()
                | PreviewVocabulary()
            ):
                pause, check = self._options.pause, self._raise_if_cancelled
                fake_sources.respond(command, self._emit, check, pause)
            case ExportRun(export=export, replace=replace):
                self._save(export, replace=replace)
            case MeasureModels(settings=settings, sources=sources):
                self._stage(Stage.MEASUREMENT)
                is_deleted = Path(sources[1]).name == "deleted"
                failed = Failed(DELETED, "Prune again.")
                self._emit(failed if is_deleted else measured(settings))
            case Diagnose(config=config, folder=folder):
                self._diagnose(config, folder)
            case Generate():
                self._generate(command)
            case ProbeMachine():
                self._emit(MachineProbed(machine(self._options.free_memory)))
            case StartRun():
                self._prune(command)
            case ResumeRun():
                self._go_on(command)

    def _inspect(self, source: str) -> None:
        if "missing" in Path(source).name or (Path(source) / "broken").exists():
            self._emit(Failed("There is no model.", "Choose another folder."))
        else:
            self._emit(ModelInspected(model_summary(source)))

    def _prune(self, command: StartRun) -> None:
        config, model = command.config, model_summary(command.config.model.source)
        if Path(command.folder).is_absolute():  # otherwise the test needs no run folder
            self._log = RunFolder(Path(command.folder))
            if not command.detached:
                self._locks.enter_context(self._log.created(config))
        if config.pruning.method == self._options.fail_method:
            self._emit(Failed(FAILURE, HINT))
            raise _Failed
        shots = config.pruning.shots
        for stage in OUTSIDE_OF_SHOTS[:2]:
            self._stage(stage)
        self._emit(
            RunStarted(
                command.folder,
                shots,
                model,
                "a processor",
                16384,
                8192,
                expected=command.expected,
                planned=command.planned,
            )
        )
        self._stage(Stage.BASELINE)
        self._emit(BaselineEvaluated(evaluation(14.2)))
        self._finish(config, command.folder, 0)

    def _go_on(self, command: ResumeRun) -> None:
        folder = command.folder
        self._log = RunFolder(Path(folder))
        if not command.detached:
            self._locks.enter_context(self._log.locked())
        done = len(self._log.saved_state.read().shots)
        self._emit(RunResumed(done, 10.0))
        self._finish(read_config(self._log.config_path), folder, done)

    def _finish(self, config: RunConfig, folder: str, done: int) -> None:
        """Run the remaining shots and the stages after them."""
        model, shots = model_summary(config.model.source), config.pruning.shots
        sparsity = goal_of(config.pruning, model, file_form(config, model)).sparsity
        for shot in range(done + 1, shots + 1):
            for stage in STAGES_OF_A_SHOT:
                self._stage(stage, shot)
            self._emit(shot_finished(shot, shots, sparsity))
            if self._run in self._stopped:
                break
        for stage in OUTSIDE_OF_SHOTS[3:]:
            self._stage(stage)
        folder = config.export.folder or f"{folder}/export"
        self._config = config
        self._emit(self._exported(folder, config.export))
        self._emit(RunFinished(self._run in self._stopped, 3.0, 500_000_000))

    def _diagnose(self, config: RunConfig, folder: str) -> None:
        from tests.helpers.fake_diagnosis import diagnosed  # imports numpy

        for stage in (Stage.LOAD, Stage.BASELINE, Stage.CURVATURE, Stage.SELECTION):
            self._stage(stage)
        self._emit(diagnosed(config, folder, model_summary(config.model.source)))

    def _generate(self, command: Generate) -> None:
        for event in playground_events(command, lambda: self._run in self._stopped):
            self._sleep(self._options.pause)
            self._raise_if_cancelled()
            self._emit(event)
            is_stage = isinstance(event, StageStarted)
            if is_stage and event.stage.value == self._options.at:
                self._simulate_error()

    def _save(self, export: ExportConfig, *, replace: bool) -> None:
        for stage in (Stage.LOAD, Stage.EXPORT, Stage.VERIFICATION):
            self._stage(stage)
        if Path(export.folder).name == "full":
            self._emit(Failed(NO_SPACE, "Choose another folder."))
            return
        folder = Path(export.folder)
        if folder.exists() and any(folder.iterdir()) and not replace:
            self._emit(Failed(f"{folder} is not empty.", "Choose another folder."))
            return
        self._emit(self._exported(export.folder, export))

    def _exported(self, folder: str, export: ExportConfig) -> Exported:
        pruning, model = self._config.pruning, model_summary()
        size = goal_of(pruning, model, FileForm()).weight_bytes
        result = exported(folder, pruning, export, pruned_bytes=size)
        if Path(folder).is_absolute():  # otherwise the test needs no run folder
            write_file_of(result)
        return result

    def _stage(self, stage: Stage, shot: int = 0) -> None:
        self._emit(StageStarted(stage, shot))
        if shot:
            self._emit(memory(next(self._samples)))
        if self._options.at == stage.value and shot < 2:
            self._simulate_error()
        if stage is Stage.CURVATURE:
            flood(
                self._send_event, self._options.flood_seconds, self._options.rate, shot
            )
        for done in range(1, UNITS + 1):
            self._sleep(self._pause)
            self._gate.pass_through(self._run, self._emit)
            self._raise_if_cancelled()
            self._emit(Progressed(stage, shot, done, UNITS))

    def _simulate_error(self) -> None:
        match self._options.mishap:
            case "crash":
                sys.stderr.write("Segmentation fault in a made-up kernel\n")
                sys.stderr.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail":
                self._emit(Logged(Level.WARNING, "Memory is getting short."))
                self._emit(Failed(FAILURE, HINT, "Traceback: fake"))
                raise _Failed
            case "hang":
                self._sleep(3600)

    def _raise_if_cancelled(self) -> None:
        if self._run in self._cancelled:
            raise InterruptedError

    def _emit(self, event: Event) -> None:
        if self._log is not None:
            self._log.append(Envelope(self._run, time.time(), event))
        self._send_event(event)

    def _send_event(self, event: Event) -> None:
        self._send(Envelope(self._run, time.time(), event))


class _Failed(Exception):
    """End a run after its error has been sent."""


class _Ended(Exception):
    """End the work after the commands have ended."""


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a fake engine, by default from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mishap", choices=("crash", "fail", "hang"))
    parser.add_argument("--at", help="stage of the mishap")
    parser.add_argument("--fail-method", help="runs with this method fail")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds per unit")
    parser.add_argument(
        "--pause-after", type=float, default=0.0, help="seconds per unit of requests"
    )
    parser.add_argument("--flood-seconds", type=float, default=0.0, help="per shot")
    parser.add_argument(
        "--rate", type=int, default=5000, help="events per second of a flood"
    )
    parser.add_argument("--free-memory", type=int, default=PLENTY, help="bytes")
    parser.add_argument("--no-start", action="store_true")
    parser.add_argument("--greets", action="store_true", help="as on another computer")
    parser.add_argument("--cancel", type=float, default=CANCEL_TIMEOUT_S)
    parser.add_argument("serve", nargs="?")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    options.arguments = [each for each in given if each != "serve"]
    return options


def main() -> None:
    """Serve on the standard streams, as `surgeon_engine serve` does."""
    options = parse_options()
    if options.no_start:
        sys.exit("cannot import torch")
    decoder = msgspec.json.Decoder(Command)
    output_lock = threading.Lock()

    def commands() -> Iterator[Command]:
        for line in sys.stdin.buffer:
            yield decoder.decode(line)
        os._exit(0)

    def send(envelope: Envelope) -> None:
        with output_lock:
            sys.stdout.buffer.write(encode_json(envelope) + b"\n")
            sys.stdout.buffer.flush()

    FakeEngine(options, commands(), send).serve()


if __name__ == "__main__":
    main()
