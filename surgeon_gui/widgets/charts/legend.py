"""The names of what a chart shows, each with its colour, in as many lines as needed."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from surgeon_gui.base.theme import GAP, theme_of

_SWATCH = 9  # pixels
_BETWEEN = GAP + GAP // 2  # one name and the next swatch


class Legend(QWidget):
    """Takes no room for less than two names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self._colours: tuple[int, ...] = ()
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.hide()

    def show_names(self, names: tuple[str, ...], colours: tuple[int, ...]) -> None:
        """Show `names` with the colours of the theme's series at these places."""
        if (names, colours) == (self.names, self._colours):
            return
        self.names, self._colours = names, colours
        self.setAccessibleName(", ".join(names))
        self.setVisible(len(names) > 1)
        self.updateGeometry()
        self.update()

    def hasHeightForWidth(self) -> bool:
        """See `QWidget.hasHeightForWidth`."""
        return True

    def heightForWidth(self, width: int) -> int:
        """See `QWidget.heightForWidth`."""
        places = self._places(width)
        return (places[-1].y() if places else 0) + self.fontMetrics().height()

    def sizeHint(self) -> QSize:
        """See `QWidget.sizeHint`."""
        return QSize(120, self.heightForWidth(max(120, self.width())))

    def minimumSizeHint(self) -> QSize:
        """See `QWidget.minimumSizeHint`."""
        return QSize(60, self.fontMetrics().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint swatches and names."""
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        height = self.fontMetrics().height()
        places = self._places(self.width())
        for name, colour, at in zip(self.names, self._colours, places, strict=True):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.series[colour]))
            top = at.y() + (height - _SWATCH) / 2
            painter.drawRoundedRect(QRectF(at.x(), top, _SWATCH, _SWATCH), 2, 2)
            painter.setPen(QColor(theme.muted))
            left = at.x() + _SWATCH + GAP // 2
            baseline = at.y() + self.fontMetrics().ascent()
            painter.drawText(QPoint(left, baseline), name)

    def _places(self, width: int) -> list[QPoint]:
        """The upper left corner of each entry."""
        metrics = self.fontMetrics()
        places, x, y = [], 0, 0
        for name in self.names:
            entry = _SWATCH + GAP // 2 + metrics.horizontalAdvance(name)
            if x and x + entry > width:
                x, y = 0, y + metrics.height()
            places.append(QPoint(x, y))
            x += entry + _BETWEEN
        return places
