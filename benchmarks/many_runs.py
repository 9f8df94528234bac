"""Run a small job many times in one engine, and check that memory does not grow.

    python benchmarks/many_runs.py [RUNS]

The demo loses 30 % of its heads and neurons, with refit, distillation and a verified
export. The memory after the last run may be 1.02 times that after the tenth.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psutil

from surgeon_engine.api.client import EngineProcess
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.messages.commands import ProbeMachine, StartRun
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.machine import MachineProbed

_JOB = """
version = 1
[calibration]
windows = 8
validation_windows = 4
window_length = 64
[evaluation]
windows = 4
[pruning]
sparsity = 0.3
[recovery]
general_windows = 0
"""
_FIRST, _MAX_GROWTH = 10, 1.02


def main() -> int:
    """Print the memory after each tenth run; return 1 if it grows too much."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    config, found = config_from_toml(_JOB), {}
    engine = EngineProcess()
    with tempfile.TemporaryDirectory() as parent:
        for number in range(1, runs + 1):
            folder = Path(parent, str(number))
            engine.send(StartRun(run=str(number), config=config, folder=str(folder)))
            # Answered once the run has released its memory.
            engine.send(ProbeMachine(run="machine"))
            while True:
                envelope = engine.receive(60.0)
                assert not engine.ended, engine.exit_reason()
                event = envelope.event if envelope is not None else None
                assert not isinstance(event, Failed), event
                if isinstance(event, MachineProbed):
                    break
            found[number] = psutil.Process(engine.pid).memory_info().rss
            if number % _FIRST == 0:
                growth = found[number] / found[_FIRST]
                print(f"run {number}: {found[number] / 1e6:.1f} MB, {growth:.3f}")
    engine.kill()
    return int(found[runs] > _MAX_GROWTH * found[min(_FIRST, runs)])


if __name__ == "__main__":
    sys.exit(main())
