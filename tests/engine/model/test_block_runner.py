"""Blocks that are run one at a time compute the same as the whole model."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from benchmarks import small_models
from benchmarks.small_sizes import SIZES
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.block_calls import first_of
from surgeon_engine.model.block_runner import BlockRunner
from surgeon_engine.model.head import last_hidden
from surgeon_engine.model.layers import find_blocks
from surgeon_engine.runtime import devices
from tests.helpers.shared_keys import SHARED_KEYS, model_with_shared_keys
from tests.helpers.tiny_models import VOCABULARY, tiny_model

WINDOWS = torch.randint(VOCABULARY, (5, 12), generator=torch.Generator().manual_seed(0))
BATCHES = WINDOWS.split(2)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Let products have the precision of the model's own."""
    monkeypatch.setattr(devices, "fast_products", lambda *_: nullcontext())
    # oneDNN rounds products by the number of their rows.
    matmul = getattr(torch.backends.mkldnn, "matmul", SimpleNamespace())
    before = getattr(matmul, "fp32_precision", "none")
    matmul.fp32_precision = "ieee"
    yield
    matmul.fp32_precision = before


def run_all(runner, index, hidden):
    return [runner.run(index, x, number) for number, x in enumerate(hidden)]


def model_of(family):
    if family == "xlnet":  # whose hidden states have the tokens before the windows
        return small_models.build("causal", "xlnet", SIZES["usual"], dense=False)
    return tiny_model(family) if family == "llama" else model_with_shared_keys(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "xlnet", *SHARED_KEYS])
@torch.no_grad()
def test_blocks_one_at_a_time_equal_the_whole_model(family):
    model = model_of(family)
    blocks = find_blocks(model)
    runner = BlockRunner(model, blocks, BATCHES)
    hidden = list(runner.embedded())
    for index in range(len(blocks)):
        alone = runner.run(index, hidden[1][[1]], 1, [1])
        hidden = run_all(runner, index, hidden)
        torch.testing.assert_close(alone[0], hidden[1][1])
    torch.testing.assert_close(
        torch.cat([runner.finish(x, n) for n, x in enumerate(hidden)]),
        last_hidden(model, WINDOWS),
    )


@pytest.mark.parametrize("family", ["llama", "xlnet"])
@torch.no_grad()
def test_windows_may_be_as_many_as_their_tokens(family):
    model, windows = model_of(family), WINDOWS[:, :5]
    blocks = find_blocks(model)
    runner = BlockRunner(model, blocks, [windows])
    (hidden,) = runner.embedded()
    for index in range(len(blocks)):
        hidden = runner.run(index, hidden)
    found = runner.finish(hidden)
    torch.testing.assert_close(found, last_hidden(model, windows))
    (first, *_) = runner.embedded()
    alone = runner.run(0, first[[1]], 0, [1])
    torch.testing.assert_close(alone[0], runner.run(0, first)[1])


@torch.no_grad()
def test_readers_get_the_keys_of_the_latest_run():
    """As when a block is run again with other weights, or on other hidden states."""
    model = model_with_shared_keys("gemma4_text")
    blocks = find_blocks(model)
    runner = BlockRunner(model, blocks, BATCHES)
    hidden = list(runner.embedded())
    for index, block in enumerate(blocks):
        run_all(runner, index, hidden)
        for number, x in enumerate(hidden):  # a part of a batch is not kept
            runner.run(index, 2 * x[:1], number, slice(1))
        for parameter in block.parameters():
            parameter.mul_(1.5)
        hidden = run_all(runner, index, hidden)
    torch.testing.assert_close(
        torch.cat([runner.finish(x, n) for n, x in enumerate(hidden)]),
        last_hidden(model, WINDOWS),
    )


def test_arguments_that_depend_on_what_blocks_compute_raise():
    model = tiny_model("llama")
    blocks = find_blocks(model)
    forward = blocks[1].forward
    seen = []
    blocks[0].register_forward_hook(lambda module, args, y: seen.append(y))
    blocks[1].register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"earlier": seen[-1]}),
        with_kwargs=True,
    )
    blocks[1].forward = lambda hidden, earlier, **options: forward(hidden, **options)
    with pytest.raises(ModelError, match="depend on what earlier blocks compute"):
        BlockRunner(model, blocks, BATCHES)


def test_blocks_that_do_not_run_raise():
    model = tiny_model("llama")
    model.config.num_hidden_layers -= 1
    with pytest.raises(ModelError, match="2 blocks of this model run 1 times") as info:
        BlockRunner(model, find_blocks(model), BATCHES, hint="Choose another.")
    assert info.value.hint == "Choose another."


def test_hidden_states_that_change_between_blocks_raise():
    """As in XLM, whose attentions and MLPs are in two lists."""
    model = tiny_model("llama")
    blocks = find_blocks(model)
    blocks[1].register_forward_pre_hook(lambda _, args: (2 * args[0], *args[1:]))
    with pytest.raises(ModelError, match="do not simply follow each other"):
        BlockRunner(model, blocks, BATCHES)


def test_output_of_a_block_may_be_a_list():
    assert first_of([WINDOWS, None]) is WINDOWS
