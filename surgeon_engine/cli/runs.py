"""The commands that do runs: surgeon run, resume, sweep, quantize.

They import torch when they run.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.paths import with_paths_from
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.config.sweep import Variation, combinations, parse_axis
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml, read_config
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.commands import ResumeRun, StartRun
from surgeon_engine.api.messages.events import Cancelled
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ProcessError,
    RunCancelled,
    RunFolderError,
)
from surgeon_engine.base.files import expand_path, numbered_names
from surgeon_engine.base.paths import check_name
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.cli.formatting import sweep_table
from surgeon_engine.cli.output import EventDisplay, Output
from surgeon_engine.cli.vocabulary import calibration_on
from surgeon_engine.cli.watching import print_fidelity, print_resume, start_detached

if TYPE_CHECKING:
    from surgeon_engine.runtime.kept import Kept

Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Replace an earlier export in the destination once the new one is "
        "complete. It goes to the trash.",
    ),
]
_Detach = Annotated[
    bool,
    typer.Option(
        "--detach", help="Return at once; the run goes on as a process of its own."
    ),
]
Job = Annotated[Path, typer.Argument(help="TOML file, as saved by the window.")]
_RunDir = Annotated[Path, typer.Option(help="Folder in which run folders are created.")]


def run(  # noqa: PLR0913  one parameter for each option
    job: Job,
    run_dir: _RunDir = Path("runs"),
    name: Annotated[
        str | None,
        typer.Option(help="Name of the run folder; default: time and model."),
    ] = None,
    stop_after: Annotated[
        int | None,
        typer.Option(metavar="SHOT", help="Stop after this shot and export."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="N", help="Number of GPUs that share the run, or all."),
    ] = None,
    replace: Replace = False,
    detach: _Detach = False,
) -> None:
    """Prune a model as described by a job file.

    Below torchrun, this is one of the processes that share the run.
    """
    if name is not None:
        check_name("--name", name)
    config = read_config(job)
    if gpus is not None:
        model = dataclasses.replace(config.model, gpus=_gpus_of(gpus))
        config = dataclasses.replace(config, model=model)
    _check_stop_after(stop_after, config.pruning)
    default = new_run_folder(run_dir, config)
    folder = run_dir / name if name else default
    command = _start(folder, config, stop_after or 0, replace=replace)
    if detach:
        _check_alone("run --detach")
        start_detached(command)
        return
    with _ranks(config.model):
        from surgeon_engine.runtime import ranks

        _prune(ranks.agree(lambda: command))


def resume(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Go on even if another computer has worked on the run. Make sure "
            "that it no longer does: it cannot be seen from here.",
        ),
    ] = False,
    replace: Replace = False,
    detach: _Detach = False,
) -> None:
    """Resume a run that was interrupted, from the state in its folder."""
    from surgeon_engine.parallel.group import model_of
    from surgeon_engine.runtime import ranks

    path = expand_path(run)
    command = ResumeRun(run=path.name, folder=str(path), replace=replace)
    with _ranks(model_of(command)):
        if take_over:
            ranks.agree(RunFolder(run).take_over)
        if detach:
            _check_alone("resume --detach")
            start_detached(command)
        else:
            _work_on(command)


def quantize(
    model: Annotated[str, typer.Argument(help="As for inspect.")],
    dtype: Annotated[
        FileDtype, typer.Option(help="Number format of the weights.")
    ] = FileDtype.Q4_K_M,
    text: Annotated[
        str, typer.Option(help="Text on which rounding is calibrated.")
    ] = BUILTIN_TEXT,
    run_dir: Annotated[
        Path, typer.Option(help="Folder in which the run folder is created.")
    ] = Path("runs"),
) -> None:
    """Write a model as GGUF in fewer bits, without pruning it, and verify the file."""
    _check_alone("quantize")
    config = RunConfig(
        model=ModelConfig(source=model),
        calibration=calibration_on(model, text, Output()),
        pruning=PruningConfig(sparsity=0.0),
        export=ExportConfig(format=Format.GGUF, dtype=dtype),
    )
    config = with_paths_from(Path(), config)
    _prune(_start(new_run_folder(run_dir, config), config))


def sweep(
    job: Job,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="PART.SETTING=VALUES",
            help="A setting and its values, such as pruning.sparsity=0.1,0.2,0.3. "
            "Repeat it for further settings: each combination is a run.",
        ),
    ],
    run_dir: _RunDir = Path("runs"),
    context: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="from the target, or 4096",
            help="Tokens of prompt and answer together, for the memory in the table.",
        ),
    ] = None,
    replace: Replace = False,
) -> None:
    """Run a job with several values of some settings, one after another.

    A run that fails or is stopped does not end the sweep. Repeating the
    command resumes what was interrupted and skips what is complete. At the
    end a table shows the size and the fidelity of each run, and the memory in
    which its model runs.
    """
    found = [
        Variation(each.name, with_paths_from(job.parent, each.config))
        for each in combinations(read_config(job), [parse_axis(x) for x in settings])
    ]
    for each in found:
        each.config.check_consistency()
    _check_alone(
        "sweep",
        say("For several GPUs, set gpus in the part model of the job: 0 means all."),
    )
    from surgeon_engine.runtime.failures import failure
    from surgeon_engine.runtime.kept import Kept

    output, kept = Output(), Kept()
    outcomes: dict[str, Report | str] = {}
    for number, each in enumerate(found, 1):
        output.print_line(f"Run {number} of {len(found)}: {each.name}")
        try:
            name = f"{job.stem}_{each.folder_name}"
            folder = _run_or_resume(run_dir, name, each, kept, replace=replace)
            outcomes[each.name] = RunFolder(folder).read_report()
        except RunCancelled:  # this run alone, unlike by Ctrl-C
            outcomes[each.name] = "canceled"
        except (EngineError, MemoryError, RuntimeError, OSError) as error:
            outcomes[each.name] = f"failed: {failure(error).message}"
    asked = context or found[0].config.pruning.context
    output.print_table(sweep_table(outcomes, asked))
    if any(isinstance(outcome, str) for outcome in outcomes.values()):
        raise typer.Exit(1)


def _run_or_resume(
    parent: Path, name: str, variation: Variation, kept: Kept, *, replace: bool
) -> Path:
    """Start or resume a run of a sweep, unless it is complete; return its folder."""
    runs = (RunFolder(parent / each) for each in numbered_names(name))
    run = next(x for x in runs if not x.path.exists() or _is_of(x, variation.config))
    if run.saved_state.exists:
        path = str(run.path)
        _work_on(ResumeRun(run=run.path.name, folder=path, replace=replace), kept)
    elif run.is_being_worked_on:
        raise RunFolderError(
            "Another process works on {path}.",
            "Wait until it has ended.",
            path=run.path,
        )
    elif not run.path.exists():
        _prune(_start(run.path, variation.config, replace=replace), kept)
    return run.path


def _is_of(run: RunFolder, config: RunConfig) -> bool:
    """Return whether there is a run of this job that is complete or can go on."""
    is_alive = run.is_being_worked_on or run.saved_state.exists
    if not is_alive and not run.report_path.is_file():
        return False  # it has failed
    try:
        return run.read_config() == config_from_toml(config_to_toml(config))
    except EngineError:
        return False


def _start(
    folder: Path, config: RunConfig, stop_after: int = 0, *, replace: bool = False
) -> StartRun:
    path = expand_path(folder)
    return StartRun(
        run=path.name,
        config=config,
        folder=str(path),
        replace=replace,
        stop_after=stop_after,
    )


def _prune(command: StartRun, kept: Kept | None = None) -> None:
    start_fence(command.config)
    _work_on(command, kept)


def start_fence(config: RunConfig) -> None:
    """Let the process that reads files of strangers load its libraries meanwhile."""
    texts = {text for _, text in config.texts}
    is_ours = texts <= {BUILTIN_TEXT, ""} and config.model.source == DEMO
    if not is_ours and config.model.gpus == 1 and os.environ.get("RANK", "0") == "0":
        from surgeon_engine.runtime import fence

        fence.start("surgeon_engine.calibration.preview")


def _gpus_of(text: str) -> int:
    """Return the number of GPUs that an option asks for."""
    if text == "all":
        from surgeon_engine.runtime.devices import gpu_count

        if not (count := gpu_count()):
            raise ConfigError(
                "This machine has no GPU that torch can use.", "Leave --gpus out."
            )
        return count
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise ConfigError(
            "--gpus is {text:shown}, which is no number of GPUs.",
            "Give a number such as 2, or all.",
            text=text,
        )
    return int(text)


def _check_alone(command: str, hint: str = "") -> None:
    """Check that torchrun has not started this process as one of several.

    If it has, the first one refuses, and the others succeed: their success does not end
    the first one, which explains the failure.
    """
    from surgeon_engine.runtime import ranks

    if not ranks.are_given():
        return
    if os.environ["RANK"] != "0":
        raise typer.Exit(0)
    count = os.environ["WORLD_SIZE"]
    raise ConfigError(
        "surgeon {command} does not work below torchrun: its {count} processes would "
        "do the same work, and write the same files.",
        say_all(say("Start it without torchrun."), hint),
        command=command,
        count=count,
    )


@contextmanager
def _ranks(model: ModelConfig) -> Iterator[None]:
    """Share the work of the block with the processes that torchrun has started.

    An error is shown by the first of them. Without torchrun this does nothing.
    """
    from surgeon_engine.runtime import ranks

    if not ranks.are_given():
        yield
        return
    ranks.begin(uses_gpu=model.device is not Device.CPU)
    is_first = ranks.is_first()
    try:
        with ranks.together():
            yield
    except Exception as error:
        ranks.end()
        if not is_first:
            raise typer.Exit(1) from error
        raise
    ranks.end()


def _work_on(command: StartRun | ResumeRun, kept: Kept | None = None) -> None:
    """Work on a run, show its events and then its fidelity."""
    from surgeon_engine.parallel.group import RunFailed, work_on_run
    from surgeon_engine.runtime import ranks
    from surgeon_engine.runtime.failures import RankLost, failure
    from surgeon_engine.runtime.run_context import RunContext

    folder = Path(command.folder)
    if ranks.is_first():
        remove_litter(folder.parent)
    output = Output()
    with EventDisplay(output) as display:
        context = RunContext(command.run, display.show, kept)
        try:
            with _ended_by_signals():
                work_on_run(command, context)
        except (KeyboardInterrupt, RunCancelled):
            context.emit(Cancelled())
            raise
        except RunFailed as error:  # its processes have sent the reason
            raise ProcessError(error.reason.message, error.reason.hint) from error
        except RankLost as error:
            context.emit(found := failure(error))
            raise ProcessError(found.message, found.hint) from error
        except Exception as error:
            context.emit(failure(error))
            raise
        finally:
            if ranks.is_first() and context.saver.holds_state:
                print_resume(folder, output)
    if ranks.is_first():
        print_fidelity(folder, output)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does.

    torchrun sends them to processes that share a run with one that has ended.
    """
    from surgeon_engine.runtime import ranks
    from surgeon_engine.runtime.failures import RankLost

    def interrupt(_: int, __: object) -> None:
        if ranks.started() > 1:
            raise RankLost("torchrun has ended this one, too")
        raise KeyboardInterrupt

    numbers = [getattr(signal, x) for x in ("SIGTERM", "SIGHUP") if hasattr(signal, x)]
    # `nohup` has them ignored.
    numbers = [x for x in numbers if signal.getsignal(x) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    after: dict[Any, Any] = before
    try:
        yield
    except RankLost:
        after = dict.fromkeys(numbers, signal.SIG_IGN)  # until it has said why
        raise
    finally:
        for number, handler in after.items():
            signal.signal(number, handler)


def _check_stop_after(stop_after: int | None, pruning: PruningConfig) -> None:
    # With a quality limit the number of steps is not known beforehand.
    max_shot = math.inf if pruning.has_quality_limit else pruning.shots
    if stop_after is not None and not 1 <= stop_after <= max_shot:
        raise ConfigError(
            "There is no shot {stop_after} to stop after.",
            "Give --stop-after a number from 1 to {shots}, or a larger one for a job "
            "with max_perplexity_increase or max_divergence.",
            stop_after=stop_after,
            shots=pruning.shots,
        )
