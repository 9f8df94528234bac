"""A card that covers the view in which it is, and returns to its place."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QScrollArea, QSplitter, QWidget
from typing_extensions import override


class Enlarging(QObject):
    """Moves a card out of its layout and back; another widget keeps its place."""

    def __init__(self, card: QFrame, on_escape: Callable[[], None]) -> None:
        super().__init__(card)
        self._card = card
        self._host: QWidget | None = None
        self._view: QWidget | None = None  # the view that holds the card
        self._minimum = card.minimumSize()
        self.stand_in: QWidget | None = None  # None: the card is in its place
        self._escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), card)
        self._escape.setEnabled(False)
        self._escape.activated.connect(on_escape)

    def start(self) -> None:
        """Cover the view."""
        card = self._card
        view = card.parentWidget()
        if view is None:
            return
        self._host, self._view = _host_of(view), view
        self._minimum = card.minimumSize()
        self.stand_in = QWidget()
        self.stand_in.setMinimumSize(self._minimum)
        self.stand_in.setSizePolicy(card.sizePolicy())
        _replace(view, card, self.stand_in)
        self.stand_in.show()
        card.setParent(self._host)
        card.setAutoFillBackground(True)
        card.setMinimumSize(0, 0)
        card.setGeometry(self._host.rect())
        card.show()
        card.raise_()
        self._host.installEventFilter(self)
        self._escape.setEnabled(True)

    def end(self) -> None:
        """Return to the place."""
        if self.stand_in is None or self._host is None or self._view is None:
            return
        self._escape.setEnabled(False)
        self._host.removeEventFilter(self)
        card = self._card
        card.setMinimumSize(self._minimum)
        is_shown = not self.stand_in.isHidden()
        _replace(self._view, self.stand_in, card)
        card.setVisible(is_shown)
        self.stand_in.hide()
        self.stand_in.deleteLater()
        self.stand_in, self._host = None, None

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.Resize and self._host is not None:
            self._card.setGeometry(self._host.rect())
        return super().eventFilter(watched, event)


def _replace(view: QWidget, old: QWidget, new: QWidget) -> None:
    layout = view.layout()
    if isinstance(view, QSplitter):
        sizes = view.sizes()
        view.replaceWidget(view.indexOf(old), new)
        new.show()
        view.setSizes(sizes)
    elif layout is not None:
        layout.replaceWidget(old, new)


def _host_of(view: QWidget) -> QWidget:
    """Return the visible part of the page of a view."""
    parent = view.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            return parent.viewport()
        parent = parent.parentWidget()
    return view
