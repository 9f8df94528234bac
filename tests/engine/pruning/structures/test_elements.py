"""Single weights of a layer: ranks, groups and minimum shares."""

from itertools import cycle, product

import pytest
import torch

from surgeon_engine.api.config.pruning import Method, Structure, methods_for
from surgeon_engine.pruning.costs import element_costs, pattern_costs, ways_to_remove
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.threshold import REMOVED
from tests.helpers.units import (
    DAMPING,
    assert_selection_becomes_zeros,
    no_removals,
    pruning,
    random_factors,
    random_measurement,
    removable,
    selected,
    units,
    write,
)

N_M, SINGLE = Structure.N_M, Structure.ELEMENTS
PATTERNS = [(2, 4), (1, 2), (2, 5), (4, 8)]


def share_of(parts, settings, share):
    """Select a share of the removable weights."""
    return selected(
        parts, settings, int(share * sum(removable(x, settings) for x in parts))
    )


def groups_of(mask, unit, size):
    """Return the whole groups of a mask over R x C weights."""
    whole = unit.measured.columns // size * size
    return mask.view(unit.measured.rows, -1)[:, :whole].unflatten(1, (-1, size))


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_costs_are_those_of_each_weight_without_its_bias(family):
    settings = pruning(SINGLE)
    unit = units(family, settings)[0]
    factors, method = random_factors(unit.measured), METHODS[settings.method]
    stiffness = [method.stiffness(M.double(), DAMPING) for M in (factors.A, factors.G)]
    expected = element_costs(unit.measured.weight().double(), *stiffness)
    elements = unit.removals(factors, no_removals(unit), settings)
    assert elements.atom == 1
    columns = unit.measured.columns
    torch.testing.assert_close(
        elements.cost, expected[:, :columns].flatten().float(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize(("kept", "of"), PATTERNS)
def test_weights_of_a_group_have_equal_parts_of_the_joint_cost(family, kept, of):
    settings = pruning(N_M, pattern=f"{kept}:{of}", sparsity=0.3)
    unit = units(family, settings)[0]
    factors, method = random_factors(unit.measured), METHODS[settings.method]
    stiffness = [method.stiffness(M.double(), DAMPING) for M in (factors.A, factors.G)]
    W = unit.measured.weight()[:, : unit.measured.columns].double()
    joint, chosen = pattern_costs(W, *stiffness, kept, of)
    elements = unit.removals(factors, no_removals(unit), settings)
    assert elements.atom == of - kept
    cost = groups_of(elements.cost, unit, of)
    ways = ways_to_remove(kept, of)[chosen]
    parts = cost.gather(2, ways)
    expected = (joint / (of - kept)).float().unsqueeze(2).expand_as(parts)
    torch.testing.assert_close(parts, expected, rtol=1e-4, atol=0)
    assert int((elements.cost < torch.inf).sum()) == parts.numel()
    assert removable(unit, settings) == parts.numel()


@pytest.mark.parametrize(
    ("family", "share", "method"),
    [
        (family, *case)
        for family, case in zip(
            cycle(["llama", "opt", "gpt2"]),
            product([0.1, 0.6, 1.0], methods_for(Structure.ELEMENTS)),
            strict=False,
        )
    ],
)
def test_weights_counted_as_removed_are_the_zeros_of_the_updated_model(
    family, share, method
):
    settings = pruning(SINGLE, method=method)
    parts = units(family, settings)
    assert assert_selection_becomes_zeros(parts, settings, share) == 0
    for unit in parts:
        layer = unit.measured
        assert not layer.has_bias or layer.weight()[:, -1].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "pattern"),
    [*zip(methods_for(Structure.N_M), cycle(PATTERNS), strict=False)],
)
def test_groups_lose_their_full_pattern_or_nothing(method, pattern):
    kept, of = pattern
    settings = pruning(N_M, method=method, pattern=f"{kept}:{of}", sparsity=0.3)
    parts = units("llama", settings)
    for share in (0.5, 1.0):
        selection, factors = share_of(parts, settings, share)
        counted = 0
        for unit in parts:
            name = unit.measured.name
            _, removed = unit.updated(
                factors[name], no_removals(unit), selection.removed[name], settings
            )
            counts = groups_of(removed, unit, of).sum(dim=2)
            assert set(counts.flatten().tolist()) <= {0, of - kept}
            if share == 1.0:
                assert (counts == of - kept).all()
            assert counts.sum() == removed.sum()  # none beyond the last whole group
            counted += int(removed.sum())
        assert counted == selection.weights


def test_wanda_removes_equally_many_from_every_row():
    settings = pruning(SINGLE, method=Method.WANDA)
    parts = units("opt", settings)
    for share in (0.1, 0.33, 0.77):
        selection, factors = share_of(parts, settings, share)
        for unit in parts:
            name, W = unit.measured.name, unit.measured.weight()
            R, C = unit.measured.rows, unit.measured.columns
            removed = selection.removed[name].view(R, C)
            assert ((removed.sum(dim=1) - share * C).abs() <= 1).all()
            score = W[:, :C].abs() * factors[name].A.diagonal()[:C].double().sqrt()
            for row in range(R):
                if removed[row].any():
                    kept = score[row][~removed[row]].min()
                    assert score[row][removed[row]].max() <= kept


