"""The bar of an unknown share is one piece that stays inside."""

import time

from PySide6.QtGui import QColor

from surgeon_gui.base.colors import LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.widgets import progress
from surgeon_gui.widgets.progress import ProgressBar

WIDTH = 200


def test_piece_of_an_unknown_share_never_parts(qtbot, qapp, monkeypatch):
    apply_theme(qapp, ThemeChoice.LIGHT)
    bar = ProgressBar("bar")
    qtbot.addWidget(bar)
    bar.resize(WIDTH, 8)
    bar.show()
    bar.show_share(None)
    places = set()
    for step in range(12):
        now = progress._SECONDS * step / 12
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        line = bar.grab().toImage()
        accent = [line.pixelColor(x, 4) == QColor(LIGHT.accent) for x in range(WIDTH)]
        first, count = accent.index(True), sum(accent)
        assert all(accent[first : first + count])
        assert WIDTH * 0.25 < count < WIDTH * 0.35
        places.add(first)
    assert min(places) <= 1 < WIDTH * 0.65 < max(places)


def test_bar_stops_moving_when_its_share_is_known(qtbot):
    bar = ProgressBar("bar")
    qtbot.addWidget(bar)
    bar.show()
    bar.show_share(None)
    qtbot.waitUntil(bar._timer.isActive)
    bar.show_share(0.5)
    qtbot.waitUntil(lambda: not bar._timer.isActive())
    assert bar.value() == bar.maximum() // 2
