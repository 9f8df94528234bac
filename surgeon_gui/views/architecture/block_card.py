"""The card of the picture of the blocks, which is saved like a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtWidgets import QScrollArea, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.state.architecture.state import Block
from surgeon_gui.views.architecture.block_picture import BlockPicture
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.scrolling import scrolling

_MIN_WIDTH = 480  # pixels, of a picture that is saved


class BlockCard(ChartCard):
    """Scrolls where there are many blocks; what is saved has all of them."""

    def __init__(self, *, scrolls: bool = True) -> None:
        super().__init__(
            "architecture",
            tr("Blocks: what stays of them"),
            tr("The layers of the model will be here."),
        )
        self.picture = BlockPicture()
        self._scrolls = scrolls
        self._blocks: tuple[Block, ...] = ()
        self.set_body(on_card(self.picture) if scrolls else self.picture)

    def show_blocks(self, blocks: Sequence[Block], selected: str) -> None:
        """Show `blocks`, with the layer of that name framed."""
        self._blocks = tuple(blocks)
        self.picture.show_blocks(blocks, selected)
        self.show_as_empty(not blocks)

    def save_picture(self, path: Path) -> None:
        """See `ChartCard.save_picture`."""
        if not self._scrolls or path.suffix == ".csv":
            super().save_picture(path)
            return
        whole = BlockCard(scrolls=False)
        whole.show_blocks(self._blocks, "")
        whole.resize(max(_MIN_WIDTH, self.width()), whole.sizeHint().height())
        try:
            whole.grab()  # lays it out, as nobody has seen it
            whole.save_picture(path)
        finally:
            whole.deleteLater()

    def rows(self) -> list[tuple[object, ...]]:
        """See `ChartCard.rows`; -1 is a size that is not known."""
        sizes = ("rows before", "rows after", "columns before", "columns after")
        header = ("block", "layer", *sizes, "weights before", "weights after")
        found: list[tuple[object, ...]] = [header]
        for block in self._blocks:
            for layer in block.layers:
                before, after = layer.before, layer.after
                shapes = before.rows, after.rows, before.columns, after.columns
                left = layer.weights - layer.removed
                found.append((block.number, layer.name, *shapes, layer.weights, left))
        return found


def on_card(content: QWidget) -> QScrollArea:
    """An area around `content` that lets the card shine through."""
    area = scrolling(content)
    area.viewport().setAutoFillBackground(False)
    content.setAutoFillBackground(False)
    return area
