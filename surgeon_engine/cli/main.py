"""The command line: the engine without a window.

    surgeon run JOB.toml       prune a model as described by a job file
    surgeon resume RUN         resume a run that was interrupted
    surgeon watch RUN          show a run in progress, wherever it was started
    surgeon stop RUN           cancel it, or stop it and keep the result
    surgeon sweep JOB.toml     run a job with several values of some settings
    surgeon estimate JOB.toml  estimate the memory, disk space and time of a job
    surgeon inspect MODEL      describe a model and how it can be pruned
    surgeon download MODEL     download a model from the Hugging Face Hub
    surgeon export RUN         export the model of a finished run in another format
    surgeon quantize MODEL     write a model as GGUF in fewer bits, without pruning it
    surgeon measure MODEL...   measure speed and memory of one model, or compare two

Commands import torch when they run, so that `--help` and `--version` are immediate.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Memory, PrunableShare, PruningConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, RunConfig
from surgeon_engine.api.config.sweep import Variation, variations
from surgeon_engine.api.config.toml import (
    config_from_toml,
    config_to_toml,
    read_config,
    with_paths_from,
)
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.benchmark import BenchmarkSettings, summarize
from surgeon_engine.api.messages.commands import ResumeRun, StartRun, StopAndKeep
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.api.model_info.source_names import DEMO, parse_hub_source
from surgeon_engine.api.run_folder import Report, RunFolder, new_run_folder
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ProcessError,
    RunFolderError,
)
from surgeon_engine.base.paths import check_argument, check_name
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.cli.formatting import (
    event_line,
    format_table,
    layer_table,
    measurement_notes,
    measurement_table,
    model_table,
    resource_advice,
    resource_table,
    structure_table,
    sweep_table,
)
from surgeon_engine.cli.output import EventDisplay, Output
from surgeon_engine.cli.watching import print_fidelity, start_detached, stop, watch
from surgeon_engine.planning.needs import ResourceStatus

if TYPE_CHECKING:
    from surgeon_engine.runtime.kept import Kept
    from surgeon_engine.runtime.run_context import RunContext

_Replace = Annotated[
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
_INTERRUPTED = 130  # the shell's code for Ctrl-C
_DEFAULTS = BenchmarkSettings()


class _Commands(TyperGroup):
    """Turn an expected error into a message on standard error and an exit code."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EngineError as error:
            _print_error(error)
            raise typer.Exit(1) from error
        except (OSError, UnicodeError) as error:  # of a path, mostly
            _print_error(_sentence_of(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            Output(to_stderr=True).print_line("Cancelled.")
            raise typer.Exit(_INTERRUPTED) from error


def _print_error(error: EngineError) -> None:
    Output(to_stderr=True).print_line(f"{error.message}\n{error.hint}".strip())


def _sentence_of(error: OSError | UnicodeError) -> EngineError:
    reason = getattr(error, "strerror", None) or str(error)
    name = getattr(error, "filename", None)
    return EngineError(
        "{name:shown} cannot be used: {reason:clause}."
        if name
        else "This is not possible: {reason:clause}.",
        "Check the paths, and your rights and free space there.",
        name=str(name),
        reason=reason,
    )


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: success, 1: failure, 2: invalid arguments, 130: interrupted by Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        for argument in given:
            check_argument(argument)
    except ConfigError as error:
        _print_error(error)
        return 2
    # Typer.__call__ would replace sys.excepthook for good.
    command = typer.main.get_command(app)
    try:
        command.main(given, prog_name="surgeon")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))
    return 0


