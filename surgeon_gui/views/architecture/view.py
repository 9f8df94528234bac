"""The layers of a model: a tree, a picture of the blocks, and explanations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QModelIndex, QPoint, QSignalBlocker, Qt, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QMenu,
    QSplitter,
    QTreeView,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.architecture import ArchitectureController
from surgeon_gui.state.architecture.state import Block, Layer, Source
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.architecture.architecture_table import ArchitectureTable
from surgeon_gui.views.architecture.block_picture import BlockCard, on_card
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import (
    button,
    described,
    fill_menu,
    heading,
    text_label,
)
from surgeon_gui.widgets.layouts import STRETCH, card, horizontal, row_of, vertical
from surgeon_gui.widgets.spin_boxes import NumberBox

_SOURCES = {
    Source.RUN: tr("After the run"),
    Source.PLAN: tr("Planned for the target"),
    Source.MODEL: tr("Unpruned model"),
}
_EXPANDED_BLOCKS = 3  # models with at most so many blocks are fully expanded
_SIDE = 272  # pixels; width of the picture and the explanations
_INDENT = 14
_CELL_PADDING = 20  # pixels beside the text of a cell
_HALF = 0.5


class LayersPlace(QWidget):
    """A place of the view on one of two pages; the view moves to the page in use."""

    def __init__(self, view: ArchitectureView, *, of_run: bool) -> None:
        super().__init__()
        self._view, self._of_run = view, of_run
        self._column = vertical(self)
        if not of_run:  # it begins there
            self._column.addWidget(view)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self._column.addWidget(self._view)
        self._view.show()  # or it would be hidden until the next event
        self._view.controller.show_run(self._of_run)
        super().showEvent(event)


class ArchitectureView(QWidget):
    """Draws an `ArchitectureController`."""

    def __init__(self, controller: ArchitectureController) -> None:
        super().__init__()
        self.setObjectName("architecture_view")
        self.controller = controller
        self._shown_limit: object = None  # the layer and the limit in the box
        self._fitted: object = None  # the texts that the columns were fitted to
        self._source = ChoiceBox("architecture_source_combo", min_length=24)
        self._source.currentIndexChanged.connect(self._on_source_chosen)
        self._table = ArchitectureTable()
        self._tree = self._make_tree()
        self._picture = BlockCard()
        self._picture.picture.layer_clicked.connect(controller.select)
        self._title = heading("")
        self._title.setObjectName("architecture_layer_label")
        self._title.setWordWrap(True)
        self._reasons = text_label(name="architecture_reasons")
        self._protect = button("protect_layer_button", controller.toggle_protection)
        self._protect_block = button(
            "protect_block_button", controller.toggle_block_protection
        )
        self._share = described(NumberBox(decimals=0), "limit_layer_spin")
        self._share.setRange(0, 100)
        self._share.setSingleStep(5)
        self._share.setSuffix(" %")
        self._limit = button("limit_layer_button", self._on_limit_clicked)
        self._menu = self._make_menu()
        self._lay_out()
        controller.changed.connect(self.redraw)
        self.redraw()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.redraw()  # it is not drawn while hidden

    @Slot()
    def redraw(self) -> None:
        """Draw the current state, if visible."""
        if not self.isVisible():
            return
        controller = self.controller
        sources = {source: _SOURCES[source] for source in controller.sources}
        self._source.offer(sources, controller.source)
        self._source.setVisible(len(sources) > 1)
        was_empty = self._table.rowCount() == 0
        self._table.show_architecture(controller.architecture)
        if was_empty and self._table.rowCount():
            self._open_first()
        if self._fitted != self._table.longest_texts:
            self._fitted = self._table.longest_texts
            self._fit_columns()
        self._picture.show_blocks(controller.architecture.blocks, controller.selected)
        self._show_layer()

    def _show_layer(self) -> None:
        controller, layer = self.controller, self.controller.layer
        has_layer = layer is not None
        self._show_limit()
        for widget in (self._protect, self._share, self._limit):
            widget.setEnabled(has_layer)
        self._show_block()
        if layer is None and controller.block is not None:
            number = controller.block.number
            self._title.setText(tr("Block {number}").format(number=number))
            self._reasons.setText("\n\n".join(controller.reasons))
            return
        if layer is None:
            self._title.setText(tr("Why?"))
            hint = tr(
                "Select a layer or a block in the table or the picture to see why it "
                "was pruned or kept, and to protect or limit it."
            )
            has_layers = self._table.rowCount() > 0
            self._reasons.setText(f"{controller.note} {hint * has_layers}".strip())
            return
        self._title.setText(layer.name)
        self._reasons.setText("\n\n".join(controller.reasons))
        is_protected = controller.is_protected
        name = "unprotect_layer_button" if is_protected else "protect_layer_button"
        self._protect.setText(CAPTIONS[name].label)
        index = self._table.index_of(layer.name)
        if index.isValid() and self._tree.currentIndex() != index:
            blocker = QSignalBlocker(self._tree.selectionModel())
            self._tree.setCurrentIndex(index)
            blocker.unblock()
            self._tree.scrollTo(index)  # opens its block
            self._tree.viewport().update()

    def _show_block(self) -> None:
        self._protect_block.setEnabled(self.controller.block is not None)
        is_protected = self.controller.is_block_protected
        name = "unprotect_block_button" if is_protected else "protect_block_button"
        self._protect_block.setText(CAPTIONS[name].label)

    def _show_limit(self) -> None:
        """Show the limit of the layer in the box; one half if it has none."""
        selected = (self.controller.selected, self.controller.limit)
        if selected != self._shown_limit:  # keeps a value that is being typed
            self._shown_limit = selected
            self._share.setValue(round(100 * (self.controller.limit or _HALF)))

    def _open_first(self) -> None:
        count = self._table.rowCount()
        for row in range(count if count <= _EXPANDED_BLOCKS else 1):
            self._tree.expand(self._table.index(row, 0))

    def _fit_columns(self) -> None:
        """Make the columns as wide as their texts, also those of closed blocks."""
        for column, text in enumerate(self._table.longest_texts):
            needed = self._tree.fontMetrics().horizontalAdvance(text) + _CELL_PADDING
            needed += 0 if column else 2 * _INDENT
            title = self._tree.header().sectionSizeHint(column)
            self._tree.setColumnWidth(column, max(needed, title))

    @Slot()
    def _on_source_chosen(self) -> None:
        self.controller.show_source(self._source.value)

    @Slot(QModelIndex)
    def _on_current_changed(self, index: QModelIndex) -> None:
        item = self._table.part(index)
        if isinstance(item, Layer):
            self.controller.select(item.name)
        elif isinstance(item, Block):
            self.controller.select_block(item.number)

    @Slot()
    def _on_limit_clicked(self) -> None:
        self._share.interpretText()
        self.controller.keep(self._share.value() / 100)

    @Slot(QPoint)
    def _on_menu_requested(self, position: QPoint) -> None:
        item = self._table.part(self._tree.indexAt(position))
        if isinstance(item, Block):
            item = item.layers[0] if item.layers else None
        if isinstance(item, Layer):
            self.controller.select(item.name)
            self._menu.popup(self._tree.viewport().mapToGlobal(position))

    # construction

    def _make_tree(self) -> QTreeView:
        tree = described(QTreeView(), "architecture_tree")
        tree.setModel(self._table)
        tree.setUniformRowHeights(True)
        tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        tree.setIndentation(_INDENT)
        tree.setAlternatingRowColors(True)
        tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        tree.customContextMenuRequested.connect(self._on_menu_requested)
        tree.selectionModel().currentChanged.connect(self._on_current_changed)
        header = tree.header()
        header.setStretchLastSection(True)
        tree.setMinimumHeight(160)
        return tree

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        slots: dict[str, Callable[..., object]] = {
            "protect_layer_action": self.controller.toggle_protection,
            "protect_block_action": self.controller.protect_block,
            "limit_half_action": partial(self.controller.keep, _HALF),
            "free_layer_action": self.controller.free,
        }
        fill_menu(menu, slots)
        return menu

    def _lay_out(self) -> None:
        table = card()
        vertical(
            table, self._source, (self._tree, 1), margin=(MARGIN, GAP, MARGIN, MARGIN)
        )
        side = QSplitter(Qt.Orientation.Vertical)
        side.addWidget(self._picture)
        side.addWidget(self._reasons_card())
        side.setSizes([180, 320])
        side.setChildrenCollapsible(False)
        side.setMinimumWidth(max(_SIDE, self._picture.minimumSizeHint().width()))
        horizontal(self, (table, 1), side)

    def _reasons_card(self) -> QWidget:
        frame = card()
        content = QWidget()
        vertical(content, self._reasons, STRETCH, spacing=None)
        column = QVBoxLayout(frame)
        column.setContentsMargins(MARGIN, GAP, MARGIN, MARGIN)
        column.setSpacing(GAP)
        column.addWidget(self._title)
        column.addWidget(on_card(content), 1)
        # In two rows, which leaves more width for the table.
        column.addLayout(row_of(self._protect, self._protect_block))
        column.addLayout(row_of(self._limit, self._share))
        return frame
