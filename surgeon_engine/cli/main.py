"""The command line: the same engine without a window.

    surgeon run JOB.toml      prune as the job says
    surgeon estimate JOB.toml memory, disk and time that it will need
    surgeon inspect MODEL     what a model is and how it can be pruned
    surgeon download MODEL    fetch a model of the Hugging Face Hub
    surgeon export RUN        write what a run has pruned in another form
    surgeon measure MODEL...  speed and memory of one model, or of two in turns

Whatever needs torch is imported once a command is known: `--help` takes no time.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.errors import ConfigError, EngineError
from surgeon_engine.api.messages.benchmark import BenchmarkSettings, table
from surgeon_engine.api.messages.benchmark import in_words as in_words_measured
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.api.model_info.source_names import parse_hub_source
from surgeon_engine.api.planning.resource_check import Light
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.cli.formatting import described, line_of, offers

_INTERRUPTED = 130  # the shell's code for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; 0 if it was done, 1 if not, 130 on Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "run":
                return _run(options)
            case "estimate":
                return _estimate(options)
            case "inspect":
                return _inspect(options)
            case "download":
                return _download(options)
            case "export":
                return _export(options)
            case "measure":
                return _measure(options)
            case "serve":
                from surgeon_engine.server import serve_standard_streams

                serve_standard_streams()
                return 0
        parser.print_help()
        return 1
    except EngineError as error:
        _say(f"{error.message}\n{error.hint}".strip(), sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Cancelled.", sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgeon", description="Prune pretrained language models."
    )
    parser.add_argument("--version", action="version", version=version("surgeon"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = commands.add_parser("run", help="prune as a job file says")
    run.add_argument("job", type=Path, help="a TOML file, as the window saves it")
    run.add_argument(
        "--run-dir",
        type=Path,
        default=Path("runs"),
        help="where run folders are made (default: runs, in the current folder)",
    )
    run.add_argument("--name", help="of the run's folder (default: time and model)")
    run.add_argument(
        "--stop-after",
        type=int,
        metavar="SHOT",
        help="stop after this shot and export what is there by then",
    )

    estimate = commands.add_parser(
        "estimate", help="say what a job will need, and whether it fits this machine"
    )
    estimate.add_argument("job", type=Path, help="as for run")
    estimate.add_argument(
        "--run-dir", type=Path, default=Path("runs"), help="where it would be run"
    )

    inspect = commands.add_parser("inspect", help="say what a model is")
    inspect.add_argument(
        "model", help='a folder, a .gguf file, hf://org/name, or "demo"'
    )

    download = commands.add_parser("download", help="fetch a model of the Hub")
    download.add_argument(
        "model", help="org/name, or org/name@revision for a branch, tag or commit"
    )

    export = commands.add_parser(
        "export",
        help="write what a finished run has pruned once more",
        description="Without --to: say in which formats it can be written.",
    )
    export.add_argument("run", type=Path, help="the folder of a finished run")
    export.add_argument("--to", metavar="FOLDER", help="where it goes")
    export.add_argument(
        "--format",
        type=Format,
        choices=list(Format),
        default=Format.AUTOMATIC,
        help="default: the smallest that transformers loads",
    )
    export.add_argument(
        "--dtype",
        type=FileDtype,
        choices=list(FileDtype),
        default=FileDtype.SAME,
        help="number format of the weights (default: the shorter of the original's and "
        "the run's)",
    )
    export.add_argument(
        "--shard-gigabytes", type=float, default=5.0, help="most in one file"
    )
    export.add_argument(
        "--replace",
        action="store_true",
        help="what stands in the folder goes, once the new files are complete",
    )

    measure = commands.add_parser("measure", help="take the times of one or two models")
    measure.add_argument("models", nargs="+", metavar="MODEL", help="as for inspect")
    measure.add_argument(
        "--rounds",
        type=int,
        default=BenchmarkSettings().rounds,
        help="that count (default: %(default)s)",
    )
    measure.add_argument(
        "--prompt-tokens",
        type=int,
        default=BenchmarkSettings().prompt_tokens,
        help="of the prompt that is read (default: %(default)s)",
    )
    measure.add_argument(
        "--generated-tokens",
        type=int,
        default=BenchmarkSettings().generated_tokens,
        help="that are generated in a round (default: %(default)s)",
    )
    measure.add_argument("--threads", type=int, default=0, help="default: all cores")
    measure.add_argument(
        "--device",
        type=Device,
        choices=list(Device),
        default=Device.AUTO,
        help="default: a GPU where there is one",
    )
    measure.add_argument(
        "--dtype",
        type=Dtype,
        choices=list(Dtype),
        default=Dtype.FLOAT32,
        help="number format to compute in (default: %(default)s)",
    )

    commands.add_parser("serve")  # for the window: lines of JSON on standard streams
    return parser


def _run(options: argparse.Namespace) -> int:
    config = read_config(options.job)
    from surgeon_engine.pipeline import prune
    from surgeon_engine.runtime.run_context import RunContext
    from surgeon_engine.runtime.versions import without_progress_bars
    from surgeon_engine.server import failure

    _check_stop_after(options.stop_after, config.pruning)
    without_progress_bars()
    if options.name:
        folder = options.run_dir / options.name
    else:
        folder = new_run_folder(options.run_dir, config.model.source)

    def show(envelope: Envelope) -> None:
        _show(envelope)
        event = envelope.event
        if isinstance(event, ShotFinished) and event.shot == options.stop_after:
            context.handle(StopAndKeep(run=folder.name))

    context = RunContext(folder.name, show)
    try:
        prune(config, folder, context)
    except KeyboardInterrupt:
        context.emit(Cancelled())
        raise
    except Exception as error:
        context.emit(failure(error))
        raise
    return 0


def _check_stop_after(stop_after: int | None, pruning: PruningConfig) -> None:
    # A quality limit makes more and smaller steps: nobody knows how many.
    most = math.inf if pruning.max_perplexity_increase else pruning.shots
    if stop_after is not None and not 1 <= stop_after <= most:
        raise ConfigError(
            f"There is no shot {stop_after} to stop after.",
            f"Give --stop-after a number from 1 to {pruning.shots}, or a larger one "
            "for a job with a limit on perplexity.",
        )


def _estimate(options: argparse.Namespace) -> int:
    config = read_config(options.job)
    config.check_consistency()
    from surgeon_engine.api.planning.limits import check_target_in_limits
    from surgeon_engine.api.planning.target_size import file_dtype, goal_of
    from surgeon_engine.preflight import in_lines, preflight
    from surgeon_engine.runtime.versions import without_progress_bars

    without_progress_bars()
    found = preflight(config, options.run_dir / "estimate")
    goal = goal_of(config.pruning, found.model, file_dtype(config, found.model))
    check_target_in_limits(goal, config.pruning, found.model)
    _say(in_lines(found))
    return 0 if found.fit.room is not Light.RED else 1


def _inspect(options: argparse.Namespace) -> int:
    from surgeon_engine.model.inspect import inspect_model
    from surgeon_engine.runtime.versions import without_progress_bars

    without_progress_bars()
    _say(described(inspect_model(ModelConfig(source=options.model)).model))
    return 0


def _download(options: argparse.Namespace) -> int:
    from surgeon_engine.hub.download import download_model
    from surgeon_engine.runtime.run_context import RunContext

    source = parse_hub_source(options.model) or options.model
    downloaded = download_model(source, RunContext("download", _show))
    _say(f"{source} is in {downloaded.folder}")
    return 0


def _export(options: argparse.Namespace) -> int:
    if options.to is None:
        if options.format is not Format.AUTOMATIC:
            raise ConfigError(
                f"Nothing says where the {options.format} files are to go.",
                "Give --to FOLDER.",
            )
        _say(offers(RunFolder(options.run).read_report()))
        return 0
    from surgeon_engine.export.export import export_again
    from surgeon_engine.runtime.run_context import RunContext
    from surgeon_engine.runtime.versions import without_progress_bars

    without_progress_bars()
    wanted = ExportConfig(
        options.to,
        options.format,
        options.dtype,
        options.shard_gigabytes,
        options.replace,
    )
    context = RunContext("export", _show)
    _say(line_of(export_again(str(options.run), wanted, context)))
    return 0


def _measure(options: argparse.Namespace) -> int:
    from surgeon_engine.measurement.measure import measure

    settings = BenchmarkSettings(
        rounds=options.rounds,
        prompt_tokens=options.prompt_tokens,
        generated_tokens=options.generated_tokens,
        threads=options.threads,
        dtype=options.dtype,
        device=options.device,
    )
    measured = measure(options.models, settings, lambda: None)
    _say(f"{table(measured)}\n{in_words_measured(measured)}")
    return 0


def _show(envelope: Envelope) -> None:
    if line := line_of(envelope.event):
        _say(line)


def _say(text: str, stream: TextIO | None = None) -> None:
    target = stream or sys.stdout
    target.write(text + "\n")
    target.flush()


if __name__ == "__main__":
    sys.exit(main())
