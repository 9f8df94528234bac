"""Each method equals the dense quadratic with the factors that it uses."""

import pytest
import torch

from surgeon_engine.api.config.pruning import (
    BY_ROUTING,
    Damping,
    Method,
    PruningConfig,
    Structure,
    UpdateKind,
)
from surgeon_engine.curvature.measured import KroneckerFactors
from surgeon_engine.pruning import sparse_update
from surgeon_engine.pruning.costs import (
    column_costs,
    column_group_costs,
    element_costs,
    pattern_costs,
    row_costs,
    ways_to_remove,
)
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.runtime.linalg import damped
from tests.helpers.tensors import (
    SmallLayer,
    best_weight_dense,
    make_layer,
    plain_cost_dense,
    random_mask,
    removal_cost_dense,
)

R, C = 4, 6
I_R, I_C = torch.eye(R, dtype=torch.float64), torch.eye(C, dtype=torch.float64)
DAMPING = 0.03
LAYER = make_layer(R, C)
FACTORS = KroneckerFactors(LAYER.A, LAYER.G)  # more than most methods need
# F as each method sees it: its costs may depend on nothing else.
SEEN = {
    Method.K_OBD: SmallLayer(LAYER.W, LAYER.A, LAYER.G),
    Method.L_OBD: SmallLayer(LAYER.W, LAYER.A, I_R),
    Method.WANDA: SmallLayer(LAYER.W, LAYER.A.diagonal().diag(), I_R),
    Method.MAGNITUDE: SmallLayer(LAYER.W, I_C, I_R),
}
ADAPT = (Method.LLM_SURGEON, Method.SPARSEGPT)
each_that_stays = pytest.mark.parametrize("name", SEEN)


def seen_by(name: Method):
    """Return W, A, G and their stiffness as the method computes them."""
    method = METHODS[name]
    A, G = method.quadratic(LAYER.W, FACTORS)
    of_A, of_G = (method.stiffness(M, DAMPING) for M in (A, G))
    return A, G, of_A, of_G


def test_every_method_is_implemented():
    others = {Method.FIRST_ORDER, *BY_ROUTING}  # they have no quadratic
    assert set(METHODS) == set(Method) == set(SEEN) | set(ADAPT) | others


@each_that_stays
def test_costs_are_those_of_the_dense_quadratic(name):
    A, G, of_A, of_G = seen_by(name)
    dense, W = SEEN[name], LAYER.W

    def expected(sets):
        return torch.stack([plain_cost_dense(dense, Q) for Q in sets])

    index = dense.index
    pairs = [
        (row_costs(W, A, of_G), index),
        (column_costs(W, G, of_A), index.T),
        (column_group_costs(W, G, of_A, 3), index.T.reshape(3, -1)),
        (element_costs(W, of_A, of_G).flatten(), index.flatten().unsqueeze(1)),
    ]
    for cost, sets in pairs:
        torch.testing.assert_close(cost, expected(sets))
    cost, chosen = pattern_costs(W, of_A, of_G, 1, 3)
    groups = index.unflatten(1, (2, 3))
    removed = groups.gather(2, ways_to_remove(1, 3)[chosen]).flatten(0, 1)
    torch.testing.assert_close(cost.flatten(), expected(removed))


@each_that_stays
def test_methods_without_an_update_have_none(name):
    assert not isinstance(METHODS[name], UpdatingMethod)


@pytest.mark.parametrize("name", ADAPT)
def test_methods_with_an_update_damp_the_factor_whose_stiffness_is_taken(name):
    A, G, of_A, of_G = seen_by(name)
    both = SmallLayer(LAYER.W, damped(A, DAMPING), damped(G, DAMPING))
    elements = element_costs(LAYER.W, of_A, of_G).flatten()
    for cost, Q in zip(elements, both.index.flatten().unsqueeze(1), strict=True):
        torch.testing.assert_close(cost, removal_cost_dense(both, Q))
    one = SmallLayer(LAYER.W, A, damped(G, DAMPING))
    rows = row_costs(LAYER.W, A, of_G)
    for cost, Q in zip(rows, one.index, strict=True):
        torch.testing.assert_close(cost, removal_cost_dense(one, Q))
    one = SmallLayer(LAYER.W, damped(A, DAMPING), G)
    columns = column_costs(LAYER.W, G, of_A)
    for cost, Q in zip(columns, one.index.T, strict=True):
        torch.testing.assert_close(cost, removal_cost_dense(one, Q))


