"""Runs a program in a process of its own and hears its verdict on a checkpoint."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from surgeon_engine.errors import ExportError
from surgeon_engine.export.writer import Verdict

_SECONDS_BETWEEN_LOOKS = 0.05


def run_apart(
    program: Path, arguments: Sequence[str], check: Callable[[], None]
) -> Verdict:
    """What `program`, run as a file, says: a `Verdict` as the last line of its output.

    `check` is called now and then while it works; what that raises ends it.

    Raises:
        ExportError: it failed; with the last line that it complained.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, str(program), *arguments], stdout=out, stderr=errors
        )
        try:
            while process.poll() is None:
                check()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        errors.seek(0)
        said, complaint = out.read(), errors.read().decode(errors="replace").strip()
    if process.returncode != 0:
        last = (complaint.splitlines() or [f"exit code {process.returncode}"])[-1]
        raise ExportError(
            f"The checkpoint does not load in a fresh process: {last.rstrip('.')}.",
            "It may have run out of memory; close other programs and try again.",
        )
    return msgspec.json.decode(said.splitlines()[-1], type=Verdict)
