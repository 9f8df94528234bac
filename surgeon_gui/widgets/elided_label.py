"""A line of text that is cut with an ellipsis where there is no room for all of it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QWidget

from surgeon_gui.base.theme import theme_of


class ElidedLabel(QWidget):
    """Cuts in the middle, as the ends of paths and figures say most."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_text(self, text: str, tip: str = "") -> None:
        """Show `text`; the tooltip is `tip`, or what was cut."""
        self.setToolTip(tip or text)
        self.setAccessibleName(text)
        if text != self._text:
            self._text = text
            self.updateGeometry()
            self.update()

    def shown_text(self) -> str:
        """All of it, cut or not."""
        return self._text

    def sizeHint(self) -> QSize:
        """Room for the whole text."""
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self._text), metrics.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw as much as there is room for."""
        painter = QPainter(self)
        is_quiet = bool(self.property("quiet"))
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(theme_of(self).muted if is_quiet else colour)
        middle = Qt.TextElideMode.ElideMiddle
        shown = self.fontMetrics().elidedText(self._text, middle, self.width())
        align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(self.rect(), align, shown)