def test_removed_weights_have_the_first_ranks_of_their_row():
    """A weight that is zero by chance does not precede them."""
    settings = pruning(SINGLE, method=Method.WANDA)
    unit = units("llama", settings)[0]
    W = unit.measured.weight()
    W[:, [2, 5, 9]] = 0
    unit.measured.write(W)
    before = torch.zeros_like(W, dtype=torch.bool)
    before[:, [5, 9]] = True
    factors = random_factors(unit.measured)
    cost = unit.removals(factors, before.flatten(), settings).cost.view_as(W)
    left = cost[:, [c for c in range(16) if c not in (5, 9)]].sort(dim=1).values
    ranks = torch.arange(3, 17) / 16  # after the two removed ones
    assert torch.equal(left, ranks.expand_as(left))
    assert (cost[:, 2] == 3 / 16).all()


def test_sparsegpt_removes_the_same_share_from_every_layer():
    settings = pruning(SINGLE, method=Method.SPARSEGPT)
    parts = units("opt", settings)
    for W_scale, unit in enumerate(parts, start=1):
        unit.measured.write(unit.measured.weight() * W_scale)  # no threshold would
    for share in (0.1, 0.5, 0.77):
        selection, _ = share_of(parts, settings, share)
        for unit in parts:
            count = int(selection.removed[unit.measured.name].sum())
            assert abs(count - share * unit.candidates) <= 1


@pytest.mark.parametrize("method", [Method.WANDA, Method.SPARSEGPT])
def test_groups_are_removed_evenly_too(method):
    settings = pruning(N_M, method=method)
    parts = units("llama", settings)
    selection, _ = share_of(parts, settings, 0.5)
    for unit in parts:
        groups = groups_of(selection.removed[unit.measured.name], unit, 4).any(dim=2)
        if method is Method.WANDA:
            half = groups.shape[1] / 2
            assert ((groups.sum(dim=1) - half).abs() <= 1).all()
        else:
            assert abs(int(groups.sum()) - groups.numel() / 2) <= 1


@pytest.mark.parametrize("structure", [SINGLE, N_M])
@pytest.mark.parametrize("method", methods_for(Structure.ELEMENTS))
def test_removed_weights_come_first_and_their_group_loses_no_more(structure, method):
    settings = pruning(structure, method=method)
    unit = units("opt", settings)[0]
    factors, before = random_measurement(unit), no_removals(unit)
    before[[0, 3, 20, 21]] = True  # two of a group each
    write(unit, unit.updated(factors, no_removals(unit), before, settings))
    W = unit.measured.weight()
    in_W = before.view(unit.measured.rows, -1)
    W[:, :-1][in_W] = 0
    W[1, 6] = 0  # zero by itself, and not to be taken for a removed one
    unit.measured.write(W)
    elements = unit.removals(factors, before, settings)
    assert torch.equal(elements.cost == REMOVED, before)
    assert (elements.cost[~before] >= 0).all()
    if structure is N_M:
        same_group = torch.tensor([1, 2, 22, 23])
        assert (elements.cost[same_group] == torch.inf).all()


@pytest.mark.parametrize("structure", [SINGLE, N_M])
@pytest.mark.parametrize("method", [Method.LLM_SURGEON, Method.WANDA, Method.SPARSEGPT])
@pytest.mark.parametrize("min_density", [0.55, 0.7, 1.0])
def test_minimum_share_is_kept_and_the_cheapest_are_removed(
    structure, method, min_density
):
    settings = pruning(structure, method=method, min_density=min_density)
    unit = units("opt", settings)[0]
    factors = random_factors(unit.measured)
    cost = unit.removals(factors, no_removals(unit), settings).cost
    is_removable = cost < torch.inf
    count = int(is_removable.sum())
    assert count == removable(unit, settings)
    assert unit.candidates - count >= min_density * unit.candidates
    free = pruning(structure, method=method)
    others = unit.removals(factors, no_removals(unit), free).cost
    assert torch.equal(cost[is_removable], others[is_removable])
    if count:
        assert others[is_removable].max() <= others[~is_removable].min()
    if structure is N_M:
        counts = groups_of(is_removable, unit, 4).sum(dim=2)
        assert set(counts.flatten().tolist()) <= {0, 2}


def test_removed_weights_are_not_restored_for_a_larger_minimum_share():
    settings = pruning(SINGLE, min_density=0.99)
    unit = units("llama", settings)[0]
    before = no_removals(unit)
    before[:100] = True
    cost = unit.removals(random_factors(unit.measured), before, settings).cost
    assert torch.equal(cost == REMOVED, before)
    assert (cost[100:] == torch.inf).all()


@pytest.mark.parametrize("method", methods_for(Structure.ELEMENTS))
@pytest.mark.parametrize("structure", [SINGLE, N_M])
def test_dead_rows_and_columns_are_removed_first_and_costs_stay_finite(
    structure, method
):
    settings = pruning(structure, method=method)
    unit = units("llama", settings)[0]
    W = unit.measured.weight()
    W[3] = 0
    W[:, [4, 5]] = 0
    unit.measured.write(W)
    cost = unit.removals(random_measurement(unit), no_removals(unit), settings).cost
    assert not cost.isnan().any()
    assert (cost >= 0).all()
    if structure is SINGLE and method not in (Method.WANDA, Method.SPARSEGPT):
        assert torch.equal(cost == 0, (W == 0).flatten())