def _print_version(is_requested: bool) -> None:
    if is_requested:
        Output().print_line(version("surgeon"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _print_help(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Prune pretrained language models."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(1)


@app.command()
def run(  # noqa: PLR0913  one parameter for each option
    job: Annotated[Path, typer.Argument(help="TOML file, as saved by the window.")],
    run_dir: Annotated[
        Path, typer.Option(help="Folder in which run folders are created.")
    ] = Path("runs"),
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
    replace: _Replace = False,
    detach: _Detach = False,
) -> None:
    """Prune a model as described by a job file.

    Below torchrun, this is one of the processes that share the run.
    """
    if name is not None:
        check_name("--name", name)
    config = read_config(job)
    if gpus is not None:
        count = _gpus_of(gpus)
        model = dataclasses.replace(config.model, gpus=count)
        config = dataclasses.replace(config, model=model)
    _check_stop_after(stop_after, config.pruning)
    if detach:
        _check_alone("run --detach")
        if stop_after is not None:
            raise ConfigError("--stop-after and --detach exclude each other.")
        folder = (
            run_dir / name if name else new_run_folder(run_dir, config.model.source)
        )
        start_detached(folder, config, replace=replace)
        return
    with _ranks(config.model):
        from surgeon_engine.runtime import ranks

        default = new_run_folder(run_dir, config.model.source)
        folder = run_dir / name if name else ranks.agree(lambda: default)
        _prune(folder, config, stop_after, replace=replace)


@app.command()
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
    replace: _Replace = False,
    detach: _Detach = False,
) -> None:
    """Resume a run that was interrupted, from the state in its folder."""
    from surgeon_engine.parallel.group import model_of
    from surgeon_engine.runtime import ranks

    with _ranks(model_of(ResumeRun(run=run.name, folder=str(run)))):
        if take_over:
            ranks.agree(RunFolder(run).take_over)
        if detach:
            _check_alone("resume --detach")
            start_detached(run, replace=replace)
        else:
            _resume(run, replace=replace)


app.command()(watch)
app.command()(stop)


@app.command()
def sweep(
    job: Annotated[Path, typer.Argument(help="TOML file, as saved by the window.")],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="PART.SETTING=VALUES",
            help="A setting and its values, such as pruning.sparsity=0.1,0.2,0.3. "
            "Repeat it for further settings: each combination is a run.",
        ),
    ],
    run_dir: Annotated[
        Path, typer.Option(help="Folder in which run folders are created.")
    ] = Path("runs"),
    context: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="that of the target, or 4096",
            help="Tokens of prompt and answer together, for the memory in the table.",
        ),
    ] = None,
    replace: _Replace = False,
) -> None:
    """Run a job with several values of some settings, one after another.

    A run that fails does not end the sweep. Repeating the command resumes
    what was interrupted and skips what is complete. At the end a table shows
    the size and the fidelity of each run, and the memory in which its model
    runs.
    """
    found = [
        Variation(each.name, with_paths_from(job.parent, each.config))
        for each in variations(read_config(job), settings)
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
        except (EngineError, MemoryError, RuntimeError, OSError) as error:
            outcomes[each.name] = failure(error).message
    target = found[0].config.pruning.target
    asked = target.context if isinstance(target, Memory) else Memory().context
    output.print_table(sweep_table(outcomes, context or asked))
    if any(isinstance(outcome, str) for outcome in outcomes.values()):
        raise typer.Exit(1)


def _run_or_resume(
    parent: Path, name: str, variation: Variation, kept: Kept, *, replace: bool
) -> Path:
    """Do a run of a sweep, or go on with what there is of it; return its folder."""
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    runs = (RunFolder(parent / each) for each in names)
    run = next(x for x in runs if not x.path.exists() or _is_of(x, variation.config))
    if run.saved_state.exists:
        _resume(run.path, kept, replace=replace)
    elif run.is_being_worked_on:
        raise RunFolderError(
            "Another process works on {path}.",
            "Wait until it has ended.",
            path=run.path,
        )
    elif not run.path.exists():
        _prune(run.path, variation.config, kept=kept, replace=replace)
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


def _prune(
    folder: Path,
    config: RunConfig,
    stop_after: int | None = None,
    kept: Kept | None = None,
    *,
    replace: bool = False,
) -> None:
    _start_fence(config)
    from surgeon_engine.parallel.group import work_on_run

    command = StartRun(
        run=folder.name, config=config, folder=str(folder), replace=replace
    )
    last = stop_after or 0
    work = lambda context: work_on_run(command, context, last)  # noqa: E731
    _work_on(folder, work, stop_after, kept)


def _start_fence(config: RunConfig) -> None:
    """Let the process that reads files of strangers load its libraries meanwhile."""
    texts = (*config.calibration.all_texts, config.calibration.validation_text)
    is_ours = {BUILTIN_TEXT, ""}.issuperset(texts) and config.model.source == DEMO
    if not is_ours and config.model.gpus == 1 and os.environ.get("RANK", "0") == "0":
        from surgeon_engine.runtime import fence

        fence.start("surgeon_engine.calibration.preview")


def _resume(folder: Path, kept: Kept | None = None, *, replace: bool) -> None:
    from surgeon_engine.parallel.group import work_on_run

    command = ResumeRun(run=folder.name, folder=str(folder), replace=replace)
    _work_on(folder, lambda context: work_on_run(command, context), kept=kept)


def _gpus_of(text: str) -> int:
    """Return the number of GPUs that an option asks for.

    Raises:
        ConfigError: it is no number, or there is no GPU.
    """
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

    Raises:
        ConfigError: it has, and this is the first one.
        Exit: it has, and this is another one. Its success does not end the first one,
            which explains the failure.
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


def _work_on(
    folder: Path,
    work: Callable[[RunContext], None],
    stop_after: int | None = None,
    kept: Kept | None = None,
) -> None:
    """Work on a run, show its events and then its fidelity."""
    from surgeon_engine.parallel.group import RunFailed
    from surgeon_engine.runtime import ranks
    from surgeon_engine.runtime.failures import RankLost, failure
    from surgeon_engine.runtime.run_context import RunContext
    from surgeon_engine.runtime.versions import disable_progress_bars

    disable_progress_bars()
    if ranks.is_first():
        remove_litter(folder.parent)
    output = Output()
    with EventDisplay(output) as display:

        def handle(envelope: Envelope) -> None:
            display.show(envelope)
            event = envelope.event
            if isinstance(event, ShotFinished) and event.shot == stop_after:
                context.handle(StopAndKeep(run=folder.name))

        context = RunContext(folder.name, handle, kept)
        try:
            with _ended_by_signals():
                work(context)
        except KeyboardInterrupt:
            context.emit(Cancelled())
            if context.saver.holds_state:
                output.print_line(f"To resume it later: surgeon resume {folder}")
            raise
        except RunFailed as error:  # its processes have sent the reason
            raise ProcessError(error.reason.message, error.reason.hint) from error
        except RankLost as error:
            context.emit(found := failure(error))
            raise ProcessError(found.message, found.hint) from error
        except Exception as error:
            context.emit(failure(error))
            raise
    if not ranks.is_first():
        return
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


@app.command()
def estimate(
    job: Annotated[Path, typer.Argument(help="TOML file, as saved by the window.")],
    run_dir: Annotated[
        Path, typer.Option(help="Folder in which the run folder would be created.")
    ] = Path("runs"),
) -> None:
    """Estimate the memory, disk space and time of a job on this machine."""
    config = read_config(job)
    config.check_consistency()
    _start_fence(config)
    from surgeon_engine.run.preflight import preflight
    from surgeon_engine.runtime.versions import disable_progress_bars

    disable_progress_bars()
    found = preflight(config, run_dir / "estimate")
    output = Output()
    output.print_table(resource_table(found.resources))
    if (processes := found.resources.estimate.processes) > 1:
        output.print_line(f"{processes} GPUs share the run.")
    for message in found.resources.settled.messages:
        output.print_line(message)
    if advice := resource_advice(found.resources, found.adjusted()):
        output.print_line(advice)
    if found.resources.room is ResourceStatus.RED:
        raise typer.Exit(1)


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(help='Folder, .gguf file, hf://organization/name, or "demo".'),
    ],
) -> None:
    """Describe a model and how it can be pruned."""
    from surgeon_engine.model.fenced import inspect_model

    described = inspect_model(ModelConfig(source=model)).model
    output = Output()
    output.print_line(f"{described.name} ({described.architecture})")
    output.print_table(model_table(described), indent=2)
    output.print_line("  layers of a block (rows x columns)")
    output.print_table(layer_table(described), indent=4)
    output.print_line("  structures")
    output.print_table(structure_table(described), indent=4)


