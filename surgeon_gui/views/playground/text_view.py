"""View of a growing text, each token shaded by the difference of the models."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QMimeData, QPoint
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QToolTip
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.state.playground.state import Token
from surgeon_gui.state.playground.text import LINE_END, token_tip
from surgeon_gui.views.playground.shading import shade
from surgeon_gui.widgets.controls import described
from surgeon_gui.widgets.tool_tips import plain_tip


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
        cursor = self.textCursor()
        cursor.setPosition(self._start(index))
        cursor.setPosition(self._ends[index], QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)
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
        return self._index_of(position)

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
    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            index = self.token_at(event.pos())
            if index is None:
                QToolTip.hideText()
            else:
                token = self._tokens[index]
                tip = token_tip(token.piece, token.disagreement)
                QToolTip.showText(event.globalPos(), plain_tip(tip), self)
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

    def colour_of(self, index: int) -> QColor | None:
        """Return the background color of a token, or None if it has no shade."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(
            self._start(index) + 1
        )  # the format is that before the cursor
        style = cursor.charFormat()
        has_colour = style.hasProperty(QTextCharFormat.Property.BackgroundBrush)
        return style.background().color() if has_colour else None

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
        colour = shade(theme, token.disagreement.nats)
        if colour is not None:
            style.setBackground(QBrush(QColor(colour)))
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

    def _index_of(self, position: int) -> int | None:
        if position < self._start_of_text():
            return None
        index = bisect_right(self._ends, position)
        return index if index < len(self._ends) else None
