"""Measure the time from the command to the first paint of the window.

    python benchmarks/start_up.py [RUNS]

Each run starts `surgeon-gui` in a new process and ends it as soon as the window has
been painted, in turn with an empty window of Qt. Modules are compiled before, as they
are after an installation or the first start. The limits: at most a second more than the
empty window, and torch is not imported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

MAX_SECONDS = 1.0  # beyond the time of an empty window

FIRST_PAINT = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMainWindow

def watch(kind):
    paint = kind.paintEvent
    def first_paint(window, event):
        paint(window, event)
        kind.paintEvent = paint
        print(time.time(), 'torch' in sys.modules, flush=True)
        QTimer.singleShot(0, window.close)
    kind.paintEvent = first_paint
"""
EMPTY = """
class Window(QMainWindow):
    pass

watch(Window)
application = QApplication([])
window = Window()
window.show()
sys.exit(application.exec())
"""
SURGEON = """
from surgeon_gui import __main__ as program
from surgeon_gui.window.main_window import MainWindow

watch(MainWindow)
sys.exit(program.main(['--theme', 'light']))
"""


def measure(program: str) -> tuple[float, bool]:
    """Return the seconds to the first paint, and whether torch was imported."""
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PAINT + program],
        capture_output=True,
        text=True,
        check=True,
    )
    painted, torch_imported = done.stdout.split()
    return float(painted) - start, torch_imported == "True"


def main() -> int:
    """Print the figures; return 1 if a limit is exceeded."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder  # do not use the user's settings
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        measure(SURGEON)  # warm-up: reads the files from disk, and compiles them
        pairs = [(measure(SURGEON), measure(EMPTY)[0]) for _ in range(runs)]
    seconds = sorted(s for (s, _), _ in pairs)
    empty = statistics.median(s for _, s in pairs)
    beyond = statistics.median(seconds) - empty
    torch_imported = any(flag for (_, flag), _ in pairs)
    print(
        f"window up after {statistics.median(seconds):.2f} s (median of {runs}; "
        f"{seconds[0]:.2f} to {seconds[-1]:.2f}), {beyond:.2f} s beyond an empty "
        f"window ({empty:.2f} s); torch imported: {'yes' if torch_imported else 'no'}"
    )
    return int(beyond > MAX_SECONDS or torch_imported)


if __name__ == "__main__":
    sys.exit(main())
