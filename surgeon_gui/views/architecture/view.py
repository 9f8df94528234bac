"""The tab of the architecture: a tree of all layers, a picture, and the reasons."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPoint, QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QMenu,
    QSpinBox,
    QSplitter,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.state.architecture.state import Block, Layer, Source
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.architecture.architecture_table import ArchitectureTable
from surgeon_gui.views.architecture.block_card import BlockCard, on_card
from surgeon_gui.views.steps.page import row_of
from surgeon_gui.widgets.controls import (
    button,
    card,
    choice_box,
    described,
    heading,
    ignore_wheel,
    text_label,
)

_SOURCES = {
    Source.RUN: tr("After the run"),
    Source.PLAN: tr("As planned for the target"),
    Source.MODEL: tr("As the model is"),
}
_FEW_BLOCKS = 3  # so many are open at first
_SIDE = 272  # pixels, of the picture and the reasons
_INDENT = 14
_CELL_ROOM = 14  # pixels beside the words of a cell
_HALF = 0.5


class ArchitectureView(QWidget):
    """Draws an `ArchitectureController`."""

    save_failed = Signal(str)

    def __init__(self, architect: ArchitectureController) -> None:
        super().__init__()
        self.setObjectName("architecture_view")
        self._architect = architect
        self._offered: tuple[Source, ...] = ()
        self._limited: object = None  # the layer and the limit that the box is for
        self._fitted: object = None  # for what the columns are as wide as that
        self._source = described(choice_box(), "architecture_source_combo")
        self._source.currentIndexChanged.connect(self._on_source_chosen)
        self._table = ArchitectureTable()
        self._tree = self._made_tree()
        self._picture = BlockCard()
        self._picture.picture.layer_clicked.connect(architect.select)
        self._picture.save_failed.connect(self.save_failed)
        self._title = heading("")
        self._title.setObjectName("architecture_layer_label")
        self._title.setWordWrap(True)
        self._reasons = text_label()
        self._reasons.setObjectName("architecture_reasons")
        self._protect = button("protect_layer_button")
        self._protect.clicked.connect(architect.toggle_protection)
        self._share = described(ignore_wheel(QSpinBox()), "limit_layer_spin")
        self._share.setRange(0, 100)
        self._share.setSingleStep(5)
        self._share.setSuffix(" %")
        self._limit = button("limit_layer_button")
        self._limit.clicked.connect(self._on_limit_clicked)
        self._menu = self._made_menu()
        self._lay_out()
        architect.changed.connect(self.redraw)
        self.redraw()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what has happened meanwhile."""
        super().showEvent(event)
        self.redraw()

    @Slot()
    def redraw(self) -> None:
        """Show how it stands, once somebody looks."""
        if not self.isVisible():
            return
        architect = self._architect
        self._offer(architect.sources)
        with QSignalBlocker(self._source):
            if architect.source in self._offered:
                self._source.setCurrentIndex(self._offered.index(architect.source))
        had_none = self._table.rowCount() == 0
        self._table.show_architecture(architect.architecture)
        if had_none and self._table.rowCount():
            self._open_first()
        fitted = (architect.source, self._table.longest_words())
        if self._fitted != fitted:
            self._fitted = fitted
            self._fit_columns()
        self._picture.show_blocks(architect.architecture.blocks, architect.selected)
        self._show_layer()

    def _show_layer(self) -> None:
        architect, layer = self._architect, self._architect.layer
        has_layer = layer is not None
        self._show_limit()
        for widget in (self._protect, self._share, self._limit):
            widget.setEnabled(has_layer)
        if layer is None:
            self._title.setText(tr("Why?"))
            hint = tr(
                "Choose a layer in the table or the picture to see why it was cut, or "
                "why not, and to protect or limit it."
            )
            self._reasons.setText(hint)
            return
        self._title.setText(layer.name)
        self._reasons.setText("\n\n".join(architect.reasons))
        is_protected = architect.is_protected
        name = "unprotect_layer_button" if is_protected else "protect_layer_button"
        self._protect.setText(CAPTIONS[name].label)
        index = self._table.index_of(layer.name)
        if index.isValid() and self._tree.currentIndex() != index:
            blocker = QSignalBlocker(self._tree.selectionModel())
            self._tree.setCurrentIndex(index)
            blocker.unblock()
            self._tree.scrollTo(index)  # opens its block
            self._tree.viewport().update()

    def _show_limit(self) -> None:
        """Let the box say what the layer keeps; half where nothing is said yet."""
        looked_at = (self._architect.selected, self._architect.limit)
        if looked_at != self._limited:  # or what is being typed would be lost
            self._limited = looked_at
            self._share.setValue(round(100 * (self._architect.limit or _HALF)))

    def _offer(self, sources: tuple[Source, ...]) -> None:
        if sources == self._offered:
            return
        self._offered = sources
        with QSignalBlocker(self._source):
            self._source.clear()
            self._source.addItems([_SOURCES[source] for source in sources])

    def _open_first(self) -> None:
        count = self._table.rowCount()
        for row in range(count if count <= _FEW_BLOCKS else 1):
            self._tree.expand(self._table.index(row, 0))

    def _fit_columns(self) -> None:
        """Give columns the room that they need for any target."""
        for column in range(self._table.columnCount()):
            self._tree.resizeColumnToContents(column)
        metrics = self._tree.fontMetrics()
        for column, words in self._table.longest_words().items():
            needed = metrics.horizontalAdvance(words) + _CELL_ROOM
            if self._tree.columnWidth(column) < needed:
                self._tree.setColumnWidth(column, needed)

    @Slot(int)
    def _on_source_chosen(self, index: int) -> None:
        if 0 <= index < len(self._offered):
            self._architect.show_source(self._offered[index])

    @Slot(QModelIndex)
    def _on_current_changed(self, index: QModelIndex) -> None:
        item = self._table.item(index)
        if isinstance(item, Layer):
            self._architect.select(item.name)

    @Slot()
    def _on_limit_clicked(self) -> None:
        self._share.interpretText()
        self._architect.keep(self._share.value() / 100)

    @Slot()
    def _on_half_chosen(self) -> None:
        self._architect.keep(_HALF)

    @Slot(QPoint)
    def _on_menu_wanted(self, position: QPoint) -> None:
        item = self._table.item(self._tree.indexAt(position))
        if isinstance(item, Block):
            item = item.layers[0] if item.layers else None
        if isinstance(item, Layer):
            self._architect.select(item.name)
            self._menu.popup(self._tree.viewport().mapToGlobal(position))

    # making

    def _made_tree(self) -> QTreeView:
        tree = described(QTreeView(), "architecture_tree")
        tree.setModel(self._table)
        tree.setUniformRowHeights(True)
        tree.setIndentation(_INDENT)
        tree.setAlternatingRowColors(True)
        tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        tree.customContextMenuRequested.connect(self._on_menu_wanted)
        tree.selectionModel().currentChanged.connect(self._on_current_changed)
        header = tree.header()
        header.setStretchLastSection(True)
        tree.setMinimumHeight(160)
        return tree

    def _made_menu(self) -> QMenu:
        menu = QMenu(self)
        slots = {
            "protect_layer_action": self._architect.toggle_protection,
            "protect_block_action": self._architect.protect_block,
            "limit_half_action": self._on_half_chosen,
            "free_layer_action": self._architect.free,
        }
        for name, slot in slots.items():
            action = menu.addAction(CAPTIONS[name].label)
            action.setObjectName(name)
            action.triggered.connect(slot)
        return menu

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.setSpacing(GAP)
        top.addWidget(self._source_box(), 1)
        table = card()
        left = QVBoxLayout(table)
        left.setContentsMargins(MARGIN, GAP, MARGIN, MARGIN)
        left.setSpacing(GAP)
        left.addLayout(top)
        left.addWidget(self._tree, 1)
        side = QSplitter(Qt.Orientation.Vertical)
        side.addWidget(self._picture)
        side.addWidget(self._why_card())
        side.setSizes([180, 320])
        side.setChildrenCollapsible(False)
        side.setMinimumWidth(_SIDE)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(table, 1)
        layout.addWidget(side)

    def _source_box(self) -> QComboBox:
        self._source.setMinimumContentsLength(24)
        return self._source

    def _why_card(self) -> QWidget:
        why = card()
        inside = QWidget()
        words = QVBoxLayout(inside)
        words.setContentsMargins(0, 0, 0, 0)
        words.addWidget(self._reasons)
        words.addStretch()
        column = QVBoxLayout(why)
        column.setContentsMargins(MARGIN, GAP, MARGIN, MARGIN)
        column.setSpacing(GAP)
        column.addWidget(self._title)
        column.addWidget(on_card(inside), 1)
        # In two rows: beside each other they would take room from the table.
        column.addLayout(row_of(self._protect))
        column.addLayout(row_of(self._limit, self._share))
        return why
