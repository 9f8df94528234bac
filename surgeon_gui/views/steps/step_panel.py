"""The sections of the drawer Expert, at most one of them open below its header."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PySide6.QtCore import (
    QEvent,
    QObject,
    QPoint,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Slot,
)
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFontMetrics,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QSizePolicy,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, MARGIN, ROOM, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.step_text import Mark, StepView, step_view
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.page import Page
from surgeon_gui.widgets.controls import bold, described
from surgeon_gui.widgets.layouts import PageArea, inside_card, vertical
from surgeon_gui.widgets.tool_tips import plain_tip

_MIN_WIDTH = 384  # pixels
MAX_WIDTH = 640
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
    Mark.PROBLEM: tr("problem"),
}


class StepPanel(PageArea):
    """Opening a step closes the others, so that all headers stay visible."""

    def __init__(self, pages: Mapping[Step, Page]) -> None:
        content = QWidget()
        column = vertical(content, margin=(MARGIN, MARGIN, ROOM, MARGIN))
        super().__init__(content, column)
        self.setObjectName("step_panel")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(_MIN_WIDTH)
        self.setMaximumWidth(MAX_WIDTH)
        self._cards: dict[Step, StepCard] = {}
        for number, (step, page) in enumerate(pages.items(), start=1):
            made = StepCard(number, f"step_{step.value}_header", page)
            # A group of buttons would let Tab reach only one of them.
            made.header.toggled.connect(partial(self._on_toggled, made))
            column.addWidget(made)
            self._cards[step] = made
        column.addStretch()
        self._content = content
        self._control: QWidget | None = None  # has the focus
        self._control_y = 0  # in the content, pixels
        self._position: int | None = None  # scroll position before the content changes
        content.installEventFilter(self)
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._on_focus_changed)

    def open(self, step: Step) -> None:
        """Open the page of a step."""
        self._cards[step].header.setChecked(True)

    def show_state(self, state: AppState) -> None:
        """Show the state of each step in its header, and whether it can be edited."""
        for step, each in self._cards.items():
            each.header.show_view(step_view(state, step))

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in {QEvent.Type.LayoutRequest, QEvent.Type.Resize}:
            if self._position is None:
                self._position = self.verticalScrollBar().value()
            QTimer.singleShot(0, self, self._follow_control)
        return super().eventFilter(watched, event)

    @Slot()
    def _on_focus_changed(self) -> None:
        control = QApplication.focusWidget()
        self._control = None
        if control is not None and self._content.isAncestorOf(control):
            self._control, self._control_y = control, self._y_of(control)

    @Slot()
    def _follow_control(self) -> None:
        """Keep the control in use where it is on the screen.

        Otherwise a message that appears above a spin box would move its buttons away
        from the pointer, and the next click would change another setting.
        """
        QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)  # to its end
        position, self._position = self._position, None
        control = QApplication.focusWidget()
        if control is None or control is not self._control or not control.isVisible():
            return
        before, self._control_y = self._control_y, self._y_of(control)
        if isinstance(control, StepHeader):
            return
        if position is None:  # the layout went on after an earlier call
            position = self.verticalScrollBar().value()
        if -control.height() < before - position < self.viewport().height():
            # The bar may have moved by itself, as the content got shorter.
            self.verticalScrollBar().setValue(position + self._control_y - before)

    def _y_of(self, control: QWidget) -> int:
        return control.mapTo(self._content, QPoint()).y()

    def _on_toggled(self, card: StepCard, is_open: bool) -> None:
        if is_open:
            for each in self._cards.values():
                each.header.setChecked(each is card)
            QTimer.singleShot(0, self, self._bring_open_page_into_view)

    @Slot()
    def _bring_open_page_into_view(self) -> None:
        """Scroll to the open page, after the size of the closed page was applied."""
        for each in self._cards.values():
            each.update_layout()
        self._column.activate()
        for each in self._cards.values():
            if each.header.isChecked():  # as much of the page as possible
                self.ensureWidgetVisible(each.page, 0, MARGIN)
                self.ensureWidgetVisible(each.header, 0, GAP)  # shows no other card


class StepHeader(QAbstractButton):
    """Shows number or mark, title and summary; a click opens or closes the page."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__()
        self._number = number
        self.view = StepView(Mark.EMPTY, "")
        self._shows_focus = False
        described(self, name)
        self.setText(CAPTIONS[name].label)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def summary(self) -> str:
        """The line below the title; an open page may show its problem itself."""
        is_problem = self.view.mark is Mark.PROBLEM
        if self.isChecked() and is_problem:
            return tr("See the message below.")
        return self.view.summary

    def show_view(self, view: StepView) -> None:
        """Show the mark and summary of the step."""
        if view == self.view:
            return
        self.view = view
        self.setAccessibleDescription(f"{_SPOKEN_MARK[view.mark]}: {view.summary}")
        self.setToolTip(plain_tip(view.summary))
        self.update()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:  # as Space does
            self.click()
        else:
            super().keyPressEvent(event)

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
            # No second frame within the card's own, except around the focus.
            edge = theme.accent if self._shows_focus else theme.raised
            painter.setPen(QColor(edge))
            painter.setBrush(QColor(theme.raised))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(2, 2, -2, -2), 6, 6)
        self._paint_disc(painter, theme)
        self._paint_text(painter, theme)
        self._paint_arrow(painter, theme)

    def _paint_disc(self, painter: QPainter, theme: Theme) -> None:
        disc = QRectF(MARGIN, (self.height() - _DISC) / 2, _DISC, _DISC)
        mark = self.view.mark
        fills = {Mark.READY: theme.accent, Mark.PROBLEM: theme.bad}
        fill = fills.get(mark, theme.raised)
        edge = theme.accent if mark is Mark.BUSY else fills.get(mark, theme.border)
        painter.setPen(QPen(QColor(edge), 1.5))
        painter.setBrush(QColor(fill))
        painter.drawEllipse(disc)
        ink = theme.on_accent if mark in fills else theme.text
        painter.setPen(QPen(QColor(ink), 2.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        center = disc.center()
        if mark is Mark.READY:
            tick = ((-5.5, 0.5), (-1.5, 4.5), (6.0, -4.0))
            painter.drawPolyline(QPolygonF([center + QPointF(x, y) for x, y in tick]))
            return
        signs = {Mark.PROBLEM: "!", Mark.BUSY: "…"}
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
        is_problem = self.view.mark is Mark.PROBLEM
        painter.setPen(QColor(theme.bad if is_problem else theme.muted))
        summary = QFontMetrics(self.font()).elidedText(
            self.summary, Qt.TextElideMode.ElideRight, width
        )
        below = QRect(left, top + line + 2, width, line)
        painter.drawText(below, Qt.AlignmentFlag.AlignVCenter, summary)

    def _paint_arrow(self, painter: QPainter, theme: Theme) -> None:
        center = QPointF(self.width() - MARGIN - 4, self.height() / 2)
        points = (
            ((-4, -2), (0, 2), (4, -2))
            if self.isChecked()
            else ((-2, -4), (2, 0), (-2, 4))
        )
        painter.setPen(QPen(QColor(theme.muted), 1.5))
        painter.drawPolyline(QPolygonF([center + QPointF(x, y) for x, y in points]))


class StepCard(QWidget):
    """A header and its page."""

    def __init__(self, number: int, name: str, page: QWidget) -> None:
        super().__init__()
        self.header = StepHeader(number, name)
        self.page = page
        self.header.toggled.connect(page.setVisible)
        self._inner = inside_card(self, self.header, page, margin=1, spacing=0)
        page.hide()

    def update_layout(self) -> None:
        """Apply the size of an opened or closed page at once."""
        for layout in (self._inner, self.layout()):
            assert layout is not None
            layout.activate()
