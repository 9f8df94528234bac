"""The mouse wheel over a plot scrolls the page."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from surgeon_gui.widgets.charts.plot import PagePlot


@pytest.mark.parametrize("x", [10, 200], ids=["axis", "lines"])
def test_wheel_is_left_to_the_page(qtbot, x):
    plot = PagePlot("some", "Some plot")
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show()
    event = QWheelEvent(
        QPointF(x, 100),
        QPointF(x, 100),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(plot.viewport(), event)
    assert not event.isAccepted()
