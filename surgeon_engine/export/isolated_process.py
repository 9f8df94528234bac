"""Run a program that verifies a checkpoint, in a process that cannot import Surgeon.

A checkpoint that loads there loads without Surgeon.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from surgeon_engine.base.decoding import decode_json
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.files import temporary_folder
from surgeon_engine.base.json_process import JsonProcess, ProcessExit
from surgeon_engine.base.sentences import say
from surgeon_engine.export.base import VerificationResult

_POLL_INTERVAL_S = 0.05
# Runs a program with the import of Surgeon blocked. Like the other children it ends
# when its standard input does, because then its parent has exited.
_BLOCK_SURGEON = """\
import os
import runpy
import sys
import threading


class ImportBlocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0].startswith("surgeon_"):
            raise ImportError(f"{name} is blocked here")


def exit_with_parent():
    while os.read(0, 1024):
        pass
    os._exit(1)


if sys.platform == "linux":  # at once, even while a library is being loaded
    import ctypes

    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
threading.Thread(target=exit_with_parent, daemon=True).start()
sys.meta_path.insert(0, ImportBlocker())
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_MEMORY = re.compile("memory|alloc", re.IGNORECASE)


def run_isolated(
    program: Path,
    arguments: Sequence[str],
    check: Callable[[], None],
    reason_after: str = "",
) -> VerificationResult:
    """Run a Python file and return the result that its last line of output holds.

    Args:
        program: The file. It may print other lines before the result.
        arguments: Its arguments.
        check: Called repeatedly while the program runs; it may raise to stop it.
        reason_after: If an error line contains this text, what follows it is reported
            as the reason of a failure; else the last error line is.

    Raises:
        ExportError: The program failed.
    """
    # -P: modules in the current folder cannot be imported either.
    command = [sys.executable, "-P", "-c", _BLOCK_SURGEON, str(program), *arguments]
    with temporary_folder() as modules:  # for the code of the checkpoint
        environment = os.environ | {"HF_MODULES_CACHE": modules}
        with JsonProcess(command, bytes, environment) as process:
            last_line = b""
            while not process.ended:
                check()
                last_line = process.receive(_POLL_INTERVAL_S) or last_line
            process_exit = process.wait_for_exit()
    if process_exit.code != 0 or not last_line:
        raise _failure(process_exit, reason_after)
    return decode_json(last_line, VerificationResult)


def _failure(process_exit: ProcessExit, reason_after: str) -> ExportError:
    lines = process_exit.stderr.strip().splitlines() or [
        f"exit code {process_exit.code}"
    ]
    reason = lines[-1]
    if process_exit.was_killed:
        reason = say("it was killed")
    elif reason_after:
        matches = [line for line in lines if reason_after in line]
        reason = (matches or lines)[-1].rpartition(reason_after)[2]
    hint = say("Please report this with the name of the model.")
    if process_exit.was_killed or _MEMORY.search(reason):
        hint = say("It may have run out of memory; close other programs and try again.")
    return ExportError(
        "The exported model does not load in a fresh process: {reason:clause}.",
        hint,
        reason=reason.strip(),
    )
