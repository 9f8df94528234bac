"""Run 40 shots in the window, use it meanwhile, and check that no resource grows.

    python benchmarks/soak.py [--shots 40] [--out build/soak.json]

The demo is pruned by the real engine. Meanwhile an earlier run is opened and closed,
and the tabs are shown in turn. After each shot the memory, the open files and the
threads of window and engine are noted, and the seconds of the shot. The memory after
the last shot may be 5 % above that after the fifth. A thread that reads a run lives for
some seconds, so the most files and threads of ten shots are compared: of the first ten
and of the last ten. The export begins after the last shot, so one more is made.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import psutil
from PySide6.QtCore import QEventLoop, QTimer

from surgeon_engine.api.config.toml import config_from_toml
from surgeon_gui.app import make_application
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow
from surgeon_gui.window.places import Place

_JOB = """
version = 1
[calibration]
windows = 16
validation_windows = 8
window_length = 128
[evaluation]
windows = 8
[pruning]
method = "first_order"
sparsity = {sparsity}
shots = {shots}
[recovery]
level = "off"
"""
_FIRST = 5  # the shot to compare with: libraries have loaded what they need
_MAX_GROWTH = 1.05  # limit of the memory relative to that shot
_SPAN = 10  # shots whose most files and threads are compared
_USE_MS = 400  # between two uses of the window


@dataclass
class Sample:
    """The resources after a shot."""

    shot: int
    seconds: float  # duration of the shot
    engine_bytes: int
    window_bytes: int
    engine_files: int
    window_files: int
    engine_threads: int
    window_threads: int


class Soak:
    """A window with a run, and its resources after each shot."""

    def __init__(self, shots: int, folder: Path) -> None:
        self.samples: list[Sample] = []
        self._shots, self._folder = shots, folder
        self._application = make_application([])
        self._loop = QEventLoop()  # ends without closing the window
        self._engine = EngineThread()
        self._engine.start()
        settings = Settings()
        self._window = MainWindow(self._engine, settings, folder / "runs")
        self._window.resize(1440, 900)
        self._window.show()
        self._session = self._window.session
        self._session.run_ended.connect(self._on_ended)
        self._uses = 0
        self._timer = QTimer(interval=_USE_MS)
        self._timer.timeout.connect(self._use)

    def run(self) -> None:
        """Make a short run to reopen, then the long one."""
        for shots, name in ((2, "short"), (self._shots + 1, "long")):
            sparsity = 0.1 if name == "short" else 0.6
            job = config_from_toml(_JOB.format(shots=shots, sparsity=sparsity))
            self._window.session.draft.load(job)
            while self._session.start_obstacle():
                self._application.processEvents()
                time.sleep(0.01)
            self._window.start_run(self._folder / "runs" / name)
            if name == "long":
                self._session.changed.connect(self._on_changed)
                self._timer.start()
            self._loop.exec()
        self._timer.stop()
        self._window.close()

    def _on_changed(self) -> None:
        history = self._session.state.run.history
        if len(self.samples) < min(len(history), self._shots):
            gc.collect()
            self.samples.append(self._sample(history[-1].shot, history[-1].seconds))

    def _on_ended(self, _: object) -> None:
        self._loop.quit()

    def _use(self) -> None:
        """Open the earlier run, close it, and show another place."""
        self._uses += 1
        if self._uses % 4 == 1:
            self._window.runs.open_run(self._folder / "runs" / "short")
        elif self._uses % 4 == 3:
            self._session.close_opened_run()
        self._window.places.open(tuple(Place)[self._uses % len(Place)])

    @staticmethod
    def _sample(shot: int, seconds: float) -> Sample:
        window = psutil.Process()
        engine = max(window.children(recursive=True), key=lambda x: x.memory_info().rss)
        return Sample(
            shot,
            seconds,
            engine.memory_info().rss,
            window.memory_info().rss,
            engine.num_fds(),
            window.num_fds(),
            engine.num_threads(),
            window.num_threads(),
        )


def problems(samples: list[Sample]) -> Iterable[str]:
    """Yield what has grown from the fifth shot to the last."""
    first, last = samples[_FIRST - 1], samples[-1]
    for name in ("engine_bytes", "window_bytes"):
        growth = getattr(last, name) / getattr(first, name)
        if growth > _MAX_GROWTH:
            yield f"{name} has grown to {growth:.3f} times."
    for name in ("engine_files", "window_files", "engine_threads", "window_threads"):
        before = max(getattr(each, name) for each in samples[:_SPAN])
        after = max(getattr(each, name) for each in samples[-_SPAN:])
        if after > before:
            yield f"{name} has grown from {before} to {after}."


def main() -> int:
    """Run the soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=int, default=40)
    parser.add_argument("--out", type=Path, help="figures of every shot, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.shots, Path(folder))
        soak.run()
    samples = soak.samples
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps([asdict(each) for each in samples]))
    print("shot     s  engine MB  window MB  files  threads")
    for each in samples[:: max(1, len(samples) // 8)] + samples[-1:]:
        print(
            f"{each.shot:4} {each.seconds:5.1f} {each.engine_bytes / 1e6:10.1f} "
            f"{each.window_bytes / 1e6:10.1f} {each.engine_files:3}/{each.window_files}"
            f" {each.engine_threads:4}/{each.window_threads}"
        )
    quarter = len(samples) // 4
    early = median(each.seconds for each in samples[1 : 1 + quarter])
    late = median(each.seconds for each in samples[-quarter:])
    print(f"median seconds of a shot: first quarter {early:.2f}, last {late:.2f}")
    found = list(problems(samples))
    print("\n".join(found) or "Nothing has grown.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
