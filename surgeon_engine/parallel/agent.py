"""Start the processes that share a run, by torch.distributed.run.

    python -m surgeon_engine.parallel.agent PROCESSES gpu|cpu STOP_AFTER

All processes end when one of them fails, when this one ends, and when its parent ends.
They inherit the standard streams; the first one reads commands and writes events. If
one ends before the run, the reason is written as an event without a run.
"""

from __future__ import annotations

import signal
import sys
import time

from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.runtime.json_streams import JsonOutput, die_with_parent


def main(arguments: list[str]) -> int:
    """Run the processes and return the exit code."""
    die_with_parent()
    from torch.distributed import run  # slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    count, *of_worker = arguments
    options = run.parse_args(
        [
            "--standalone",
            "--local-addr=127.0.0.1",
            f"--nproc-per-node={count}",
            "--no-python",
            sys.executable,
            "-P",
            "-m",
            "surgeon_engine.parallel.worker",
            *of_worker,
        ]
    )
    try:
        run.run(options)
    except ChildFailedError as error:
        # One that has lost another exits, too.
        found = sorted(error.failures.items(), key=lambda x: (x[1].exitcode > 0, x[0]))
        rank, failed = found[0]
        JsonOutput().write(Envelope("", time.time(), _reason(rank, failed.exitcode)))
        return 1
    return 0


def _reason(rank: int, code: int) -> Failed:
    """Return why a process has ended; of a signal, `code` is minus its number."""
    which = f"Process {rank + 1} of the run"
    if code == -signal.SIGKILL:
        how = "was killed by the system, probably because memory ran out"
    elif code < 0:
        how = f"crashed (signal {-code}, {signal.strsignal(-code)})"
    else:
        how = f"exited unexpectedly (exit code {code})"
    return Failed(f"{which} {how}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
