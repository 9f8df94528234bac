"""Measure the time from the command to the first paint of the window.

    python benchmarks/start_up.py [RUNS]

Each run starts `surgeon-gui` in a new process and ends it as soon as the window has
been painted. The limits: at most 2 seconds, and torch is not imported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

MAX_SECONDS = 2.0

CHILD = """
import sys, time
from PySide6.QtCore import QTimer
from surgeon_gui import __main__ as program
from surgeon_gui.window.main_window import MainWindow

paint = MainWindow.paintEvent

def first_paint(window, event):
    paint(window, event)
    if not first_paint.done:
        first_paint.done = True
        print(time.time(), 'torch' in sys.modules, flush=True)
        QTimer.singleShot(0, window.close)

first_paint.done = False
MainWindow.paintEvent = first_paint
sys.exit(program.main(['--theme', 'light']))
"""


def measure() -> tuple[float, bool]:
    """Return the seconds to the first paint, and whether torch was imported."""
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    painted, torch_imported = done.stdout.split()
    return float(painted) - start, torch_imported == "True"


def main() -> int:
    """Print the figures; return 1 if a limit is exceeded."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as settings:
        os.environ["XDG_CONFIG_HOME"] = settings  # do not use the user's settings
        measure()  # warm-up: reads the files from disk
        results = [measure() for _ in range(runs)]
    seconds = sorted(s for s, _ in results)
    torch_imported = any(flag for _, flag in results)
    print(
        f"window up after {statistics.median(seconds):.2f} s (median of {runs}; "
        f"{seconds[0]:.2f} to {seconds[-1]:.2f}); "
        f"torch imported: {'yes' if torch_imported else 'no'}"
    )
    return int(statistics.median(seconds) > MAX_SECONDS or torch_imported)


if __name__ == "__main__":
    sys.exit(main())
