"""Item model of the blocks and their layers."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel

from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Architecture, Block, Layer, LayerShape
from surgeon_gui.text import numbers
from surgeon_gui.widgets.tool_tips import plain_tip

_ARROW, _TIMES = "\N{RIGHTWARDS ARROW}", "\N{MULTIPLICATION SIGN}"
_DASH = "\N{EN DASH}"
_NUMBERS = (3, 4)  # columns
_TITLES = {  # column titles with their tips
    tr("Layer"): tr("Blocks and their layers."),
    tr("Shape"): tr("Rows by columns; for a block, its number of weights."),
    tr("Groups"): tr(
        "Groups of heads that share keys and values, neurons, or experts."
    ),
    tr("Removed"): tr("Share of the weights that is removed."),
    tr("Added loss"): tr(
        "Predicted increase of the loss by the removals, in nats, and its share of the "
        "total. For coupled layers, it is listed at the layer that decides."
    ),
    tr("Next run"): tr(
        "Protection or limit in the next run. It applies to all layers of the same "
        "heads, neurons or experts."
    ),
}


class ArchitectureTable(QStandardItemModel):
    """Tree model: blocks are the parents of their layers."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = Architecture()
        self.longest_texts: tuple[str, ...] = ()  # by column
        for column, (title, tip) in enumerate(_TITLES.items()):
            header = _cell(column)
            header.setText(title)
            header.setToolTip(plain_tip(tip))
            self.setHorizontalHeaderItem(column, header)

    def show_architecture(self, architecture: Architecture) -> None:
        """Show `architecture`; the same layers keep expansion and selection."""
        if architecture == self._shown:
            return
        if _names(architecture) != _names(self._shown):
            self.removeRows(0, self.rowCount())
            for block in architecture.blocks:
                cells = _cells()
                for layer in block.layers:
                    cells[0].appendRow(_cells(layer.name))
                self.appendRow(cells)
        self._shown = architecture
        for row, block in enumerate(architecture.blocks):
            parent = self.index(row, 0)
            self._show_texts(parent, block)
            for number, layer in enumerate(block.layers):
                self._show_texts(self.index(number, 0, parent), layer)
        parts: tuple[Block | Layer, ...] = (*architecture.blocks, *architecture.layers)
        self.longest_texts = tuple(
            max(map(to_text, parts), key=len, default="") for to_text in _TEXTS
        )

    def _show_texts(self, index: QModelIndex, part: Block | Layer) -> None:
        for column, to_text in enumerate(_TEXTS):
            self.setData(index.siblingAtColumn(column), to_text(part))

    def part(self, index: QModelIndex) -> Block | Layer | None:
        """Return the block or layer at an index."""
        if not index.isValid():
            return None
        if not index.parent().isValid():
            return self._shown.blocks[index.row()]
        return self._shown.blocks[index.parent().row()].layers[index.row()]

    def index_of(self, name: str) -> QModelIndex:
        """Return the index of the layer with that name."""
        for row, block in enumerate(self._shown.blocks):
            for number, layer in enumerate(block.layers):
                if layer.name == name:
                    return self.index(number, 0, self.index(row, 0))
        return QModelIndex()


def _names(architecture: Architecture) -> list[tuple[int, str]]:
    return [(layer.block, layer.name) for layer in architecture.layers]


def _cells(tip: str = "") -> list[QStandardItem]:
    cells = [_cell(column) for column in range(len(_TITLES))]
    for cell in cells:
        cell.setToolTip(plain_tip(tip))
    return cells


def _cell(column: int) -> QStandardItem:
    cell = QStandardItem()
    right, left = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft
    side = right if column in _NUMBERS else left
    cell.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
    return cell


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


_TEXTS = (_name, _shape, _groups, _sparsity, _cost, _rule)  # by column
