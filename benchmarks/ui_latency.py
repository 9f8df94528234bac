"""Measure the time from a key press to the painted picture during a run.

    python benchmarks/ui_latency.py

A thread presses keys in a field of each page in turn, while a fake engine floods the
window with 5,000 events a second, and then while the real engine prunes the demo. Each
time goes from when the key was due, so that a busy window counts in full, to the end of
the paint of the field. A timer of 10 ms finds the longest time without an answer to
anything. The limit: a median of 20 ms.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).parents[1]))  # for the fake engine

from PySide6.QtCore import (
    QCoreApplication,
    QEvent,
    QObject,
    Qt,
    QThread,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractScrollArea,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.app import follow_system_theme, make_application
from surgeon_gui.demo import DEMO_CONFIG
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.windows import find, open_real_window, open_window

MAX_MEDIAN_S = 0.020
TICK_MS = 10
KEYS = 12  # on a page before the next one
PAUSES_S = (0.03, 0.12)  # between keys
LOST_S = 5.0  # after which a key has had no effect
SETTLING_MS = 300  # after a page was opened
GOES_ON_MS = 3000  # after the run has ended
FLOOD = ("--flood-seconds", "15", "--rate", "5000")  # two in a shot
RUNS: dict[str, Callable[[Path], MainWindow]] = {
    "flood": lambda runs: open_window(runs, *FLOOD),
    "demo": open_real_window,
}
TYPED = ((Qt.Key.Key_1, "1"), (Qt.Key.Key_Backspace, ""))
SCROLLED = ((Qt.Key.Key_Down, ""), (Qt.Key.Key_Up, ""))


@dataclass(frozen=True)
class Field:
    """Where keys are pressed on a page, the widget that shows it, and the keys."""

    page: str
    open: Callable[[], object]
    target: QWidget
    painted: QWidget
    keys: tuple[tuple[Qt.Key, str], ...] = TYPED


class Typist(QThread):
    """Press keys in each field in turn until it is told to end."""

    moved = Signal(int)

    def __init__(self, fields: list[Field]) -> None:
        super().__init__()
        self.times: dict[str, list[float]] = defaultdict(list)
        self.lost = 0
        self._fields = fields
        self._field = fields[0]
        self._ready, self._painted = threading.Event(), threading.Event()
        self._is_ending, self._has_arrived = False, False
        self._painted_at = 0.0
        self.moved.connect(self._open)
        for each in {id(w): w for f in fields for w in (f.target, f.painted)}.values():
            each.installEventFilter(self)

    def end(self) -> None:
        """Press no more keys, and wait for the thread."""
        self._is_ending = True
        self._ready.set()
        self._painted.set()
        self.wait()

    @override
    def run(self) -> None:
        for number in itertools.cycle(range(len(self._fields))):
            self._ready.clear()
            self.moved.emit(number)
            self._ready.wait()
            for key in itertools.islice(itertools.cycle(self._field.keys), KEYS):
                if self._is_ending:
                    return
                self._press(*key)

    def _press(self, key: Qt.Key, text: str) -> None:
        due = time.perf_counter() + random.uniform(*PAUSES_S)
        self._painted.clear()
        time.sleep(due - time.perf_counter())
        event = QKeyEvent(
            QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier, text
        )
        QCoreApplication.postEvent(self._field.target, event)
        if not self._painted.wait(LOST_S):
            self.lost += 1
        elif not self._is_ending:
            self.times[self._field.page].append(self._painted_at - due)

    @Slot(int)
    def _open(self, number: int) -> None:
        self._field = self._fields[number]
        self._field.open()
        self._field.target.setFocus()
        QTimer.singleShot(SETTLING_MS, self._ready.set)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.KeyPress and watched is self._field.target:
            self._has_arrived = True
        is_paint = event.type() is QEvent.Type.Paint
        if is_paint and self._has_arrived and watched is self._field.painted:
            self._has_arrived = False
            _paint(self._field.painted, event)
            self._painted_at = time.perf_counter()
            self._painted.set()
            return True
        return False


class Ticks(QObject):
    """Remember the longest delay of a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.worst = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_timeout)
        self._timer.start(TICK_MS)

    @Slot()
    def _on_timeout(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last - TICK_MS / 1000)
        self._last = now


