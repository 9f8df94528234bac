"""Menus and lists that pop up, with round corners."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QEvent, QObject, QRectF, Qt
from PySide6.QtGui import QPainterPath, QRegion
from PySide6.QtWidgets import QMenu, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import CONTROL_RADIUS


def round_corners(menu: QMenu) -> QMenu:
    """Let a menu cut its corners when it pops up; return it."""
    menu.aboutToShow.connect(partial(cut_corners, menu))
    return menu


def cut_corners(popup: QWidget) -> None:
    """Cut the corners of a menu or a list that is about to pop up, whatever its size.

    A list lies in a window of its own; nothing else in that window is shown.

    A mask, because a translucent window would have black corners on a desktop without
    a compositor. Not before: a filter is called for every event of the construction.
    """
    if popup.findChild(_CornerMask) is None:
        popup.installEventFilter(_CornerMask(popup))


class _CornerMask(QObject):
    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            window, shape = watched.window(), QPainterPath()
            # Around a list there is room for arrows, which most lists do not need.
            directly = Qt.FindChildOption.FindDirectChildrenOnly
            inner = window.findChildren(QWidget, options=directly)
            has_arrows = any(each.isVisible() for each in inner if each is not watched)
            is_list = watched is not window and not has_arrows
            place = QRectF(watched.geometry() if is_list else window.rect())
            shape.addRoundedRect(place, CONTROL_RADIUS, CONTROL_RADIUS)
            window.setMask(QRegion(shape.toFillPolygon().toPolygon()))
        return False
