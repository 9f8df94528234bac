"""Texts about other computers, their connection and their runs. No Qt."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

from surgeon_engine.api.messages.events import ConnectionStatus
from surgeon_engine.api.messages.files import FileEntry, FileKind, RunEntry, RunOutcome
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.run import Status
from surgeon_gui.text import numbers

HOME = "~"  # home folder of the user on another computer

OUTCOMES = {
    RunOutcome.RUNNING: tr("In progress"),
    RunOutcome.FINISHED: tr("Finished"),
    RunOutcome.INTERRUPTED: tr("Can be resumed"),
    RunOutcome.ENDED: tr("Ended early"),
}


def computer_status(state: AppState, host: str) -> str:
    """Return the status of a computer in few words; `host` empty: of this one."""
    if host != state.computer:
        return ""
    if not host:
        return tr("In use")
    connection = state.connection
    if connection is None or connection.status is ConnectionStatus.CONNECTING:
        return tr("Connecting…")
    if connection.status is ConnectionStatus.LOST:
        return tr("Connection lost, trying again ({n} of {total})…").format(
            n=connection.attempt, total=connection.attempts
        )
    if connection.status is ConnectionStatus.FAILED:
        return tr("Not connected")
    return tr("In use") if state.engine is Engine.READY else tr("Engine is starting…")


def machine_text(state: AppState) -> str:
    """Describe the computer whose engine is used; empty without a connection."""
    parts = []
    if state.computer and state.started is not None:
        parts.append(
            tr("{name}, Surgeon {version}").format(
                name=state.started.computer, version=state.started.version
            )
        )
    machine = state.machine
    if machine is not None:
        parts.append(
            tr("{free} of {total} memory are free").format(
                free=numbers.free_size(machine.free_ram_bytes),
                total=numbers.size(machine.ram_bytes),
            )
        )
        if machine.gpu_name:
            parts.append(
                tr("{name}: {free} of {total} are free").format(
                    name=machine.gpu_name,
                    free=numbers.free_size(machine.free_gpu_bytes),
                    total=numbers.size(machine.gpu_bytes),
                )
            )
        else:
            parts.append(tr("no GPU"))
    return "; ".join(parts)


def connection_problem(state: AppState) -> str:
    """Return what is wrong with the connection, and what happens now; else empty."""
    connection = state.connection
    if not state.computer or connection is None:
        return ""
    if connection.status is ConnectionStatus.CONNECTED or not connection.message:
        return ""
    parts = [connection.message, computer_status(state, state.computer)]
    if connection.status is ConnectionStatus.FAILED:
        parts = [connection.message, connection.hint]
    if state.run.status is Status.CANCELLING:
        parts.insert(1, tr("The run is canceled once there is a connection."))
    elif state.run.status.is_busy:
        parts.insert(1, tr("The run goes on there."))
    return " ".join(part for part in parts if part)


def connection_wait(state: AppState) -> str:
    """Return that the engine waits for its connection; empty with one."""
    if state.is_connected:
        return ""
    return tr("Waiting for the connection with {computer}.").format(
        computer=state.computer
    )


def can_reconnect(state: AppState) -> bool:
    """Return True if another attempt to connect waits for the user, or for its time."""
    connection = state.connection
    statuses = (ConnectionStatus.LOST, ConnectionStatus.FAILED)
    return connection is not None and connection.status in statuses


def run_row(run: RunEntry) -> tuple[str, str, str, str]:
    """Return name, outcome, time and size of a run on another computer."""
    at = f"{datetime.fromtimestamp(run.at):%Y-%m-%d %H:%M}"
    return run.name, OUTCOMES[run.outcome], at, numbers.size(run.bytes)


def fetch_obstacle(run: RunEntry | None) -> str:
    """Return why a run cannot be copied; empty if it can."""
    if run is None:
        return tr("Select a run.")
    if run.outcome is RunOutcome.RUNNING:
        return tr("The run is in progress. Copy it when it has ended.")
    return ""


def resume_obstacle(run: RunEntry | None, state: AppState) -> str:
    """Return why a run there cannot be resumed; empty if it can."""
    if run is None:
        return tr("Select a run.")
    if run.config is None:
        return tr("There is no saved progress from which it could go on.")
    if state.is_busy:
        return tr("Something else is in progress.")
    return ""


def file_row(entry: FileEntry) -> tuple[str, str]:
    """Return name and size of a file on another computer."""
    if entry.kind is FileKind.FOLDER:
        return f"{entry.name}/", ""
    return entry.name, numbers.size(entry.bytes) if entry.bytes else tr("model")


def start_folders(current: str, last: str) -> list[str]:
    """Return the folders for the start of a file dialog; the first that exists is used.

    In this order: the folder of the current choice, if that is a path; the last; HOME.
    """
    path = PurePosixPath(current)
    is_path = path.is_absolute() or current.startswith(f"{HOME}/")
    found = [str(path.parent)] if is_path else []
    return [*found, *filter(None, [last]), HOME]


def path_of(folder: str, name: str) -> str:
    """Return the path of an entry of a folder there."""
    return str(PurePosixPath(folder) / name)
