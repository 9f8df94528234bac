"""Measure how late the window responds while the engine uses all cores.

    python benchmarks/ui_latency.py

A 10 ms timer runs in the window's thread during a whole run on the demo; its delay is
the time that a click would have waited. The limit: a 95th percentile of 50 ms.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

TICK_S = 0.010
MAX_P95_S = 0.050


def main() -> int:
    """Print the figures; return 1 if the limit is exceeded."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    folder = tempfile.TemporaryDirectory()
    os.environ["XDG_CONFIG_HOME"] = folder.name  # do not use the user's settings
    from PySide6.QtCore import Qt, QTimer

    from surgeon_gui.app import make_application
    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.demo import run_demo

    delays: list[float] = []
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        delays.append(max(0.0, now - last - TICK_S))
        last = now

    application = make_application(sys.argv[:1])
    engine = EngineThread()
    engine.start()
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start(round(TICK_S * 1000))
    run = Path(folder.name) / "run"
    failed = run_demo(application, engine, run, stays_open=False)
    folder.cleanup()
    delays.sort()
    p50, p95 = (delays[int(len(delays) * share)] for share in (0.50, 0.95))
    print(
        f"{len(delays):,} ticks during a run on the demo; delay "
        f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, "
        f"worst {delays[-1] * 1000:.0f} ms"
    )
    return int(failed or p95 > MAX_P95_S)


if __name__ == "__main__":
    sys.exit(main())
