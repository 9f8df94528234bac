"""The process of a detached run: `python -m surgeon_engine.detached.process`.

It takes the lock of the folder, then loads its libraries. Its log is all that it sends.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from surgeon_engine.api.messages.commands import ResumeRun, StartRun
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.run_commands import find_start
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import encode_json
from surgeon_engine.base.errors import EngineError

Work = Callable[[StartRun | ResumeRun, RunFolder, int], None]


def do_run(command: StartRun | ResumeRun, run: RunFolder, start: int) -> None:
    """Do a run in its folder, which is locked.

    The commands to the run begin at `start` in their file.
    """
    from surgeon_engine.parallel.group import reported, work_on_run
    from surgeon_engine.runtime.run_context import RunContext

    context = RunContext(command.run, lambda _: None)
    context.log = run
    with reported(context):
        work_on_run(command, context, commands_from=start)


def main(arguments: Sequence[str], work: Work = do_run) -> int:
    """Do the run that the command of a name starts in a folder."""
    folder, name = arguments
    run = RunFolder(Path(folder))
    with ExitStack() as stack:
        try:
            command, start = find_start(run, name)
            if isinstance(command, StartRun):
                stack.enter_context(run.created(command.config))
            else:
                stack.enter_context(run.locked())
                run.remove_cut_off_line()
        except EngineError as error:
            _answer(Failed(error.message, error.hint))
            return 1
        _answer(None)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        faulthandler.enable()
        work(command, run, start)
    return 0


def _answer(problem: Failed | None) -> None:
    with suppress(OSError):  # whoever has started it was killed
        os.write(sys.stdout.fileno(), encode_json(problem) + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
