"""The explanations of what was removed from a layer or a block."""

import pytest

from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.architecture.reasons import ReasonContext, block_reasons, reasons
from surgeon_gui.state.architecture.state import (
    Architecture,
    Block,
    Layer,
    LayerShape,
    Source,
)
from surgeon_gui.state.run import requested
from tests.helpers.configs import pruning_config


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (Method.FIRST_ORDER, "Predicted loss increase of its removals: 0.25 nats"),
        (Method.MAGNITUDE, "Cost of its removals: 100\xa0% of the total"),
    ],
)
def test_costs_are_nats_only_if_they_predict_a_loss(method, text):
    shape = LayerShape(4, 4)
    layer = Layer("a", 0, "mlp.down_proj", shape, shape, 16, 4, 0.25, 1.0)
    job = RunConfig(pruning=pruning_config(method=method))
    run = requested("run-1", job, "folder", 0.0)
    found = Architecture(Source.RUN, (Block(0, (layer,)),))
    assert text in " ".join(reasons(layer, ReasonContext(found, run=run)))


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
    kept = " ".join(block_reasons(block_with(0), run))
    assert "All of its 16 weights are kept" in kept and "are removed" not in kept
