"""Legend of the shades in the texts."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.views.playground.shading import STEPS, shade
from surgeon_gui.widgets.tool_tips import plain_tip

_PADDING = 5  # pixels at both sides of a number


class ShadeLegend(QWidget):
    """Shows each shade with the minimum difference in nats."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("playground_legend")
        meaning = tr(
            "Shading: difference between the predictions of both models at this token, "
            "as KL(original || pruned). Underlined: the top tokens differ."
        )
        self.setToolTip(plain_tip(meaning))
        self.setAccessibleName(meaning)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    @override
    def sizeHint(self) -> QSize:
        return QSize(self._width(), self.fontMetrics().height() + 6)

    @override
    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        theme, metrics = theme_of(self), self.fontMetrics()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        x, height = 0.0, self.height()
        for text, nats in self._parts():
            width = metrics.horizontalAdvance(text)
            box = QRectF(x, 0, width, height)
            if nats is not None:
                box = QRectF(x, 2, width + 2 * _PADDING, height - 4)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(shade(theme, nats) or theme.surface))
                painter.drawRoundedRect(box, 3, 3)
            painter.setPen(QColor(theme.muted if nats is None else theme.text))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
            x += box.width() + (GAP if nats is None else 3)

    def _parts(self) -> list[tuple[str, float | None]]:
        steps: list[tuple[str, float | None]] = [
            (numbers.short(step), step) for step in STEPS
        ]
        return [(tr("nats ≥"), None), *steps]

    def _width(self) -> int:
        width = 0
        for text, nats in self._parts():
            padding = GAP if nats is None else 2 * _PADDING + 3
            width += self.fontMetrics().horizontalAdvance(text) + padding
        return width
