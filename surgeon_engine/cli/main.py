"""The command line: the engine without a window. `surgeon --help` lists the commands.

They import torch when they run, so that `--help` and `--version` are immediate.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup
from typing_extensions import override

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    conditions,
    summarize,
)
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.api.model_info.source_names import (
    DEMO,
    is_hub_source,
    parse_hub_source,
)
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ExportError,
    RunCancelled,
)
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.paths import check_argument, command_on
from surgeon_engine.base.sentences import say
from surgeon_engine.cli.formatting import (
    event_line,
    format_table,
    measurement_table,
    missing_export,
    sweep_table,
)
from surgeon_engine.cli.judging import compare, judge
from surgeon_engine.cli.model_tables import layer_table, model_table, structure_table
from surgeon_engine.cli.output import EventDisplay, Output
from surgeon_engine.cli.plan_tables import plan_table, resource_advice, resource_table
from surgeon_engine.cli.runs import (
    Job,
    Replace,
    quantize,
    resume,
    run,
    start_fence,
    sweep,
)
from surgeon_engine.cli.vocabulary import vocabulary
from surgeon_engine.cli.watching import stop, watch
from surgeon_engine.planning.forecast import longer_training
from surgeon_engine.planning.needs import ResourceStatus

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
        except BrokenPipeError:  # the reader of the output has ended: click ends, too
            raise
        except (OSError, UnicodeError) as error:  # mostly about a path
            _print_error(_sentence_of(error))
            raise typer.Exit(1) from error
        except (KeyboardInterrupt, RunCancelled) as error:
            Output(to_stderr=True).print_line("Canceled.")
            raise typer.Exit(_INTERRUPTED) from error


def _print_error(error: EngineError) -> None:
    hint = error.hint
    if error.is_occupied:
        is_export = isinstance(error, ExportError)
        more = "An export replaces another with --replace."
        hint = f"{hint} {more if is_export else '--replace is for exports alone.'}"
    Output(to_stderr=True).print_line(f"{error.message}\n{hint}".strip())


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

    0: success, 1: failure, 2: invalid arguments, 130: canceled by Ctrl-C
    or `surgeon stop`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale may lack characters
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it
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


for command in (run, resume, watch, stop, sweep):
    app.command()(command)


@app.command()
def estimate(
    job: Job,
    run_dir: Annotated[
        Path, typer.Option(help="Folder in which the run folder would be created.")
    ] = Path("runs"),
    replace: Replace = False,
) -> None:
    """Estimate size, quality, memory, disk space and time of a job on this machine."""
    config = read_config(job)
    config.check_consistency()
    start_fence(config)
    from surgeon_engine.calibration.fenced import check_tokens, preview_text
    from surgeon_engine.export.destination import check_destination_of
    from surgeon_engine.parallel.group import gpus_for
    from surgeon_engine.run.preflight import preflight
    from surgeon_engine.runtime.run_context import RunContext

    gpus_for(config.model, is_new=True)  # raises if there are too few
    folder = RunFolder(new_run_folder(run_dir, config))
    context = RunContext("estimate", lambda _: None)
    check_destination_of(folder, config, context, replace=replace)
    found = preflight(config, folder.path)
    check_tokens(config, found.model)
    if not any(map(is_hub_source, config.calibration.texts_read)):
        preview_text(config.model, config.calibration)  # raises
    output = Output()
    output.print_table(plan_table(found.resources.settled, found.model, found.machine))
    output.print_table(resource_table(found.resources))
    if (processes := found.resources.estimate.processes) > 1:
        output.print_line(f"{processes} GPUs share the run.")
    for message in found.resources.settled.messages:
        output.print_line(message)
    if longer := longer_training(found.resources.estimate.training_seconds):
        output.print_line(longer)
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
    """Describe a model and how it can be pruned, or what a run has made of one."""
    from surgeon_engine.model.fenced import inspect_model

    output = Output()
    run = RunFolder(expand_path(model))
    if model != DEMO and run.is_run:
        _describe_run(run, output)
        return
    described = inspect_model(ModelConfig(source=model)).model
    output.print_line(f"{described.name} ({described.architecture})")
    facts = model_facts(described.source)
    dtype = described.dtype or (facts.dtype if facts else "")
    output.print_table(model_table(described, dtype), indent=2)
    output.print_line("  layers of a block (rows x columns)")
    output.print_table(layer_table(described), indent=4)
    output.print_line("  structures")
    output.print_table(structure_table(described), indent=4)


def _describe_run(run: RunFolder, output: Output) -> None:
    """Print the figures of a finished run and where its file is."""
    if not run.report_path.is_file():
        hint = say("Start the run again with its run.toml.")
        if run.is_being_worked_on:
            command = command_on(run.path, "watch")
            hint = say("To follow it: {command}", command=command)
        elif run.saved_state.exists:
            command = command_on(run.path, "resume")
            hint = say("To go on: {command}", command=command)
        raise ConfigError(
            "{path} is the folder of a run that is not finished.", hint, path=run.path
        )
    report = run.read_report()
    context = PruningConfig().context
    output.print_line(f"{run.path} is the folder of a run of {report.model.name}.")
    output.print_table(sweep_table({run.path.name: report}, context))
    if report.exported is not None:
        where = f"Its result is {report.exported.format}, in {run.export_of(report)}"
        output.print_line(missing_export(run, report) or where)


app.command()(vocabulary)


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
        typer.Option("--format", help="automatic: like the original's."),
    ] = Format.AUTOMATIC,
    dtype: Annotated[
        FileDtype,
        typer.Option(
            help="Number format of the weights; same: about as many bits as in the "
            "original's files."
        ),
    ] = FileDtype.SAME,
    shard_gigabytes: Annotated[
        float, typer.Option(help="Maximum size of one file.")
    ] = 5.0,
    replace: Replace = False,
) -> None:
    """Export the model of a finished run; without --to, list the possible formats."""
    output = Output()
    if to is None:
        wanted = dtype if file_format is Format.AUTOMATIC else file_format
        if wanted is not FileDtype.SAME:
            raise ConfigError(
                "No folder is given for the {format} files.",
                "Give --to FOLDER.",
                format=wanted,
            )
        _list_formats(run, output)
        return
    from surgeon_engine.export.export import export_again
    from surgeon_engine.runtime.run_context import RunContext

    config = ExportConfig(to, file_format, dtype, shard_gigabytes)
    with EventDisplay(output) as display:
        context = RunContext("export", display.show)
        exported = export_again(str(run), config, context, replace=replace)
    output.print_line(event_line(exported))


def _list_formats(run: Path, output: Output) -> None:
    folder = RunFolder(run)
    report = folder.read_report()
    if report.exported is None:
        output.print_line(
            "The export of this run has failed. The pruned model is in "
            f"{folder.checkpoint_of(report)}: give --to FOLDER to export it."
        )
    else:
        where = str(folder.export_of(report))  # the run may have been moved
        exported = msgspec.structs.replace(report.exported, folder=where)
        output.print_table(format_table(exported))


app.command()(quantize)
app.command()(judge)
app.command()(compare)


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
    output.print_line(f"{conditions(measured)}\n{summarize(measured)}")


@app.command(hidden=True)
def serve() -> None:
    """Serve the window: commands and events as lines of JSON on standard streams."""
    from surgeon_engine.runtime.greeting import greet

    output = greet()
    from surgeon_engine.server import serve_standard_streams

    serve_standard_streams(output)