def main() -> int:
    """Measure each kind of run in a process; return 1 if a limit is exceeded."""
    if len(sys.argv) > 1:
        return _measure(sys.argv[1])
    command = (sys.executable, __file__)
    return max(
        subprocess.run([*command, name], check=False).returncode for name in RUNS
    )


def _measure(name: str) -> int:
    """Type during a run and print how long it took; return 1 if that was too long."""
    application = make_application(sys.argv[:1])
    folder = tempfile.TemporaryDirectory()
    os.environ["XDG_DATA_HOME"] = folder.name
    window = RUNS[name](Path(folder.name))
    follow_system_theme(application, window.settings)
    gc.collect()
    gc.freeze()  # as the program does
    window.session.draft.load(DEMO_CONFIG)
    while window.session.start_obstacle():
        application.processEvents()
    window.start_run()
    window.runs.show_run()
    find(window, "more_charts_button").setChecked(True)
    typist, ticks = Typist(_fields(window)), Ticks()
    window.session.run_ended.connect(
        lambda *_: QTimer.singleShot(GOES_ON_MS, application.quit)
    )
    typist.start()
    application.exec()
    typist.end()
    window.close()
    folder.cleanup()
    print(
        f"{name}: keys to picture; longest delay of a timer {ticks.worst * 1000:.0f} ms"
    )
    everything = sorted(t for times in typist.times.values() for t in times)
    for page, times in (*typist.times.items(), ("all", everything)):
        print(
            f"  {page:12} {len(times):4} keys, median "
            f"{statistics.median(times) * 1000:5.1f} ms, 95 % "
            f"{sorted(times)[int(len(times) * 0.95)] * 1000:5.1f} ms, "
            f"worst {max(times) * 1000:4.0f} ms"
        )
    if typist.lost:
        print(f"  {typist.lost} keys without a picture")
    return int(statistics.median(everything) > MAX_MEDIAN_S or typist.lost > 0)


def _fields(window: MainWindow) -> list[Field]:
    """Return one field of each page."""

    def place(name: str) -> Callable[[], object]:
        return find(window, f"place_{name}_button").click

    def edit(page: str, name: str, show: Callable[[], object]) -> Field:
        made = find(window, name)
        return Field(page, show, made, made)

    expert, filters = find(window, "expert_button"), find(window, "runs_filter_button")
    area = window.runs.page.focusProxy()
    assert isinstance(area, QAbstractScrollArea)
    prompt = find(window, "playground_prompt")
    assert isinstance(prompt, QAbstractScrollArea)

    def show_expert() -> None:
        place("new")()
        expert.setChecked(True)

    def show_new() -> None:
        place("new")()
        expert.setChecked(False)

    def show_runs() -> None:
        place("runs")()
        window.runs.show_home()
        filters.setChecked(True)

    return [
        Field("run", window.runs.show_run, area, area.widget(), SCROLLED),
        edit("new", "pruning_size", show_new),
        edit("expert", "expert_search_edit", show_expert),
        edit("runs", "runs_search_edit", show_runs),
        Field("playground", place("playground"), prompt, prompt.viewport()),
        edit("log", "log_filter_edit", window._log.show_on_top),
    ]


def _paint(widget: QWidget, event: QEvent) -> None:
    """Paint a widget at once, in a filter of its events."""
    area = widget.parentWidget()
    if isinstance(area, QAbstractScrollArea) and area.viewport() is widget:
        area.viewportEvent(event)
    else:
        widget.event(event)


if __name__ == "__main__":
    sys.exit(main())
