"""One of the processes that share a run; `agent.py` starts them.

The first one reads commands from the standard input and writes events to the standard
output, as lines of JSON; the others receive the run from it.
"""

from __future__ import annotations

import os
import queue
import sys
import time

from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    Pause,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Cancelled
from surgeon_engine.base.errors import RunCancelled
from surgeon_engine.parallel.group import execute
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.failures import RankLost, failure
from surgeon_engine.runtime.json_streams import (
    JsonOutput,
    die_with_parent,
    read_messages,
)
from surgeon_engine.runtime.run_context import RunContext

_GRACE_S = 10.0


class _First:
    """The commands and events of the first process."""

    def __init__(self) -> None:
        self._output = JsonOutput()
        self._begun: queue.SimpleQueue[tuple[StartRun | ResumeRun, RunContext]]
        self._begun = queue.SimpleQueue()
        self._context: RunContext | None = None
        read_messages(Command, self._handle)

    def wait(self) -> tuple[StartRun | ResumeRun, RunContext]:
        """Return the run to do, and its context."""
        return self._begun.get()

    def _handle(self, command: Command) -> None:
        if isinstance(command, StartRun | ResumeRun):
            self._context = RunContext(command.run, self._output.write)
            self._begun.put((command, self._context))
        elif isinstance(command, Cancel | StopAndKeep | Pause | Resume):
            assert self._context is not None
            self._context.handle(command)


def main(arguments: list[str]) -> int:
    """Do a share of a run and return the exit code."""
    die_with_parent()
    (place,) = arguments
    given: StartRun | ResumeRun | None = None
    if os.environ.get("RANK", "0") == "0":
        given, context = _First().wait()
    else:
        JsonOutput()  # what libraries print goes to the standard error
        context = RunContext("", lambda _: None)
    try:
        ranks.begin(uses_gpu=place == "gpu")
        with ranks.together():
            command = ranks.passed_on(given, 0)
            assert command is not None
            execute(command, context)
        ranks.end()
        return 0
    except RunCancelled:
        context.emit(Cancelled())
    except Exception as error:  # noqa: BLE001  the process boundary
        if isinstance(error, RankLost) or given is None:
            # The agent ends this process, and says which one has ended by itself.
            time.sleep(_GRACE_S)
        context.emit(failure(error))
    ranks.end()
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
