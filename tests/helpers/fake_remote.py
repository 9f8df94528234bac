"""A fake engine behind the real relay and keeper, and an ssh that stays here.

    python -m tests.helpers.fake_remote [OPTIONS...] serve --detached

The options are those of the fake engine, the times of the keeper in seconds, such as
--idle, and --max-bytes of its lines.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from surgeon_engine.detached.keeper import Times, keep
from surgeon_engine.detached.lines import MAX_BYTES
from surgeon_engine.detached.relay import run_relay

# The arguments after these are: --, the host, the command.
LOCAL_SSH = ("sh", "-c", 'eval "$3"', "sh")
ROOT = Path(__file__).parents[2]
MODULE = "tests.helpers.fake_remote"


def remote_command(state: Path, *options: str, module: str = MODULE) -> str:
    """Return the command of a computer whose keeper has its files in `state`."""
    variables = (
        f"PYTHONPATH={ROOT}",
        f"XDG_STATE_HOME={state}",
        f"XDG_DATA_HOME={state}/data",
        f"XDG_CACHE_HOME={os.environ.get('XDG_CACHE_HOME', state / 'cache')}",
        "OMP_NUM_THREADS=1",
    )
    command = ("env", *variables, sys.executable, "-m", module, *options)
    return shlex.join(command)


def main(arguments: list[str]) -> int:
    """Relay, or keep a fake engine."""
    if arguments[-2:] == ["serve", "--detached"]:
        return run_relay((sys.executable, "-m", MODULE, *arguments[:-2], "keeper"))
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, seconds in Times()._asdict().items():
        parser.add_argument(f"--{name}", type=float, default=seconds)
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES)
    own, options = parser.parse_known_args(arguments[:-1])
    engine = (sys.executable, "-m", "tests.helpers.fake_engine", *options)
    times = vars(own)
    max_bytes = times.pop("max_bytes")
    keep(engine, Times(**times), max_bytes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