@pytest.mark.parametrize("update", UpdateKind)
def test_llm_surgeon_damps_its_update_separately_from_its_costs(update):
    method = METHODS[Method.LLM_SURGEON]
    column = random_mask(C)
    no_row = torch.zeros(R, dtype=torch.bool)
    pruning = PruningConfig(
        Structure.ROWS_AND_COLUMNS,
        update=update,
        damping=Damping.FIXED,
        cost_damping=7.0,
        update_damping=0.2,
    )
    X = method.prune_rows_columns(LAYER.W, (LAYER.A, LAYER.G), no_row, column, pruning)
    dense = SmallLayer(LAYER.W, damped(LAYER.A, 0.2), damped(LAYER.G, 0.2))
    expected = best_weight_dense(dense, column.expand(R, C))
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("max_correlated", [0, 1000])
def test_llm_surgeon_removes_elements_jointly(monkeypatch, max_correlated):
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-9)
    method, is_removed = METHODS[Method.LLM_SURGEON], random_mask(R, C)
    pruning = PruningConfig(
        Structure.ELEMENTS,
        max_correlated=max_correlated,
        damping=Damping.FIXED,
        update_damping=0.2,
    )
    X, removed = method.prune_elements(LAYER.W, (LAYER.A, LAYER.G), is_removed, pruning)
    dense = SmallLayer(LAYER.W, damped(LAYER.A, 0.2), damped(LAYER.G, 0.2))
    expected = best_weight_dense(dense, is_removed)
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-4)
    assert torch.equal(removed, is_removed)


def test_groups_of_one_give_another_update():
    method, is_removed = METHODS[Method.LLM_SURGEON], random_mask(R, C)
    whole, alone = (
        method.prune_elements(
            LAYER.W,
            (LAYER.A, LAYER.G),
            is_removed,
            PruningConfig(Structure.ELEMENTS, max_correlated=n),
        )[0]
        for n in (0, 1)
    )
    assert not torch.isclose(whole, alone)[~is_removed].any()


@pytest.mark.parametrize("name", [Method.LLM_SURGEON, Method.K_OBD])
def test_layer_without_activations_costs_nothing(name):
    """Inputs and gradients are zero, so damping must not introduce a scale."""
    method = METHODS[name]
    for A, G in ((LAYER.A, LAYER.G * 0), (LAYER.A * 0, LAYER.G)):
        of_A, of_G = method.stiffness(A, DAMPING), method.stiffness(G, DAMPING)
        for cost in (
            row_costs(LAYER.W, A, of_G),
            column_costs(LAYER.W, G, of_A),
            column_group_costs(LAYER.W, G, of_A, 2),
            element_costs(LAYER.W, of_A, of_G),
            pattern_costs(LAYER.W, of_A, of_G, 1, 3)[0],
        ):
            assert (cost == 0).all()


@pytest.mark.parametrize(
    ("flaw", "index"),
    [("dead input", 2), ("constant input", -1), ("copied input", 3)],
)
def test_degenerate_input_leaves_costs_and_update_finite(monkeypatch, flaw, index):
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-9)
    g = torch.Generator().manual_seed(0)
    a = torch.randn(50, C, generator=g, dtype=torch.float64)
    a[:, -2] = 1  # as a bias has
    a[:, index] = {"dead input": 0, "constant input": 3, "copied input": a[:, 0]}[flaw]
    A = a.T @ a / len(a)
    method, is_removed = METHODS[Method.LLM_SURGEON], random_mask(R, C)
    of_A, of_G = method.stiffness(A, DAMPING), method.stiffness(LAYER.G, DAMPING)
    cost = element_costs(LAYER.W, of_A, of_G)
    assert (cost.isfinite() & (cost >= 0)).all()
    pruning = PruningConfig(
        Structure.ELEMENTS, damping=Damping.FIXED, update_damping=DAMPING
    )
    X, _ = method.prune_elements(LAYER.W, (A, LAYER.G), is_removed, pruning)
    dense = SmallLayer(LAYER.W, damped(A, DAMPING), damped(LAYER.G, DAMPING))
    torch.testing.assert_close(
        X, best_weight_dense(dense, is_removed), rtol=0, atol=1e-4
    )
