"""Start the process of a detached run.

    start -> this module as a process -> the process of the run

The one in between ends at once. Then the run is no descendant of the engine, which may
be killed with all of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.api.messages.commands import ResumeRun, StartRun
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.run_commands import add_command, find_start
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import encode_json, json_decoder
from surgeon_engine.base.errors import EngineError, ProcessError, RunFolderError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.json_process import module_command
from surgeon_engine.base.paths import check_path
from surgeon_engine.base.reading import open_to_append, read_lines
from surgeon_engine.base.sentences import say

PROCESS_COMMAND = module_command("surgeon_engine.detached.process")
_BETWEEN = module_command("surgeon_engine.detached.start")
_BEGIN_SECONDS = 120.0
_ANSWER = json_decoder(Failed | None)


def start_run(
    command: StartRun | ResumeRun, process: Sequence[str] = PROCESS_COMMAND
) -> None:
    """Start a detached run, and return when it holds the lock of its folder.

    A command that is sent again, after a connection was lost, starts no second process.
    `process` is the program of the run; its arguments are folder and command name.

    Raises:
        EngineError: The run cannot begin.
        OSError: Its folder cannot be written.
    """
    check_path(say("The folder"), command.folder)
    run = RunFolder(expand_path(command.folder))
    command = msgspec.structs.replace(command, folder=str(run.path))
    is_known = _is_known(command, run)
    if is_known and (run.use is not None or _has_begun(command, run)):
        return
    if isinstance(command, StartRun):
        run.make()
    else:
        run.check_resumable()
    if not is_known:
        add_command(run, command)
    if run.use is None:  # else it belongs to another process
        with open_to_append(run.output_path) as output:
            output.truncate(0)
    try:
        answer = subprocess.run(
            (*_BETWEEN, str(run.output_path), *process, str(run.path), command.run),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_BEGIN_SECONDS,
            check=False,
        ).stdout
        problem = _ANSWER(answer)
    except (subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
        raise ProcessError(
            "The process of the run cannot be started.",
            "Its output is in {path}.",
            path=run.output_path,
        ) from error
    if problem is not None and not (is_known and run.use is not None):
        raise RunFolderError(problem.message, problem.hint)


def _is_known(command: StartRun | ResumeRun, run: RunFolder) -> bool:
    with suppress(RunFolderError):
        find_start(run, command.run)
        return True
    return False


def _has_begun(command: StartRun | ResumeRun, run: RunFolder) -> bool:
    """Return whether a process has begun, which a command has started."""
    if isinstance(command, StartRun):
        return run.config_path.is_file()
    start = b'"run":%s' % encode_json(command.run)
    if not os.path.lexists(run.events_path):
        return False
    lines = read_lines(run.events_path)
    return any(line.partition(b",")[2].startswith(start) for line in lines)


def _main(output: str, *command: str) -> None:
    """Start a process, and print the first line that it prints."""
    try:
        with open_to_append(Path(output)) as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
    except EngineError as error:
        sys.stdout.buffer.write(encode_json(Failed(error.message, error.hint)))
        return
    assert process.stdout is not None
    sys.stdout.buffer.write(process.stdout.readline())


if __name__ == "__main__":
    _main(*sys.argv[1:])
