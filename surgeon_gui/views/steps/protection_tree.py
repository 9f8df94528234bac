"""Tree of the layer kinds and the blocks of a model, to choose protected layers."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtWidgets import QTreeWidget, QTreeWidgetItem

from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.protections import (
    block_pattern,
    protected_layers,
    with_protection,
)
from surgeon_gui.text.numbers import count
from surgeon_gui.widgets.controls import described

_PATTERN = Qt.ItemDataRole.UserRole
_HEIGHT = 190  # pixels; it scrolls
_CHECKED, _PARTLY = Qt.CheckState.Checked, Qt.CheckState.PartiallyChecked
_UNCHECKED = Qt.CheckState.Unchecked


class ProtectionTree(QTreeWidget):
    """Shows which layers are protected; emits the patterns after a click."""

    chosen = Signal(object)  # tuple[str, ...], all patterns

    def __init__(self) -> None:
        super().__init__()
        described(self, "protect_tree")
        self.setHeaderHidden(True)
        self.setFixedHeight(_HEIGHT)
        self._layers: tuple[LayerSummary, ...] = ()
        self._patterns: tuple[str, ...] = ()
        self._members: list[tuple[QTreeWidgetItem, frozenset[str]]] = []
        self.itemChanged.connect(self._on_item_changed)

    def show_model(self, model: ModelSummary | None) -> None:
        """Show the layers of a model; empty for None."""
        layers = model.layers if model is not None else ()
        if layers == self._layers:
            return
        self._layers = layers
        with QSignalBlocker(self):
            self._fill()
        self._update_checks()

    def show_patterns(self, patterns: tuple[str, ...]) -> None:
        """Check the layers that these patterns protect."""
        if patterns != self._patterns:
            self._patterns = patterns
            self._update_checks()

    def _fill(self) -> None:
        self.clear()
        self._members.clear()
        kinds = self._group(tr("Layer kinds"))
        for kind in dict.fromkeys(layer.kind for layer in self._layers):
            members = {x.name for x in self._layers if x.kind == kind}
            self._add(kinds, kind, kind, members)
        blocks = self._group(tr("Blocks"))
        block_items: dict[int, QTreeWidgetItem] = {}
        for layer in self._layers:
            if layer.block not in block_items:
                label = tr("Block {number}").format(number=layer.block)
                pattern = block_pattern(layer.block)
                members = {x.name for x in self._layers if x.block == layer.block}
                block_items[layer.block] = self._add(blocks, label, pattern, members)
            label = f"{layer.kind}  ({count(layer.weights)})"
            self._add(block_items[layer.block], label, layer.name, {layer.name})
        kinds.setExpanded(True)

    def _group(self, label: str) -> QTreeWidgetItem:
        item = QTreeWidgetItem(self, [label])
        item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        return item

    def _add(
        self, parent: QTreeWidgetItem, label: str, pattern: str, members: set[str]
    ) -> QTreeWidgetItem:
        item = QTreeWidgetItem(parent, [label])
        item.setData(0, _PATTERN, pattern)
        item.setCheckState(0, _UNCHECKED)
        self._members.append((item, frozenset(members)))
        return item

    def _update_checks(self) -> None:
        checked = protected_layers(self._patterns, self._layers)
        with QSignalBlocker(self):
            for item, members in self._members:
                state = _CHECKED if members <= checked else _PARTLY
                item.setCheckState(0, state if members & checked else _UNCHECKED)
        self.viewport().update()

    @Slot(QTreeWidgetItem, int)
    def _on_item_changed(self, item: QTreeWidgetItem, _: int) -> None:
        pattern = item.data(0, _PATTERN)
        if not pattern:
            return
        is_protected = item.checkState(0) is _CHECKED
        self._patterns = with_protection(
            self._patterns, pattern, self._layers, is_protected=is_protected
        )
        self._update_checks()
        self.chosen.emit(self._patterns)
