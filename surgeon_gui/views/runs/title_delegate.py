"""Draws the titles of runs so that what tells them apart stays readable."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QApplication,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)
from typing_extensions import override

_MIDDLE = Qt.TextElideMode.ElideMiddle
_SEPARATOR = ", "
_MODEL_SHARE = 4  # the name of the model keeps at least 1 / 4 of the width


class TitleDelegate(QStyledItemDelegate):
    """Shortens the name of the model first, then the middle of the rest."""

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        shown = QStyleOptionViewItem(option)
        self.initStyleOption(shown, index)
        widget = shown.widget
        style = widget.style() if widget is not None else QApplication.style()
        part = QStyle.SubElement.SE_ItemViewItemText
        width = style.subElementRect(part, shown, widget).width()
        margin = style.pixelMetric(
            QStyle.PixelMetric.PM_FocusFrameHMargin, shown, widget
        )
        shown.text = elided_title(shown.text, shown.fontMetrics, width - 2 * margin - 2)
        element = QStyle.ControlElement.CE_ItemViewItem
        style.drawControl(element, shown, painter, widget)


def elided_title(title: str, metrics: QFontMetrics, width: int) -> str:
    """Return a title that fits a width in pixels.

    Titles begin with the model, which most runs have in common, and end with what
    tells equal ones apart.
    """
    if metrics.horizontalAdvance(title) <= width:
        return title
    model, separator, rest = title.partition(_SEPARATOR)
    if not separator:
        return metrics.elidedText(title, _MIDDLE, width)
    end = separator + rest
    room = max(width - metrics.horizontalAdvance(end), width // _MODEL_SHARE)
    model = metrics.elidedText(model, _MIDDLE, room)
    left = width - metrics.horizontalAdvance(model)
    return model + metrics.elidedText(end, _MIDDLE, left)
