"""Wait for the events of an engine, and for the end of its processes."""

import time
from pathlib import Path

import psutil

from surgeon_engine.api.messages.events import ConnectionChanged

SECONDS = 90.0  # processes start one after the other, on a busy machine


def receive_until(client, kind, seconds=SECONDS):
    """Return the events up to and with the first of a kind."""
    return [each.event for each in envelopes_until(client, kind, seconds)]


def envelopes_until(client, kind, seconds=SECONDS):
    """Return the envelopes up to and with the first event of a kind."""
    received = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not client.ended:
        if (envelope := client.receive(0.05)) is not None:
            received.append(envelope)
            if isinstance(envelope.event, kind):
                return received
    names = [type(each.event).__name__ for each in received]
    raise AssertionError(f"no {kind.__name__}, but {names}, {client.exit_reason()}")


def status_until(client, status):
    """Receive until the connection has that status; return its event."""
    while True:
        event = receive_until(client, ConnectionChanged)[-1]
        if event.status is status:
            return event


def processes(state: Path) -> list[psutil.Process]:
    """Return the processes of the computer whose files are in `state`."""
    found = []
    for process in psutil.process_iter():
        try:
            is_own = process.environ().get("XDG_STATE_HOME") == str(state)
            if is_own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return found


def kill_all(state: Path) -> None:
    """Kill the processes of the computer whose files are in `state`."""
    for process in processes(state):
        process.kill()


def wait_until_gone(state: Path) -> None:
    """Wait until no process of that computer is left."""
    deadline = time.monotonic() + SECONDS
    while left := processes(state):
        assert time.monotonic() < deadline, [each.cmdline() for each in left]
        time.sleep(0.05)
