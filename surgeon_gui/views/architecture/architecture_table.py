"""Item model of the blocks and their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, Qt
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Architecture, Block, Layer, LayerShape
from surgeon_gui.text import numbers
from surgeon_gui.widgets.tool_tips import plain_tip

_ARROW, _TIMES = "\N{RIGHTWARDS ARROW}", "\N{MULTIPLICATION SIGN}"
_DASH = "\N{EN DASH}"
_NUMBERS = (3, 4)  # columns
_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_Role = Qt.ItemDataRole


class ArchitectureTable(QAbstractItemModel):
    """Tree model: blocks are the parents of their layers."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = Architecture()
        self._columns: tuple[tuple[str, Callable[[Block | Layer], str]], ...] = (
            (tr("Layer"), _name),
            (tr("Shape"), _shape),
            (tr("Groups"), _groups),
            (tr("Removed"), _sparsity),
            (tr("Added loss"), _cost),
            (tr("Next run"), _rule),
        )

    def show_architecture(self, architecture: Architecture) -> None:
        """Show `architecture`; the same layers keep expansion and selection."""
        if architecture == self._shown:
            return
        is_same_model = _names(architecture) == _names(self._shown)
        if not is_same_model:
            self.beginResetModel()
        self._shown = architecture
        if not is_same_model:
            self.endResetModel()
            return
        last = self.columnCount() - 1
        for row, block in enumerate(architecture.blocks):
            parent = self.index(row, 0)
            self.dataChanged.emit(parent, self.index(row, last))
            if block.layers:
                end = self.index(len(block.layers) - 1, last, parent)
                self.dataChanged.emit(self.index(0, 0, parent), end)

    def longest_texts(self) -> dict[int, str]:
        """Return the longest text of each column whose texts grow with pruning."""
        layers = self._shown.layers
        shapes = [
            f"{x.before.rows}{_TIMES}{x.before.columns}"
            for x in layers
            if not x.is_experts
        ]
        groups = [str(x.groups.of) for x in layers if x.groups is not None]
        return {
            column: f"{longest} {_ARROW} {longest}"
            for column, texts in ((1, shapes), (2, groups))
            if (longest := max(texts, key=len, default=""))
        }

    def item(self, index: _Index) -> Block | Layer | None:
        """Return the block or layer at an index."""
        if not index.isValid():
            return None
        block = index.internalId()
        if not block:
            return self._shown.blocks[index.row()]
        return self._shown.blocks[block - 1].layers[index.row()]

    def index_of(self, name: str) -> QModelIndex:
        """Return the index of the layer with that name."""
        for row, block in enumerate(self._shown.blocks):
            for number, layer in enumerate(block.layers):
                if layer.name == name:
                    return self.index(number, 0, self.index(row, 0))
        return QModelIndex()

    @override
    def index(self, row: int, column: int, parent: _Index = _ROOT) -> QModelIndex:
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        # Internal id: 0 for a block; for a layer, the number of its block from 1.
        return self.createIndex(
            row, column, parent.row() + 1 if parent.isValid() else 0
        )

    @override
    def parent(self, index: _Index = _ROOT) -> QModelIndex:  # type: ignore[override]
        block = index.internalId() if index.isValid() else 0
        return self.createIndex(block - 1, 0, 0) if block else QModelIndex()

    @override
    def rowCount(self, parent: _Index = _ROOT) -> int:
        item = self.item(parent)
        if item is None:
            return len(self._shown.blocks)
        if isinstance(item, Block) and parent.column() == 0:
            return len(item.layers)
        return 0

    @override
    def columnCount(self, parent: _Index = _ROOT) -> int:
        return len(self._columns)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == _Role.DisplayRole:
            return self._columns[section][0]
        if role == _Role.TextAlignmentRole:
            return _alignment(section)
        if role == _Role.ToolTipRole:
            return plain_tip(_TIPS[section])
        return None

    @override
    def data(self, index: _Index, role: int = _Role.DisplayRole) -> Any:
        item = self.item(index)
        if item is None:
            return None
        if role == _Role.DisplayRole:
            return self._columns[index.column()][1](item)
        if role == _Role.TextAlignmentRole:
            return _alignment(index.column())
        if role == _Role.ToolTipRole and isinstance(item, Layer):
            return plain_tip(item.name)
        return None


_TIPS = (
    tr("Blocks and their layers."),
    tr("Rows by columns; for a block, its number of weights."),
    tr("Groups of heads that share keys and values, neurons, or experts."),
    tr("Share of the weights that is removed."),
    tr(
        "Predicted increase of the loss by the removals, in nats, and its share of the "
        "total. For coupled layers, it is listed at the layer that decides."
    ),
    tr(
        "Protection or limit in the next run. It applies to all layers of the same "
        "heads, neurons or experts."
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
    if item.is_experts:
        return tr("experts of {weights}").format(
            weights=numbers.count(item.before.rows)
        )
    before = f"{item.before.rows}{_TIMES}{item.before.columns}"
    if item.after == item.before or item.after == LayerShape(-1, -1):
        return before
    return f"{before} {_ARROW} {item.after.rows}{_TIMES}{item.after.columns}"


def _groups(item: Block | Layer) -> str:
    if isinstance(item, Layer) and item.is_experts and item.groups is None:
        return f"{item.before.columns}"
    if isinstance(item, Block) or item.groups is None:
        return ""
    kept, total = item.groups.kept, item.groups.of
    return f"{total}" if kept == total else f"{total} {_ARROW} {kept}"


def _sparsity(item: Block | Layer) -> str:
    if item.removed == item.weights:
        return tr("removed")
    return numbers.percent(item.sparsity) if item.removed else _DASH


def _cost(item: Block | Layer) -> str:
    if not item.cost or item.cost_share is None:
        return _DASH
    share = numbers.percent(item.cost_share, decimals=0)
    return f"{numbers.significant(item.cost, 2)} ({share})"


def _rule(item: Block | Layer) -> str:
    if isinstance(item, Block):
        return _rules(item)
    if item.is_protected:
        return tr("protected")
    if item.is_effectively_protected:
        return tr("coupled")
    if not item.min_density:
        return ""
    return tr("≥ {share}").format(share=numbers.percent(item.min_density))


def _rules(block: Block) -> str:
    if all(layer.is_effectively_protected for layer in block.layers):
        return tr("protected")
    restricted = sum(
        layer.is_effectively_protected or layer.min_density > 0
        for layer in block.layers
    )
    if not restricted:
        return ""
    return tr("{n} of {total} layers").format(n=restricted, total=len(block.layers))
