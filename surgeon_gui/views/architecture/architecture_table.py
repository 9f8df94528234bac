"""A tree of blocks with their layers, as Qt's item views want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, Qt

from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Architecture, Block, Layer, Shape
from surgeon_gui.text import numbers

_ARROW, _TIMES = "\N{RIGHTWARDS ARROW}", "\N{MULTIPLICATION SIGN}"
_DASH = "\N{EN DASH}"
_NUMBERS = (3, 4)  # columns
_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_Role = Qt.ItemDataRole


class ArchitectureTable(QAbstractItemModel):
    """Blocks are the parents of their layers; an index of a layer knows its block."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = Architecture()
        self._columns: tuple[tuple[str, Callable[[Block | Layer], str]], ...] = (
            (tr("Layer"), _name),
            (tr("Shape"), _shape),
            (tr("Groups"), _groups),
            (tr("Gone"), _sparsity),
            (tr("Cost spent"), _cost),
            (tr("Next run"), _rule),
        )

    def show_architecture(self, architecture: Architecture) -> None:
        """Show `architecture`; what is open and chosen stays so if the names stay."""
        if architecture == self._shown:
            return
        same = _names(architecture) == _names(self._shown)
        if not same:
            self.beginResetModel()
        self._shown = architecture
        if not same:
            self.endResetModel()
            return
        last = self.columnCount() - 1
        for row, block in enumerate(architecture.blocks):
            parent = self.index(row, 0)
            self.dataChanged.emit(parent, self.index(row, last))
            if block.layers:
                end = self.index(len(block.layers) - 1, last, parent)
                self.dataChanged.emit(self.index(0, 0, parent), end)

    def longest_words(self) -> dict[int, str]:
        """What the columns that grow with a cut may say at most, by column."""
        layers = self._shown.layers
        shapes = [f"{x.before.rows}{_TIMES}{x.before.columns}" for x in layers]
        groups = [str(layer.groups_of) for layer in layers if layer.groups]
        return {
            column: f"{longest} {_ARROW} {longest}"
            for column, words in ((1, shapes), (2, groups))
            if (longest := max(words, key=len, default=""))
        }

    def item(self, index: _Index) -> Block | Layer | None:
        """What stands at an index."""
        if not index.isValid():
            return None
        block = index.internalId()
        if not block:
            return self._shown.blocks[index.row()]
        return self._shown.blocks[block - 1].layers[index.row()]

    def index_of(self, name: str) -> QModelIndex:
        """Where the layer of that name stands."""
        for row, block in enumerate(self._shown.blocks):
            for number, layer in enumerate(block.layers):
                if layer.name == name:
                    return self.index(number, 0, self.index(row, 0))
        return QModelIndex()

    def index(self, row: int, column: int, parent: _Index = _ROOT) -> QModelIndex:
        """See `QAbstractItemModel.index`."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        # 0: a block; else the number of the layer's block, from 1.
        return self.createIndex(
            row, column, parent.row() + 1 if parent.isValid() else 0
        )

    def parent(self, index: _Index = _ROOT) -> QModelIndex:  # type: ignore[override]
        """See `QAbstractItemModel.parent`."""
        block = index.internalId() if index.isValid() else 0
        return self.createIndex(block - 1, 0, 0) if block else QModelIndex()

    def rowCount(self, parent: _Index = _ROOT) -> int:
        """Blocks, or the layers of one."""
        item = self.item(parent)
        if item is None:
            return len(self._shown.blocks)
        if isinstance(item, Block) and parent.column() == 0:
            return len(item.layers)
        return 0

    def columnCount(self, parent: _Index = _ROOT) -> int:
        """As many for blocks as for layers."""
        return len(self._columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        """The names of the columns."""
        if orientation is Qt.Orientation.Horizontal and role == _Role.DisplayRole:
            return self._columns[section][0]
        if role == _Role.TextAlignmentRole:
            return _alignment(section)
        if role == _Role.ToolTipRole:
            return _TIPS[section]
        return None

    def data(self, index: _Index, role: int = _Role.DisplayRole) -> Any:
        """What stands in a cell."""
        item = self.item(index)
        if item is None:
            return None
        if role == _Role.DisplayRole:
            return self._columns[index.column()][1](item)
        if role == _Role.TextAlignmentRole:
            return _alignment(index.column())
        if role == _Role.ToolTipRole and isinstance(item, Layer):
            return item.name
        return None


_TIPS = (
    tr("Blocks, and the layers in them."),
    tr("Rows by columns; of a block, its weights."),
    tr("Groups of heads that share keys and values, or neurons."),
    tr("The share of its weights that is gone."),
    tr(
        "The rise of the loss that was predicted for what went, in nats, and its part "
        "of that of the whole model. Layers that go along with another pay nothing."
    ),
    tr(
        "What protects or limits it in the next run. Heads and neurons are protected, "
        "and limited, with any of their layers."
    ),
)


def _names(architecture: Architecture) -> list[tuple[int, str]]:
    return [(layer.block, layer.name) for layer in architecture.layers]


def _alignment(column: int) -> int:
    side = (
        Qt.AlignmentFlag.AlignRight
        if column in _NUMBERS
        else Qt.AlignmentFlag.AlignLeft
    )
    return int(side | Qt.AlignmentFlag.AlignVCenter)


def _name(item: Block | Layer) -> str:
    if isinstance(item, Layer):
        return item.kind
    return tr("Block {number}").format(number=item.number)


def _shape(item: Block | Layer) -> str:
    if isinstance(item, Block):
        kept = item.weights - item.removed
        if not item.removed:
            return numbers.count(item.weights)
        return f"{numbers.count(item.weights)} {_ARROW} {numbers.count(kept)}"
    before = f"{item.before.rows}{_TIMES}{item.before.columns}"
    if item.after == item.before or item.after == Shape(-1, -1):
        return before
    return f"{before} {_ARROW} {item.after.rows}{_TIMES}{item.after.columns}"


def _groups(item: Block | Layer) -> str:
    if isinstance(item, Block) or not item.groups:
        return ""
    if item.groups_kept == item.groups_of:
        return f"{item.groups_of}"
    return f"{item.groups_of} {_ARROW} {item.groups_kept}"


def _sparsity(item: Block | Layer) -> str:
    return numbers.percent(item.sparsity) if item.removed else _DASH


def _cost(item: Block | Layer) -> str:
    if not item.cost or item.cost_share is None:
        return _DASH
    share = numbers.percent(item.cost_share, decimals=0)
    return f"{numbers.two_figures(item.cost)} ({share})"


def _rule(item: Block | Layer) -> str:
    if isinstance(item, Block):
        return _rules(item)
    if item.is_protected:
        return tr("protected")
    if item.stays:
        return tr("stays too")
    if not item.least:
        return ""
    return tr("≥ {share}").format(share=numbers.percent(item.least))


def _rules(block: Block) -> str:
    if all(layer.stays for layer in block.layers):
        return tr("protected")
    ruled = sum(layer.stays or layer.least > 0 for layer in block.layers)
    if not ruled:
        return ""
    return tr("in {n} of {all}").format(n=ruled, all=len(block.layers))