@app.command()
def download(
    model: Annotated[
        str,
        typer.Argument(
            help="organization/name, optionally with @revision: a branch, tag or "
            "commit."
        ),
    ],
) -> None:
    """Download a model from the Hugging Face Hub."""
    from surgeon_engine.hub.download import download_model
    from surgeon_engine.runtime.run_context import RunContext

    source = parse_hub_source(model) or model
    output = Output()
    with EventDisplay(output) as display:
        downloaded = download_model(source, RunContext("download", display.show))
    output.print_line(f"{source} is in {downloaded.folder}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    to: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for the new files.")
    ] = None,
    file_format: Annotated[
        Format,
        typer.Option(
            "--format", help="automatic: the smallest that transformers loads."
        ),
    ] = Format.AUTOMATIC,
    dtype: Annotated[
        FileDtype,
        typer.Option(
            help="Number format of the weights; same: the shorter of the original's "
            "and the run's."
        ),
    ] = FileDtype.SAME,
    shard_gigabytes: Annotated[
        float, typer.Option(help="Maximum size of one file.")
    ] = 5.0,
    replace: _Replace = False,
) -> None:
    """Export the model of a finished run; without --to, list the possible formats."""
    output = Output()
    if to is None:
        if file_format is not Format.AUTOMATIC:
            raise ConfigError(
                "No folder is given for the {format} files.",
                "Give --to FOLDER.",
                format=file_format,
            )
        _list_formats(run, output)
        return
    from surgeon_engine.export.export import export_again
    from surgeon_engine.runtime.run_context import RunContext
    from surgeon_engine.runtime.versions import disable_progress_bars

    disable_progress_bars()
    config = ExportConfig(to, file_format, dtype, shard_gigabytes)
    with EventDisplay(output) as display:
        context = RunContext("export", display.show)
        exported = export_again(str(run), config, context, replace=replace)
    output.print_line(event_line(exported))


