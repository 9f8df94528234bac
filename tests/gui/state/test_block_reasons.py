"""The explanation of what was removed from a block."""

from __future__ import annotations

from surgeon_gui.state.architecture.reasons import block_reasons
from surgeon_gui.state.architecture.state import (
    Architecture,
    Block,
    Layer,
    LayerShape,
    Source,
)


def block_with(removed):
    shape = LayerShape(4, 4)
    return Block(0, (Layer("a", 0, "mlp.up_proj", shape, shape, 16, removed, 1, 1),))


def test_removed_block_is_said_to_be_gone_and_a_pruned_one_lists_its_layers():
    run = Architecture(Source.RUN)
    whole = " ".join(block_reasons(block_with(16), run))
    assert "Nothing of the block is left" in whole
    assert "mlp.up_proj" not in whole
    partly = " ".join(block_reasons(block_with(4), run))
    assert "mlp.up_proj: 25\xa0%" in partly
    assert "Nothing of the block" not in partly
