"""View of a growing text, each token shaded by the difference of the models."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QMimeData, QPoint, QRectF, QSize, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QHelpEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextCharFormat,
    QTextCursor,
)
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy, QToolTip, QWidget
from typing_extensions import override

from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.playground.state import Token
from surgeon_gui.state.playground.text import LINE_END, token_tip
from surgeon_gui.text import numbers
from surgeon_gui.widgets.controls import described
from surgeon_gui.widgets.tool_tips import plain_tip

# Minimum difference of each shade, in nats. Below 0.05 nats, even the odds of an
# uncertain token hardly change.
STEPS = (0.05, 0.2, 0.5, 1.0, 2.0)
_PADDING = 5  # pixels at both sides of a number


class TextView(QPlainTextEdit):
    """Draws a prompt and the tokens after it; updates only changed tokens."""

    def __init__(self, name: str) -> None:
        super().__init__()
        described(self, name)
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self._prompt = ""
        self._tokens: list[Token] = []
        self._ends: list[int] = []  # document position after each token

    def show_text(self, prompt: str, tokens: Sequence[Token]) -> None:
        """Show `tokens` after `prompt`."""
        pieces = [token.piece for token in tokens[: len(self._tokens)]]
        is_continued = [token.piece for token in self._tokens] == pieces
        if prompt != self._prompt or not is_continued:
            self._reset(prompt)
        bar = self.verticalScrollBar()
        is_at_end = bar.value() == bar.maximum()
        for index, token in enumerate(tokens):
            if index == len(self._tokens):
                self._append(token)
            elif token is not self._tokens[index]:
                self._tokens[index] = token
                self._format(index)
        if is_at_end:
            bar.setValue(bar.maximum())

    def show_token(self, index: int) -> None:
        """Scroll to a token and select it."""
        self.setTextCursor(self._cursor(index))
        self.centerCursor()
        self.setFocus()

    def token_at(self, point: QPoint) -> int | None:
        """Return the index of the token at a point of the viewport, or None."""
        cursor = self.cursorForPosition(point)
        if not self.cursorRect(cursor).adjusted(-30, 0, 30, 0).contains(point):
            return None  # outside of the text
        position = cursor.position()
        # The cursor is at the nearer edge of a character; the side of that edge tells
        # which character is under the point.
        if self.cursorRect(cursor).left() > point.x():
            position -= 1
        index = bisect_right(self._ends, position)
        is_token = self._start_of_text() <= position and index < len(self._ends)
        return index if is_token else None

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        is_ready = hasattr(self, "_tokens")  # Qt sends events during construction
        if event.type() == QEvent.Type.PaletteChange and is_ready:
            prompt, tokens = self._prompt, list(self._tokens)
            self._reset(prompt)
            for token in tokens:
                self._append(token)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        bar = self.verticalScrollBar()
        is_at_end = bar.value() == bar.maximum()
        super().resizeEvent(event)
        if is_at_end:
            bar.setValue(bar.maximum())

    @override
    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            index = self.token_at(event.pos())
            if index is None:
                QToolTip.hideText()
            else:
                tip = plain_tip(self.tip_of(index))
                QToolTip.showText(event.globalPos(), tip, self)
            return True
        return super().viewportEvent(event)

    @override
    def createMimeDataFromSelection(self) -> QMimeData:
        data = super().createMimeDataFromSelection()
        # Copied text has no marks of line ends.
        data.setText(data.text().replace(LINE_END, ""))
        return data

    def tip_of(self, index: int) -> str:
        """Return the tooltip of a token."""
        return token_tip(self._tokens[index].piece, self._tokens[index].disagreement)

    def _reset(self, prompt: str) -> None:
        self._prompt = prompt
        self._tokens, self._ends = [], []
        self.clear()
        style = QTextCharFormat()
        style.setForeground(QColor(theme_of(self).muted))
        self._insert(prompt, style)

    def _append(self, token: Token) -> None:
        self._tokens.append(token)
        shown = token.piece.replace("\n", f"{LINE_END}\n")
        self._ends.append(self._insert(shown, self._style(token)))

    def _insert(self, text: str, style: QTextCharFormat) -> int:
        """Append text and return the position after it."""
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text, style)
        return cursor.position()

    def _format(self, index: int) -> None:
        self._cursor(index).setCharFormat(self._style(self._tokens[index]))

    def _style(self, token: Token) -> QTextCharFormat:
        theme, style = theme_of(self), QTextCharFormat()
        style.setForeground(QColor(theme.text))
        if token.disagreement is None:
            return style
        color = shade(theme, token.disagreement.nats)
        if color is not None:
            style.setBackground(QBrush(QColor(color)))
        if not token.disagreement.agrees:
            style.setUnderlineStyle(QTextCharFormat.UnderlineStyle.SingleUnderline)
            style.setUnderlineColor(QColor(theme.text))
        return style

    def _cursor(self, index: int) -> QTextCursor:
        cursor = QTextCursor(self.document())
        cursor.setPosition(self._start(index))
        cursor.setPosition(self._ends[index], QTextCursor.MoveMode.KeepAnchor)
        return cursor

    def _start(self, index: int) -> int:
        return self._ends[index - 1] if index else self._start_of_text()

    def _start_of_text(self) -> int:
        return len(self._prompt.encode("utf-16-le")) // 2  # Qt counts UTF-16 units


def shade(theme: Theme, nats: float) -> str | None:
    """Return the background color of a token, or None for no shade."""
    level = bisect_right(STEPS, nats)
    return theme.doubt[level - 1] if level else None


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
