"""The commands to a run: lines of JSON in `commands.jsonl` in its folder.

Anyone who may write there can add one: a window, `surgeon stop`, another computer. The
process that works on the run obeys those that are added meanwhile. A detached run
begins with its own line, which starts or resumes it, and obeys those after that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from surgeon_engine.api.messages.commands import Control, ResumeRun, StartRun
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import encode_json, json_decoder
from surgeon_engine.base.errors import RunFolderError, UnreadableFileError
from surgeon_engine.base.reading import LIMIT, open_to_append, read_lines

_POLL_SECONDS = 0.25
_CONTROL = json_decoder(Control)
_START = json_decoder(StartRun | ResumeRun)


def add_command(run: RunFolder, command: StartRun | ResumeRun | Control) -> None:
    """Add a command for the process that works on a run.

    Raises:
        UnreadableFileError: The file is a link, a pipe, a device or a folder.
        OSError: It cannot be written.
    """
    with open_to_append(run.commands_path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        is_cut_off = file.read() not in (b"", b"\n")
        file.write(b"\n" * is_cut_off + encode_json(command) + b"\n")


def find_start(run: RunFolder, name: str) -> tuple[StartRun | ResumeRun, int]:
    """Return the command that starts or resumes a run, and the position after it.

    The last command of this name counts.

    Raises:
        RunFolderError: There is no such command.
    """
    found = None
    with suppress(UnreadableFileError):
        for line, position in _lines(run, 0):
            with suppress(msgspec.MsgspecError):
                command = _START(line)
                found = (command, position) if command.run == name else found
    if found is None:
        raise RunFolderError("{path} does not start the run.", path=run.commands_path)
    return found


@contextmanager
def obeyed_commands(
    run: RunFolder, handle: Callable[[Any], object], start: int | None = None
) -> Iterator[None]:
    """Handle the commands to a run, in a thread, during the block.

    The folder of the run need not exist yet. The commands begin at `start` in their
    file; None: at its current end.
    """
    ended = threading.Event()
    position = _end(run) if start is None else start

    def listen(position: int) -> None:
        while not ended.wait(_POLL_SECONDS):
            with suppress(OSError, UnreadableFileError):  # then there is none
                for line, after in _lines(run, position):
                    position = after
                    with suppress(msgspec.MsgspecError):
                        handle(_CONTROL(line))

    thread = threading.Thread(target=listen, args=(position,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _end(run: RunFolder) -> int:
    try:
        return run.commands_path.stat().st_size
    except (OSError, ValueError):
        return 0


def _lines(run: RunFolder, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield the complete lines after a position, each with the position after it."""
    if _end(run) <= start:
        return
    for line in read_lines(run.commands_path, LIMIT, start):
        if not line.endswith(b"\n"):
            return
        start += len(line)
        yield line, start
