"""What the shades and the underlines in the texts mean."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.views.playground.shading import STEPS, shade

_PADDING = 5  # pixels at both sides of a number


class ShadeLegend(QWidget):
    """The steps of the shading, each with the nats from which on it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("playground_legend")
        what = tr(
            "Shading: how far the pruned model's prediction is from the original's at "
            "this token, as KL(original || pruned). Underlined: both put different "
            "tokens first."
        )
        self.setToolTip(what)
        self.setAccessibleName(what)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """As wide as its words."""
        return QSize(self._width(), self.fontMetrics().height() + 6)

    def minimumSizeHint(self) -> QSize:
        """The same: a legend that is cut says nothing."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the words and a swatch for each step."""
        theme, metrics = theme_of(self), self.fontMetrics()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        x, height = 0.0, self.height()
        for words, nats in self._parts():
            wide = metrics.horizontalAdvance(words)
            box = QRectF(x, 0, wide, height)
            if nats is not None:
                box = QRectF(x, 2, wide + 2 * _PADDING, height - 4)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(shade(theme, nats) or theme.surface))
                painter.drawRoundedRect(box, 3, 3)
            painter.setPen(QColor(theme.muted if nats is None else theme.text))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, words)
            x += box.width() + (GAP if nats is None else 3)

    def _parts(self) -> list[tuple[str, float | None]]:
        steps: list[tuple[str, float | None]] = [(f"{step:g}", step) for step in STEPS]
        return [(tr("nats from"), None), *steps]

    def _width(self) -> int:
        width = 0
        for words, nats in self._parts():
            around = GAP if nats is None else 2 * _PADDING + 3
            width += self.fontMetrics().horizontalAdvance(words) + around
        return width
