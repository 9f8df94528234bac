"""The commands for runs in progress: surgeon watch, surgeon stop."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from surgeon_engine.api.messages.commands import (
    Cancel,
    Control,
    Pause,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.run import Paused, Resumed, RunFinished
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.verdict import Basis
from surgeon_engine.base.errors import ConfigError, ProcessError, RunFolderError
from surgeon_engine.base.files import check_exists
from surgeon_engine.base.paths import command_on
from surgeon_engine.cli.formatting import experts_line, fidelity_table, tokens_lines
from surgeon_engine.cli.output import EventDisplay, Output
from surgeon_engine.detached.start import start_run
from surgeon_engine.detached.watch import RunWatch

_CANCELLED = 130  # as after Ctrl-C
_Run = Annotated[Path, typer.Argument(help="Folder of the run.")]


def start_detached(command: StartRun | ResumeRun) -> None:
    """Start or resume a run as a process of its own, and say how to follow it."""
    name = f"run-{uuid.uuid4().hex[:8]}"
    start_run(msgspec.structs.replace(command, run=name, detached=True))
    Output().print_line(f"To follow the run: {command_on(command.folder, 'watch')}")


def watch(run: _Run) -> None:
    """Show a run, also one in progress, until it ends. Ctrl-C does not stop it."""
    output = Output()
    event = None
    try:
        with EventDisplay(output) as display:
            for envelope in RunWatch(RunFolder(run)).events():
                display.show(envelope)
                event = envelope.event
                if isinstance(event, Paused | Resumed):
                    output.print_line(f"{type(event).__name__}.")
    except KeyboardInterrupt as error:
        output.print_line(f"The run goes on. To cancel it: {command_on(run, 'stop')}")
        raise typer.Exit(_CANCELLED) from error
    if RunFolder(run).saved_state.exists:
        print_resume(run, output)
    match event:
        case RunFinished():
            print_fidelity(run, output)
        case Failed(message=message, hint=hint):
            raise ProcessError(message, hint)
        case Cancelled():
            output.print_line("Canceled.")
            raise typer.Exit(_CANCELLED)


def stop(
    run: _Run,
    keep: Annotated[
        bool, typer.Option("--keep", help="Finish here: end the shot, then export.")
    ] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Only pause; the model stays in memory.")
    ] = False,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Resume a paused run.")
    ] = False,
) -> None:
    """Cancel a run in progress, wherever it was started; what it has saved stays."""
    if keep + pause + go_on > 1:
        raise ConfigError("--keep, --pause and --continue exclude each other.")
    folder = RunFolder(run)
    use = folder.use
    if use is None:
        check_exists(folder.path, RunFolderError)
        raise RunFolderError("No process works on {path}.", path=folder.path)
    kind = StopAndKeep if keep else Pause if pause else Resume if go_on else Cancel
    command: Control = kind(run=run.name)
    watched = RunWatch(folder)
    watched.handle(command)
    if use.is_elsewhere and use.holder is not None:  # it may have ended
        Output().print_line(
            f"The computer {use.holder.computer} has been working on the run since "
            f"{use.holder.start}. If it still does, it will follow the command soon. "
            "If it has ended, resume the run here: "
            + command_on(run, "resume", "--take-over")
        )
    elif isinstance(command, Cancel):
        *_, last = (envelope.event for envelope in watched.events())
        if isinstance(last, Failed):
            raise ProcessError(last.message, last.hint)
        has_finished = isinstance(last, RunFinished)
        Output().print_line("The run had finished." if has_finished else "Canceled.")
    elif isinstance(command, Pause):
        Output().print_line("The run pauses at its next safe point.")
    else:
        goes_on = "The run ends its shot, then exports." if keep else "The run goes on."
        Output().print_line(goes_on)


def print_resume(run: Path, output: Output) -> None:
    """Print how a run goes on from what it has saved."""
    output.print_line(f"To resume it later: {command_on(run, 'resume')}")


def print_fidelity(run: Path, output: Output) -> None:
    """Print how closely the file of a finished run follows the original."""
    report = RunFolder(run).read_report()
    output.print_table(fidelity_table(report.baseline, report.fidelity))
    if line := experts_line(report.shots[-1].layers if report.shots else ()):
        output.print_line(line)
    for line in tokens_lines(report.tokens, report.fidelity):
        output.print_line(line)
    if (verdict := report.verdict) is not None:
        basis = "" if report.basis is Basis.FILE else f" (judged on {report.basis})"
        output.print_line(f"verdict: {verdict}{basis}")
