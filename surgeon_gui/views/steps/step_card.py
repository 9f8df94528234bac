"""One step: a header with number, mark and summary, and its page below."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFontMetrics,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import QAbstractButton, QScrollArea, QSizePolicy, QWidget
from typing_extensions import override

from surgeon_gui.base.colours import Theme
from surgeon_gui.base.theme import GAP, MARGIN, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.step_text import Mark, StepView
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import bold, described
from surgeon_gui.widgets.layouts import inside_card
from surgeon_gui.widgets.tool_tips import plain_tip

_DISC = 26  # diameter, pixels
_BY_KEYBOARD = {
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
}
_SPOKEN_MARK = {
    Mark.EMPTY: tr("not done"),
    Mark.BUSY: tr("running"),
    Mark.READY: tr("ready"),
    Mark.WARNING: tr("warning"),
    Mark.PROBLEM: tr("problem"),
}


class StepHeader(QAbstractButton):
    """Shows number or mark, title and summary; a click opens or closes the page."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__()
        self._number = number
        self._view = StepView(Mark.EMPTY, "")
        self._shows_focus = False
        described(self, name)
        self.setText(CAPTIONS[name].label)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def view(self) -> StepView:
        """The mark and summary shown."""
        return self._view

    @property
    def summary(self) -> str:
        """The line below the title; an open page may show its problem itself."""
        is_problem = self._view.mark is Mark.PROBLEM
        if self.isChecked() and is_problem and self._view.is_on_page:
            return tr("See the message at the marked setting.")
        return self._view.summary

    def show_view(self, view: StepView) -> None:
        """Show the mark and summary of the step."""
        if view == self._view:
            return
        self._view = view
        self.setAccessibleDescription(f"{_SPOKEN_MARK[view.mark]}: {view.summary}")
        self.setToolTip(plain_tip(view.summary))
        self.update()

    @override
    def sizeHint(self) -> QSize:
        line = QFontMetrics(self.font()).height()
        return QSize(200, 2 * line + 2 * GAP + 6)

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        self._shows_focus = event.reason() in _BY_KEYBOARD
        super().focusInEvent(event)

    @override
    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._shows_focus = False
        super().focusOutEvent(event)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._shows_focus or self.underMouse():
            edge = theme.accent if self._shows_focus else theme.border
            painter.setPen(QColor(edge))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(2, 2, -2, -2), 6, 6)
        self._paint_disc(painter, theme)
        self._paint_text(painter, theme)
        self._paint_arrow(painter, theme)

    def _paint_disc(self, painter: QPainter, theme: Theme) -> None:
        disc = QRectF(MARGIN, (self.height() - _DISC) / 2, _DISC, _DISC)
        mark = self._view.mark
        fills = {Mark.READY: theme.accent, **_inks(theme)}
        fill = fills.get(mark, theme.raised)
        edge = theme.accent if mark is Mark.BUSY else fills.get(mark, theme.border)
        painter.setPen(QPen(QColor(edge), 1.5))
        painter.setBrush(QColor(fill))
        painter.drawEllipse(disc)
        ink = theme.on_accent if mark in fills else theme.text
        painter.setPen(QPen(QColor(ink), 2.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        centre = disc.center()
        if mark is Mark.READY:
            tick = ((-5.5, 0.5), (-1.5, 4.5), (6.0, -4.0))
            painter.drawPolyline(QPolygonF([centre + QPointF(x, y) for x, y in tick]))
            return
        signs = {Mark.WARNING: "!", Mark.PROBLEM: "!", Mark.BUSY: "…"}
        painter.setFont(bold(self.font()))
        sign = signs.get(mark, str(self._number))
        painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, sign)

    def _paint_text(self, painter: QPainter, theme: Theme) -> None:
        left = MARGIN + _DISC + MARGIN
        width = self.width() - left - 2 * MARGIN - GAP
        line = QFontMetrics(self.font()).height()
        top = (self.height() - 2 * line - 2) // 2
        painter.setFont(bold(self.font()))
        painter.setPen(QColor(theme.text))
        painter.drawText(
            QRect(left, top, width, line), Qt.AlignmentFlag.AlignVCenter, self.text()
        )
        painter.setFont(self.font())
        painter.setPen(QColor(_inks(theme).get(self._view.mark, theme.muted)))
        summary = QFontMetrics(self.font()).elidedText(
            self.summary, Qt.TextElideMode.ElideRight, width
        )
        below = QRect(left, top + line + 2, width, line)
        painter.drawText(below, Qt.AlignmentFlag.AlignVCenter, summary)

    def _paint_arrow(self, painter: QPainter, theme: Theme) -> None:
        centre = QPointF(self.width() - MARGIN - 4, self.height() / 2)
        points = (
            ((-4, -2), (0, 2), (4, -2))
            if self.isChecked()
            else ((-2, -4), (2, 0), (-2, 4))
        )
        painter.setPen(QPen(QColor(theme.muted), 1.5))
        painter.drawPolyline(QPolygonF([centre + QPointF(x, y) for x, y in points]))


class StepCard(QWidget):
    """A header and its page."""

    opened = Signal(object)  # itself

    def __init__(self, number: int, name: str, page: QWidget) -> None:
        super().__init__()
        self.header = StepHeader(number, name)
        self.page = page
        self.header.toggled.connect(self._on_toggled)
        self._inner = inside_card(self, self.header, page, margin=1, spacing=0)
        page.hide()

    def open(self) -> None:
        """Show the page."""
        self.header.setChecked(True)

    def close_page(self) -> None:
        """Hide the page."""
        self.header.setChecked(False)

    def update_layout(self) -> None:
        """Apply the size of an opened or closed page at once."""
        for layout in (self._inner, self.layout()):
            assert layout is not None
            layout.activate()

    def bring_into_view(self) -> None:
        """Scroll the surrounding area to show as much of the page as possible."""
        area = self.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None:
            area.ensureWidgetVisible(self.page, 0, MARGIN)
            area.ensureWidgetVisible(self.header, 0, MARGIN)

    @Slot(bool)
    def _on_toggled(self, is_open: bool) -> None:
        self.page.setVisible(is_open)
        if is_open:
            self.opened.emit(self)


def _inks(theme: Theme) -> dict[Mark, str]:
    """Return the colours of the marks that ask for attention."""
    return {Mark.WARNING: theme.warning, Mark.PROBLEM: theme.bad}
