"""How late the window answers while the engine works with all cores.

    python benchmarks/ui_latency.py

A 10 ms timer runs in the window's thread during a whole run on the demo; its lateness
is how long a click would have waited. The claim: p95 under 50 ms.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

TICK = 0.010  # seconds
LIMIT = 0.050


def main() -> int:
    """Print the figures; 1 if the claim does not hold."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    folder = tempfile.TemporaryDirectory()
    os.environ["XDG_CONFIG_HOME"] = folder.name  # leave the user's settings alone
    from PySide6.QtCore import Qt, QTimer

    from surgeon_gui.app import make_application
    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.demo import run_demo

    lateness: list[float] = []
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        lateness.append(max(0.0, now - last - TICK))
        last = now

    application = make_application(sys.argv[:1])
    engine = EngineThread()
    engine.start()
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start(round(TICK * 1000))
    run = Path(folder.name) / "run"
    failed = run_demo(application, engine, run, stays_open=False)
    folder.cleanup()
    lateness.sort()
    p50, p95 = (lateness[int(len(lateness) * share)] for share in (0.50, 0.95))
    print(
        f"{len(lateness):,} ticks during a run on the demo; lateness "
        f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, "
        f"worst {lateness[-1] * 1000:.0f} ms"
    )
    return int(failed or p95 > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