@app.command()
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
        calibration=CalibrationConfig(text=text),
        pruning=PruningConfig(target=PrunableShare(0.0)),
        export=ExportConfig(format=Format.GGUF, dtype=dtype),
    )
    folder = new_run_folder(run_dir, model)
    _prune(folder, config)


def _list_formats(run: Path, output: Output) -> None:
    report = RunFolder(run).read_report()
    if report.exported is None:
        output.print_line(
            "The export of this run has failed. The pruned model is in "
            f"{report.checkpoint}: give --to FOLDER to export it."
        )
    else:
        output.print_table(format_table(report.exported))


@app.command()
def measure(  # noqa: PLR0913  one parameter for each option
    models: Annotated[list[str], typer.Argument(help="One or two, as for inspect.")],
    rounds: Annotated[
        int, typer.Option(help="Number of rounds, warm-ups excluded.")
    ] = _DEFAULTS.rounds,
    prompt_tokens: Annotated[
        int, typer.Option(help="Length of the prompt.")
    ] = _DEFAULTS.prompt_tokens,
    generated_tokens: Annotated[
        int, typer.Option(help="Number of tokens generated in each round.")
    ] = _DEFAULTS.generated_tokens,
    threads: Annotated[
        int, typer.Option(help="Number of threads; 0: all cores.")
    ] = _DEFAULTS.threads,
    device: Annotated[
        Device, typer.Option(help="auto: a GPU if there is one.")
    ] = _DEFAULTS.device,
    dtype: Annotated[
        Dtype, typer.Option(help="Number format of the computation.")
    ] = _DEFAULTS.dtype,
) -> None:
    """Measure speed and memory of one model, or compare two."""
    from surgeon_engine.measurement.measure import measure as measure_models

    settings = BenchmarkSettings(
        rounds=rounds,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
        threads=threads,
        dtype=dtype,
        device=device,
    )
    measured = measure_models(models, settings, lambda: None)
    output = Output()
    output.print_table(measurement_table(measured))
    output.print_line(f"{measurement_notes(measured)}\n{summarize(measured)}")


@app.command(hidden=True)
def serve() -> None:
    """Serve the window: commands and events as lines of JSON on standard streams."""
    from surgeon_engine.runtime.greeting import greet

    output = greet()
    from surgeon_engine.server import serve_standard_streams

    serve_standard_streams(output)


if __name__ == "__main__":
    sys.exit(main())
