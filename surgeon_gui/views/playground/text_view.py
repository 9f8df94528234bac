"""A text as it grows, each token shaded by how far the models differ at it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QMimeData, QPoint
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QToolTip

from surgeon_gui.base.theme import theme_of
from surgeon_gui.state.playground.state import Token
from surgeon_gui.state.playground.text import LINE_END, token_tip
from surgeon_gui.views.playground.shading import shade
from surgeon_gui.widgets.controls import described


class TextView(QPlainTextEdit):
    """Draws a prompt and the tokens after it; only what has changed is drawn anew."""

    def __init__(self, name: str) -> None:
        super().__init__()
        described(self, name)
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self._prompt = ""
        self._tokens: list[Token] = []
        self._ends: list[int] = []  # of tokens, as positions in the document

    def show_text(self, prompt: str, tokens: Sequence[Token]) -> None:
        """Show `tokens` after `prompt`."""
        pieces = [token.piece for token in tokens[: len(self._tokens)]]
        begins_alike = [token.piece for token in self._tokens] == pieces
        if prompt != self._prompt or not begins_alike:
            self._begin(prompt)
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
        """Bring a token into sight and select it."""
        cursor = self.textCursor()
        cursor.setPosition(self._start(index))
        cursor.setPosition(self._ends[index], QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)
        self.centerCursor()
        self.setFocus()

    def token_at(self, point: QPoint) -> int | None:
        """The index of the token at a point of the viewport; None: there is none."""
        cursor = self.cursorForPosition(point)
        if not self.cursorRect(cursor).adjusted(-30, 0, 30, 0).contains(point):
            return None  # beside the text
        position = cursor.position()
        # The cursor stands at the nearer edge of a character; which one is under the
        # point is told by the side of that edge.
        if self.cursorRect(cursor).left() > point.x():
            position -= 1
        return self._index_of(position)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        is_made = hasattr(self, "_tokens")  # Qt tells of a palette before that
        if event.type() == QEvent.Type.PaletteChange and is_made:
            prompt, tokens = self._prompt, list(self._tokens)
            self._begin(prompt)
            for token in tokens:
                self._append(token)

    def viewportEvent(self, event: QEvent) -> bool:
        """Say what is known of the token under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            index = self.token_at(event.pos())
            if index is None:
                QToolTip.hideText()
            else:
                token = self._tokens[index]
                words = token_tip(token.piece, token.disagreement)
                QToolTip.showText(event.globalPos(), words, self)
            return True
        return super().viewportEvent(event)

    def createMimeDataFromSelection(self) -> QMimeData:
        """What is copied, without the marks of line ends."""
        data = super().createMimeDataFromSelection()
        data.setText(data.text().replace(LINE_END, ""))
        return data

    def tip_of(self, index: int) -> str:
        """What the mouse over a token says."""
        return token_tip(self._tokens[index].piece, self._tokens[index].disagreement)

    def colour_of(self, index: int) -> QColor | None:
        """The colour behind a token; None: none of its own."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(self._start(index) + 1)  # Qt looks at what is before it
        style = cursor.charFormat()
        has_colour = style.hasProperty(QTextCharFormat.Property.BackgroundBrush)
        return style.background().color() if has_colour else None

    def _begin(self, prompt: str) -> None:
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

    def _insert(self, words: str, style: QTextCharFormat) -> int:
        """Write at the end; the position after it."""
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(words, style)
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
        return len(self._prompt.encode("utf-16-le")) // 2  # as Qt counts

    def _index_of(self, position: int) -> int | None:
        if position < self._start_of_text():
            return None
        index = bisect_right(self._ends, position)
        return index if index < len(self._ends) else None
