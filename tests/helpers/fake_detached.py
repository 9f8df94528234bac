"""The process of a detached run that a fake engine does.

python -m tests.helpers.fake_detached [OPTIONS...] FOLDER NAME
"""

import queue
import sys

from msgspec.structs import replace

from surgeon_engine.api.messages.commands import Command, ResumeRun, StartRun
from surgeon_engine.api.run_commands import obeyed_commands
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.detached.process import main
from tests.helpers.fake_engine import FakeEngine, parse_options


def _work(command: StartRun | ResumeRun, run: RunFolder, start: int) -> None:
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    options = parse_options(sys.argv[1:-2])
    engine = FakeEngine(options, iter(commands.get, None), lambda _: None)

    def handle(control: Command) -> None:
        commands.put(replace(control, run=command.run))

    with obeyed_commands(run, handle, start):
        engine.do_detached(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[-2:], _work))
