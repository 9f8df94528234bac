"""Start the processes that share a run, by torch.distributed.run.

    python -m surgeon_engine.parallel.agent PROCESSES gpu|cpu

All processes end when one of them fails, when this one ends, and when its parent ends.
They inherit the standard streams; the first one reads commands and writes events. If
one ends before the run, the reason is written as an event without a run. The processes
find each other through files that only this user can read: the port that torchrun opens
otherwise is one for the whole network, without a password.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.base.files import temporary_folder
from surgeon_engine.base.json_process import ProcessExit
from surgeon_engine.base.sentences import say
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.json_streams import JsonOutput, die_with_parent


def main(arguments: list[str]) -> int:
    """Run the processes and return the exit code."""
    die_with_parent()
    count, place = arguments
    with temporary_folder() as name:
        folder = Path(name)
        os.environ[ranks.STORE] = str(folder / "ranks")
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # opens the port, too
        return _run(count, place, folder)


def _run(count: str, place: str, folder: Path) -> int:
    from torch.distributed import run  # slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = run.parse_args(
        [
            "--nnodes=1",
            "--rdzv-backend=c10d",
            "--rdzv-conf=store_type=file",
            f"--rdzv-endpoint={folder / 'agent'}",
            f"--log-dir={folder / 'logs'}",  # it leaves one of its own behind
            "--local-addr=127.0.0.1",
            f"--nproc-per-node={count}",
            "--no-python",
            sys.executable,
            "-P",
            "-m",
            "surgeon_engine.parallel.worker",
            place,
        ]
    )
    try:
        run.run(options)
    except ChildFailedError as error:
        codes = {rank: failed.exitcode for rank, failed in error.failures.items()}
        JsonOutput().write(Envelope("", time.time(), reason(codes)))
        return 1
    return 0


def reason(codes: dict[int, int]) -> Failed:
    """Return why the processes have ended.

    `codes` are their exit codes by rank; minus the number of a signal.
    """

    def how_little_it_says(rank: int) -> int:
        # The others are terminated, or exit because they have lost one.
        is_terminated = codes[rank] == -signal.SIGTERM
        return 2 if is_terminated else int(codes[rank] > 0)

    rank = min(sorted(codes), key=how_little_it_says)
    code = codes[rank]
    how = ProcessExit(code, "").reason
    return Failed(say("Process {rank} of the run {how}.", rank=rank + 1, how=how))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
