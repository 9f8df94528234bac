"""Connect the standard streams with the keeper of a detached engine; start it first.

This is what `surgeon serve --detached` does, for a window on another computer.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import psutil

from surgeon_engine.api.messages.events import Envelope, Refused
from surgeon_engine.base.decoding import encode_json
from surgeon_engine.base.json_process import module_command
from surgeon_engine.detached.place import DetachedError, Place

KEEPER_COMMAND = module_command("surgeon_engine.detached.keeper")
_START_SECONDS = 30.0
_MAX_STARTS = 3
_POLL_SECONDS = 0.05
_READ_BYTES = 65_536
_WRITE_BYTES = 4_096  # as many as a pipe takes without waiting once it takes any
_STUCK_SECONDS = 120.0
_TAIL_BYTES = 2_000


def serve_detached(keeper_command: Sequence[str] = KEEPER_COMMAND) -> None:
    """Pass lines on between the standard streams and the keeper until one ends.

    Raises:
        DetachedError: The keeper cannot be started or reached.
    """
    stream = _connected(Place(), keeper_command)
    threading.Thread(target=_pass_on_input, args=(stream,), daemon=True).start()
    with contextlib.suppress(OSError):  # the client has gone away
        while data := stream.recv(_READ_BYTES):
            _write_all(data)
    os._exit(0)  # the other thread waits for input


def run_relay(keeper_command: Sequence[str] = KEEPER_COMMAND) -> int:
    """Serve as `serve_detached` does; send an error and return the exit status."""
    try:
        serve_detached(keeper_command)
    except DetachedError as error:
        refused = Refused(error.message, error.hint)
        _write_all(encode_json(Envelope("", time.time(), refused)) + b"\n")
        return 1
    return 0


def _pass_on_input(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(sys.stdin.fileno(), _READ_BYTES):
            stream.sendall(data)
    with contextlib.suppress(OSError):  # ends the other thread, too
        stream.shutdown(socket.SHUT_RDWR)


def _write_all(data: bytes) -> None:
    """Write to the standard output; exit if it takes nothing for minutes."""
    view = memoryview(data)
    while view:
        _, can_write, _ = select.select((), (sys.stdout,), (), _STUCK_SECONDS)
        if not can_write:
            os._exit(1)  # the connection is dead, and nobody else notices here
        view = view[os.write(sys.stdout.fileno(), view[:_WRITE_BYTES]) :]


def _connected(place: Place, keeper_command: Sequence[str]) -> socket.socket:
    if (stream := _connect(place)) is not None:
        return stream
    place.log.unlink(missing_ok=True)  # of the last keeper
    starts = 0
    keeper = None
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (stream := _connect(place)) is not None:
            return stream
        if keeper is None or not _is_running(keeper):
            if starts == _MAX_STARTS:
                break
            starts += 1  # again, if another keeper was just about to end
            keeper = _start(keeper_command, place)
        time.sleep(_POLL_SECONDS)
    tail = ""
    with contextlib.suppress(OSError):  # no keeper could write it
        tail = place.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    raise DetachedError(
        f"The engine cannot be started detached. {tail}".strip(),
        f"The log is {place.log}.",
    )


def _start(command: Sequence[str], place: Place) -> int:
    """Start the keeper as no descendant of this process; return its ID."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        try:
            with place.log.open("ab") as log:
                keeper = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            os.write(writes, str(keeper.pid).encode())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as pipe:
        return int(pipe.read() or -1)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def _connect(place: Place) -> socket.socket | None:
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.connect(str(place.socket))
    except OSError:
        stream.close()
        return None
    return stream
