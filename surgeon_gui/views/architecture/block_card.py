"""Chart card with a picture of the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtWidgets import QScrollArea, QWidget
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Block
from surgeon_gui.views.architecture.block_picture import BlockPicture
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.layouts import scrolling

_MIN_WIDTH = 480  # pixels, of a picture that is saved


class BlockCard(ChartCard):
    """Scrolls if there are many blocks; a saved picture has all of them."""

    def __init__(self, *, scrolls: bool = True) -> None:
        super().__init__(
            "architecture",
            tr("Remaining weights by block"),
            tr("Shows the layers of the model."),
        )
        self.picture = BlockPicture()
        self._scrolls = scrolls
        self._blocks: tuple[Block, ...] = ()
        self.set_body(on_card(self.picture) if scrolls else self.picture)

    def show_blocks(self, blocks: Sequence[Block], selected: str) -> None:
        """Show `blocks`, and frame the selected layer."""
        self._blocks = tuple(blocks)
        self.picture.show_blocks(blocks, selected)
        self.show_as_empty(not blocks)

    @override
    def save_picture(self, path: Path) -> None:
        if not self._scrolls or path.suffix == ".csv":
            super().save_picture(path)
            return
        full = BlockCard(scrolls=False)
        full.show_blocks(self._blocks, "")
        full.resize(max(_MIN_WIDTH, self.width()), full.sizeHint().height())
        try:
            full.grab()  # forces the layout, as it was never shown
            full.save_picture(path)
        finally:
            full.deleteLater()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        sizes = ("rows before", "rows after", "columns before", "columns after")
        header = ("block", "layer", *sizes, "weights before", "weights after")
        rows: list[tuple[object, ...]] = [header]
        for block in self._blocks:
            for layer in block.layers:
                before, after = layer.before, layer.after
                shapes = before.rows, after.rows, before.columns, after.columns
                kept = layer.weights - layer.removed
                rows.append((block.number, layer.name, *shapes, layer.weights, kept))
        return rows


def on_card(content: QWidget) -> QScrollArea:
    """Return a transparent scroll area around `content`."""
    area = scrolling(content)
    area.viewport().setAutoFillBackground(False)
    content.setAutoFillBackground(False)
    return area
