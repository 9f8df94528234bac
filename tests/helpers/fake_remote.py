"""The command of a computer with a fake engine, and an ssh that stays here."""

import os
import shlex
import sys
from pathlib import Path

# The arguments after these are: --, the host, the command. The shell becomes the
# command: one that stays would say how the command ended, as ssh does not if it is cut.
LOCAL_SSH = ("sh", "-c", 'eval "exec $3"', "sh")
ROOT = Path(__file__).parents[2]


def remote_command(state: Path, *options: str, module: str = "") -> str:
    """Return the command of a computer whose processes are known by `state`.

    Args:
        state: The folder of its files.
        options: Options of the fake engine.
        module: Module of the engine; empty: a fake one.
    """
    variables = (
        f"PYTHONPATH={ROOT}",
        f"XDG_STATE_HOME={state}",
        f"XDG_DATA_HOME={state}/data",
        f"XDG_CACHE_HOME={os.environ.get('XDG_CACHE_HOME', state / 'cache')}",
        "OMP_NUM_THREADS=1",
    )
    program = (module,) if module else ("tests.helpers.fake_engine", "--greets")
    command = ("env", *variables, sys.executable, "-m", *program, *options)
    return shlex.join(command)
