"""SparseGPT equals a naive sequential sweep and removes exact numbers."""

import pytest
import torch

from surgeon_engine.api.config.pruning import Method as Name
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.pruning.methods import METHODS, sparsegpt
from surgeon_engine.runtime.linalg import damped
from tests.helpers.configs import pruning_config
from tests.helpers.tensors import make_layer, random_mask

DAMPING = 0.02
R, C = 4, 12


def settings(structure=Structure.ELEMENTS, **others) -> PruningConfig:
    return pruning_config(
        method=Name.SPARSEGPT,
        structure=structure,
        damping="fixed",
        cost_damping=DAMPING,
        **others,
    )


def remove_asked(layer, requested, pruning):
    method = METHODS[Name.SPARSEGPT]
    return method.prune_elements(layer.W, (layer.A, layer.G), requested, pruning)


def counts(requested, step):
    """Return the number of removals in each block of `step` columns."""
    ends = [min(start + step, C) for start in range(0, C, step)]
    so_far = [int(requested.sum()) * end // C for end in ends]
    return [now - before for before, now in zip([0, *so_far], so_far, strict=False)]


def naive(W, A, choose, step):
    """Sweep by definition, with a new inverse of the remaining columns at each column.

    `choose` gives the mask of `step` columns from the costs 1/2 w_c^2 / [A^-1]_cc.
    """
    A, X = damped(A, DAMPING), W.clone()
    removed = torch.zeros_like(W, dtype=torch.bool)
    diagonal = torch.stack(
        [torch.linalg.inv(A[c:, c:])[0, 0] for c in range(W.shape[1])]
    )
    for c in range(W.shape[1]):
        if c % step == 0:
            some = slice(c, c + step)
            removed[:, some] = choose(0.5 * X[:, some].square() / diagonal[some], some)
        inverse = torch.linalg.inv(A[c:, c:])
        for r in range(len(W)):
            if removed[r, c]:
                X[r, c:] -= X[r, c] / inverse[0, 0] * inverse[0]
                X[r, c] = 0
    return X, removed


def cheapest(cost, count):
    removed = torch.zeros(cost.numel(), dtype=torch.bool)
    removed[cost.flatten().argsort(stable=True)[:count]] = True
    return removed.view_as(cost)


@pytest.mark.parametrize("rows", [1, R])
@pytest.mark.parametrize("at_once", [4, 5, 128])
def test_elements_equal_a_naive_sweep(monkeypatch, rows, at_once):
    monkeypatch.setattr(sparsegpt, "_COLUMNS_AT_ONCE", at_once)
    layer = make_layer(rows, C)
    requested = random_mask(rows, C)
    expected, removed = naive(
        layer.W,
        layer.A,
        lambda cost, some: cheapest(
            cost, counts(requested, at_once)[some.start // at_once]
        ),
        at_once,
    )
    X, found = remove_asked(layer, requested, settings())
    assert torch.equal(found, removed)
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (1, 3)])
def test_patterns_equal_a_naive_sweep(kept, of):
    layer = make_layer(R, C)
    requested = torch.ones(R, C, dtype=torch.bool)

    def choose(cost, _):
        return torch.stack([cheapest(row, of - kept) for row in cost])

    expected, removed = naive(layer.W, layer.A, choose, of)
    X, found = remove_asked(
        layer, requested, settings(Structure.N_M, pattern=f"{kept}:{of}")
    )
    assert torch.equal(found, removed)
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_exact_number_of_elements_is_removed(share):
    layer = make_layer(R, C)
    requested = random_mask(R, C, share=share)
    X, removed = remove_asked(layer, requested, settings())
    assert int(removed.sum()) == int(requested.sum()) == int((X == 0).sum())
    assert torch.equal(X == 0, removed)


@pytest.mark.parametrize(("requested", "expected"), [(12, [4, 4, 4]), (7, [2, 2, 3])])
def test_each_block_of_columns_loses_the_same_share(monkeypatch, requested, expected):
    monkeypatch.setattr(sparsegpt, "_COLUMNS_AT_ONCE", 4)
    anywhere = torch.zeros(R * C, dtype=torch.bool)
    anywhere[:requested] = True
    _, removed = remove_asked(make_layer(R, C), anywhere.view(R, C), settings())
    assert removed.unflatten(1, (3, 4)).sum(dim=(0, 2)).tolist() == expected


def test_selected_groups_lose_two_of_four_and_others_none():
    layer = make_layer(R, C)
    requested = torch.zeros(R, C, dtype=torch.bool)
    # One of a group is enough.
    requested[0, 0] = requested[1, 6] = requested[3, 8] = requested[3, 9] = True
    X, removed = remove_asked(layer, requested, settings(Structure.N_M))
    counts = removed.unflatten(1, (3, 4)).sum(dim=2)
    expected = requested.unflatten(1, (3, 4)).any(dim=2) * 2
    assert torch.equal(counts, expected)
    assert torch.equal(X == 0, removed)


def test_columns_beyond_the_last_group_and_bias_are_updated_but_kept():
    layer = make_layer(R, 11)  # two groups of four, two more columns, a bias
    requested = torch.ones(R, 10, dtype=torch.bool)
    requested[:, 8:] = False
    X, removed = remove_asked(layer, requested, settings(Structure.N_M))
    assert removed.shape == (R, 10)
    assert removed[:, :8].sum() == 4 * R
    assert not removed[:, 8:].any()
    assert (X[:, 8:] != 0).all()
    assert not torch.isclose(X[:, 8:], layer.W[:, 8:]).any()


def test_rows_are_independent_under_a_pattern():
    layer = make_layer(R, C)
    requested = torch.ones(R, C, dtype=torch.bool)
    X, _ = remove_asked(layer, requested, settings(Structure.N_M))
    changed = make_layer(R, C)
    changed.W[1:] *= 7
    Y, _ = remove_asked(changed, requested, settings(Structure.N_M))
    torch.testing.assert_close(Y[0], X[0])
    assert not torch.isclose(Y[1:], X[1:]).all()
