"""Runs a program in a process of its own and hears its verdict on a checkpoint.

Nothing of Surgeon can be imported there: what loads, loads without it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from surgeon_engine.api.errors import ExportError
from surgeon_engine.export.base import VerificationResult

_SECONDS_BETWEEN_LOOKS = 0.05
_BLOCK_SURGEON = """\
import runpy
import sys


class Stranger:
    def find_spec(self, name, *_):
        if name.partition(".")[0].startswith("surgeon_"):
            raise ImportError(f"{name} is not to be had here")


sys.meta_path.insert(0, Stranger())
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_MEMORY = re.compile("memory|alloc", re.IGNORECASE)
_KILLED = -9  # by the system, which does so when memory is short


def run_isolated(
    program: Path,
    arguments: Sequence[str],
    check: Callable[[], None],
    reason_after: str = "",
) -> VerificationResult:
    """Run `program` as a file and return the result on its last line of output.

    `check` is called now and then while it works; what that raises ends it. Where the
    program says `reason_after` before the reason why it fails, that reason is told;
    else the last line that it complained.

    Raises:
        ExportError: it failed.
    """
    # -P: what lies in the folder that Surgeon was started in is not imported either.
    command = [sys.executable, "-P", "-c", _BLOCK_SURGEON, str(program), *arguments]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory() as modules,  # a checkpoint's code is copied there
    ):
        apart = os.environ | {"HF_MODULES_CACHE": modules}
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=apart)
        try:
            while process.poll() is None:
                check()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        errors.seek(0)
        said = out.read().splitlines()
        complaint = errors.read().decode(errors="replace")
    if process.returncode != 0 or not said:
        raise _failure(complaint, process.returncode, reason_after)
    return msgspec.json.decode(said[-1], type=VerificationResult)


def _failure(complaint: str, code: int, reason_after: str) -> ExportError:
    lines = complaint.strip().splitlines() or [f"exit code {code}"]
    reason = lines[-1]
    if code == _KILLED:
        reason = "it was killed"
    elif reason_after:
        told = [line for line in lines if reason_after in line]
        reason = (told or lines)[-1].rpartition(reason_after)[2]
    hint = "Please report this with the name of the model."
    if code == _KILLED or _MEMORY.search(reason):
        hint = "It may have run out of memory; close other programs and try again."
    return ExportError(
        "What was exported does not load in a fresh process: "
        f"{reason.strip().rstrip('.')}.",
        hint,
    )
