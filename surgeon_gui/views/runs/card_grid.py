"""A grid of cards that wraps with its width."""

from __future__ import annotations

from PySide6.QtCore import (
    QAbstractItemModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.views.runs.card_painter import (
    CARD_GAP,
    CardPainter,
    CardStatus,
    card_rect,
    cell_height,
    menu_rect,
    tick_rect,
    title_rect,
)
from surgeon_gui.views.runs.run_cards import PERCENT, RECORD
from surgeon_gui.widgets.controls import described

_MIN_CELL, _MAX_COLUMNS = 300, 4  # pixels; a card and the gap beside it
_IS_FILLED = "is_filled"  # property of an editor that shows the name
_CHECK, _STATES = Qt.ItemDataRole.CheckStateRole, Qt.CheckState
_MOUSE = (
    QEvent.Type.MouseButtonPress,
    QEvent.Type.MouseButtonRelease,
    QEvent.Type.MouseButtonDblClick,
)


class CardGrid(QListView):
    """Shows the cards of runs in one to four columns."""

    menu_clicked = Signal(QModelIndex)  # the spot in the corner of a card

    def __init__(self, name: str) -> None:
        super().__init__()
        described(self, name)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setStyleSheet("CardGrid { activate-on-singleclick: 1; }")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.viewport().setAutoFillBackground(False)
        self.setItemDelegate(CardDelegate(self))
        self._fit()

    @property
    def columns(self) -> int:
        """The number of cards beside each other."""
        return max(1, min(_MAX_COLUMNS, self._room // (_MIN_CELL + CARD_GAP)))

    @property
    def edge(self) -> int:
        """Pixels on the right that are no card: a gap and the scroll bar."""
        return CARD_GAP + self.verticalScrollBar().sizeHint().width()

    @property
    def _room(self) -> int:
        # Also without a scroll bar, so that nothing moves when it comes.
        return self.width() - self.edge + CARD_GAP

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()
        super().resizeEvent(event)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()
        super().changeEvent(event)

    def _fit(self) -> None:
        # Qt wraps cells that just fit.
        width = max(1, (self._room - 1) // self.columns)
        size = QSize(width, cell_height(self.font()))
        if size != self.gridSize():
            self.setGridSize(size)
            self.verticalScrollBar().setSingleStep(size.height() // 4)


class CardDelegate(QStyledItemDelegate):
    """Paints the cards, and handles clicks on their spots."""

    def __init__(self, view: CardGrid) -> None:
        super().__init__(view)
        self._view = view

    @override
    def sizeHint(
        self,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> QSize:
        return self._view.gridSize()

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        flags, checked = QStyle.StateFlag, index.data(_CHECK)
        status = CardStatus(
            is_selected=index == self._view.currentIndex(),
            is_hovered=bool(option.state & flags.State_MouseOver),
            is_ticked=None if checked is None else _is_checked(checked),
        )
        painter.save()
        card = CardPainter(painter, theme_of(option.widget), option.font)
        title, record, percent = map(
            index.data, (Qt.ItemDataRole.DisplayRole, RECORD, PERCENT)
        )
        card.paint(option.rect, title, record, percent, status)
        painter.restore()

    @override
    def setEditorData(
        self, editor: QWidget, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        if not editor.property(_IS_FILLED):  # later, the name is being typed
            editor.setProperty(_IS_FILLED, True)
            super().setEditorData(editor, index)

    @override
    def updateEditorGeometry(
        self,
        editor: QWidget,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        place = title_rect(option.rect, option.font)
        height = max(place.height(), editor.sizeHint().height())
        center = place.center()
        place.setHeight(height)
        place.moveCenter(center)
        editor.setGeometry(place)

    @override
    def editorEvent(
        self,
        event: QEvent,
        model: QAbstractItemModel,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> bool:
        if isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Space:
            _tick(model, index)
            return True
        if not isinstance(event, QMouseEvent) or event.type() not in _MOUSE:
            return False
        if event.button() is not Qt.MouseButton.LeftButton:
            return False
        is_release = event.type() is QEvent.Type.MouseButtonRelease
        place = event.position().toPoint()
        if tick_rect(option.rect).contains(place):
            if is_release:
                _tick(model, index)
            return True
        if menu_rect(option.rect).contains(place):
            if is_release:
                self._view.menu_clicked.emit(model.index(index.row(), 0))
            return True
        # A click in the gap between two cards opens none.
        return not card_rect(option.rect).contains(place)


def _tick(
    model: QAbstractItemModel, index: QModelIndex | QPersistentModelIndex
) -> None:
    checked = index.data(_CHECK)
    if checked is not None:
        wanted = _STATES.Unchecked if _is_checked(checked) else _STATES.Checked
        model.setData(index, wanted, _CHECK)


def _is_checked(value: object) -> bool:
    return _STATES(value) is _STATES.Checked
