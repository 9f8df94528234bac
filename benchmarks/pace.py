"""Measure how long a run takes alone, and beside other programs that compute.

    python benchmarks/pace.py [MODEL] [--programs 0 1 2] [--surgeon COMMAND]

Each run is `surgeon run` of a default job to 30 %, with the program's start and its
export. The other programs are endless loops of one thread. The limits hold on two
cores: at most 1.6 times the time alone beside one, and 2.5 times beside two.
`--surgeon` runs another version, for comparison. A run that takes longer than ten times
the first one is ended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

_LIMITS = {1: 1.6, 2: 2.5}  # on two cores, by the number of programs
_LOOP = (sys.executable, "-c", "while True: pass")
_JOB = 'version = 1\n[model]\nsource = "{model}"\n[pruning]\nsparsity = 0.3\n'
_SURGEON = Path(sys.executable).with_name("surgeon")


def seconds_beside(
    programs: int, model: str, surgeon: Path, timeout: float | None
) -> float | None:
    """Return the seconds of a run beside other programs; None if it is ended."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        job = Path(folder, "job.toml")
        job.write_text(_JOB.format(model=model))
        for _ in range(programs):
            stack.callback(subprocess.Popen(_LOOP).kill)
        command = [str(surgeon), "run", str(job), "--run-dir", folder]
        start = time.monotonic()
        try:
            subprocess.run(
                command, check=True, timeout=timeout, stdout=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - start


def main() -> int:
    """Print the figures; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--programs", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--surgeon", type=Path, default=_SURGEON)
    options = parser.parse_args()
    first, is_within = None, True
    for programs in options.programs:
        timeout = None if first is None else 10 * first
        seconds = seconds_beside(programs, options.model, options.surgeon, timeout)
        first = first or seconds
        assert first is not None
        ratio = float("inf") if seconds is None else seconds / first
        taken = "ended" if seconds is None else f"{seconds:.1f} s"
        print(f"beside {programs} programs: {taken}, {ratio:.2f} of the first")
        is_within = is_within and ratio <= _LIMITS.get(programs, float("inf"))
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
