"""Gate gradients are derivatives by factors on rows, columns and weights."""

import pytest
import torch
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from surgeon_engine.api.config.pruning import Fisher
from surgeon_engine.curvature.collect import CurvatureRequest, _labels, block_gates
from surgeon_engine.curvature.measured import Gate, GateGradients
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.pruning.costs import sum_pattern_costs, ways_to_remove
from tests.helpers.tiny_models import VOCABULARY, tiny_model

WINDOWS = torch.randint(1, VOCABULARY, (3, 12), generator=torch.Generator())
each_family = pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox"])


def measured(model, batch):
    layers = prunable_layers(model)
    request = CurvatureRequest(model, find_blocks(model), layers, WINDOWS, batch)
    found = {}
    for of_block in block_gates(request, tuple(Gate), lambda: None):
        found |= of_block
    return layers, found


def gradients_by_definition(model, layer, window):
    """Return the derivatives of the loss of a window by actual gates of a layer."""
    rows = torch.ones(layer.rows, requires_grad=True)
    columns = torch.ones(layer.columns, requires_grad=True)
    weight = layer.module.weight
    hooks = [
        layer.module.register_forward_pre_hook(lambda _, x: (x[0] * columns,)),
        layer.module.register_forward_hook(lambda _, x, y: y * rows),
    ]
    weight.requires_grad_(True)
    logits = model(window.unsqueeze(0), use_cache=False).logits[0, :-1]
    loss = functional.cross_entropy(logits, window[1:], reduction="sum")
    found = torch.autograd.grad(loss, (rows, columns, weight))
    weight.requires_grad_(False)
    for hook in hooks:
        hook.remove()
    by_row, by_column, by_weight = found
    if isinstance(layer.module, Conv1D):  # GPT-2 stores it transposed
        by_weight = by_weight.T
    return by_row, by_column, by_weight


@pytest.mark.slow
@each_family
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_equal_those_of_actual_gates(family, batch):
    model = tiny_model(family)
    layers, found = measured(model, batch)
    assert found.keys() == {layer.name for layer in layers}
    for layer in layers:
        expected = [gradients_by_definition(model, layer, w) for w in WINDOWS]
        rows, columns, weights = (
            torch.stack(part) for part in zip(*expected, strict=True)
        )
        gates = found[layer.name]
        close = {"rtol": 1e-3, "atol": 1e-5}
        torch.testing.assert_close(gates.rows, rows, **close)
        torch.testing.assert_close(gates.columns, columns, **close)
        squares = weights.square().sum(dim=0)
        torch.testing.assert_close(gates.weight_squares, squares, **close)


def test_costs_are_half_the_mean_square_per_token():
    columns = torch.tensor([[1.0, -2.0, 3.0, 0.0], [0.0, 2.0, 1.0, -4.0]])
    gates = GateGradients(tokens=10, columns=columns)
    expected = torch.tensor([1.0, 8.0, 10.0, 16.0]).double() / 20
    torch.testing.assert_close(gates.column_costs(), expected)
    # The gates of a group are one gate: its gradient is their sum.
    expected = torch.tensor([1.0 + 4.0, 9.0 + 9.0]).double() / 20
    torch.testing.assert_close(gates.column_group_costs(2), expected)
    rows = GateGradients(tokens=10, rows=columns)
    torch.testing.assert_close(rows.row_costs(), gates.column_costs())


def test_cost_of_a_weight_is_that_of_its_gate():
    W = torch.tensor([[2.0, -3.0, 7.0]]).double()  # the last column is the bias
    gates = GateGradients(tokens=10, weight_squares=torch.tensor([[5.0, 1.0]]))
    expected = torch.tensor([[20.0, 9.0]]).double() / 20
    torch.testing.assert_close(gates.element_costs(W), expected)


def test_cheapest_pattern_of_separate_costs_keeps_the_dearest():
    cost = torch.rand(5, 10, generator=torch.Generator().manual_seed(1))
    joint, chosen = sum_pattern_costs(cost, kept=1, of=3)  # the last column is over
    removed = ways_to_remove(1, 3)[chosen]
    groups = cost[:, :9].unflatten(1, (3, 3))
    smallest = groups.sort(dim=2)
    torch.testing.assert_close(joint, smallest.values[:, :, :2].sum(dim=2))
    assert torch.equal(removed.sort().values, smallest.indices[:, :, :2].sort().values)


def test_averaged_gradients_have_the_mean_of_both_costs():
    draw = torch.Generator().manual_seed(2)
    one, other = (
        GateGradients(
            tokens,
            torch.randn(count, 4, generator=draw),
            torch.randn(count, 6, generator=draw),
            torch.rand(4, 6, generator=draw),
        )
        for tokens, count in ((30, 3), (70, 5))
    )
    both, W = one.averaged_with(other), torch.randn(4, 6, generator=draw)
    for cost in (
        GateGradients.row_costs,
        GateGradients.column_costs,
        lambda gates: gates.column_group_costs(2),
        lambda gates: gates.element_costs(W),
    ):
        torch.testing.assert_close(
            cost(both).float(), ((cost(one) + cost(other)) / 2).float()
        )


def test_draws_are_as_many_windows_with_labels_of_their_own():
    model = tiny_model("llama")
    layers, blocks = prunable_layers(model), find_blocks(model)
    request = CurvatureRequest(
        model, blocks, layers, WINDOWS, 2, Fisher.SAMPLED, seed=1, draws=3
    )
    for of_block in block_gates(request, (Gate.COLUMNS,), lambda: None):
        for gates in of_block.values():
            assert gates.tokens == 3 * WINDOWS.numel()
            assert len(gates.columns) == 3 * len(WINDOWS)
            assert len(gates.columns.unique(dim=0)) == 3 * len(WINDOWS)


@pytest.mark.slow
def test_draws_of_a_window_do_not_depend_on_the_batch():
    model = tiny_model("llama")
    given = model, find_blocks(model), prunable_layers(model), WINDOWS
    one, two = (
        CurvatureRequest(*given, batch, Fisher.SAMPLED, seed=1, draws=3)
        for batch in (1, 2)
    )
    found, others = (
        [gates for gates in block_gates(each, (Gate.COLUMNS,), lambda: None)]
        for each in (one, two)
    )
    for of_block, of_other in zip(found, others, strict=True):
        for name, gates in of_block.items():
            torch.testing.assert_close(gates.columns, of_other[name].columns)


def test_labels_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([2.0, 0.0, -torch.inf, 1.0]).repeat(4000, 1)
    request = CurvatureRequest(None, (), (), WINDOWS, 1, Fisher.SAMPLED)
    numbers = torch.rand(4, 1, 1000, generator=torch.Generator().manual_seed(0))
    (drawn,) = _labels(request, torch.zeros(4, 1000), logits.softmax(1), numbers)
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(0), rtol=0, atol=0.02)
    assert shares[2] == 0
