"""One threshold for all units: the budget is used and never exceeded."""

import pytest
import torch

from surgeon_engine.base.errors import CurvatureError, PruningError
from surgeon_engine.pruning.threshold import REMOVED, ElementCosts, Removals, cheapest


def removals(cost: list[float], weights: list[int]) -> Removals:
    """Return candidates 0, 1, ... in any order of cost, and one that must be kept."""
    values, order = torch.tensor(cost, dtype=torch.float64).sort(stable=True)
    return Removals(order, values, torch.tensor(weights)[order], len(cost) + 1)


def elements(*costs: float, atom: int = 1) -> ElementCosts:
    return ElementCosts(torch.tensor(costs), atom)


def random_units() -> dict[str, Removals]:
    g = torch.Generator().manual_seed(0)
    return {
        name: removals(
            torch.rand(n, generator=g).tolist(),
            torch.randint(1, 9, (n,), generator=g).tolist(),
        )
        for name, n in (("a", 7), ("b", 12), ("c", 5))
    }


@pytest.mark.parametrize("budget", [0, 1, 10, 30, 60])
def test_selection_stays_within_the_budget_and_the_next_removal_would_exceed_it(budget):
    units = random_units()
    selection = cheapest(units, budget)
    everything = sorted(
        (cost, weights)
        for unit in units.values()
        for cost, weights in zip(unit.cost.tolist(), unit.weights.tolist(), strict=True)
    )
    taken = sum(int(mask.sum()) for mask in selection.removed.values())
    assert selection.weights == sum(weights for _, weights in everything[:taken])
    assert selection.weights <= budget
    assert selection.weights + everything[taken][1] > budget


@pytest.mark.parametrize("budget", [0, 1, 10, 30, 60])
def test_selection_that_reaches_the_budget_is_the_smallest_one(budget):
    units = random_units()
    within, reaching = (cheapest(units, budget, reaches=x) for x in (False, True))
    assert reaching.weights >= budget
    more = {n: reaching.removed[n] & ~mask for n, mask in within.removed.items()}
    added = sum(int(mask.sum()) for mask in more.values())
    assert added == (within.weights < budget)
    assert all(
        bool((reaching.removed[n] | ~m).all()) for n, m in within.removed.items()
    )


def test_selection_that_reaches_the_budget_keeps_what_an_earlier_one_has_removed():
    gone = removals([-torch.inf, -torch.inf, -torch.inf], [10, 100, 20])
    found = cheapest({"a": gone, "b": removals([1.0], [5])}, budget=60, reaches=True)
    assert found.weights == 130
    assert found.removed["a"][:3].all()
    assert not found.removed["b"].any()


def test_selection_that_reaches_the_budget_takes_whole_bundles():
    bundles = removals([1.0, 1.0, 2.0, 2.0], [6, 0, 6, 0])
    found = cheapest({"a": bundles}, budget=7, reaches=True)
    assert found.weights == 12
    assert found.removed["a"].tolist() == [True] * 4 + [False]


def test_cheapest_candidates_of_all_units_are_selected():
    units = random_units()
    selection = cheapest(units, budget=40)
    for name, unit in units.items():
        removed = selection.removed[name][unit.candidate]
        assert (removed == (unit.cost <= selection.threshold)).all()


def test_removed_candidates_are_selected_first():
    before = Removals(
        torch.tensor([1, 0]),
        torch.tensor([-torch.inf, 0.0], dtype=torch.float64),
        torch.tensor([5, 5]),
        3,
    )
    selection = cheapest({"x": removals([0.0], [5]), "y": before}, budget=5)
    assert selection.removed["y"].tolist() == [False, True, False]
    assert not selection.removed["x"].any()


def test_tie_is_split_in_the_order_of_the_units():
    units = {"a": removals([1.0, 1.0], [3, 3]), "b": removals([1.0], [3])}
    selection = cheapest(units, budget=8)
    assert selection.removed["a"].tolist() == [True, True, False]
    assert selection.removed["b"].tolist() == [False, False]


def test_counts_are_exact_beyond_float32():
    n = 2**24 + 1
    unit = removals([0.0, 1.0, 2.0], [n, 1, 1])
    assert cheapest({"a": unit}, budget=n + 1).weights == n + 1
    assert cheapest({"a": unit}, budget=n).weights == n


def random_costs(n: int, seed: int) -> torch.Tensor:
    """Return float32 costs over many powers of ten, with zeros and ties."""
    g = torch.Generator().manual_seed(seed)
    cost = torch.exp(torch.randn(n, generator=g) * 8)
    cost[torch.rand(n, generator=g) < 0.1] = 0
    cost[torch.rand(n, generator=g) < 0.1] = -0.0
    cost[torch.rand(n, generator=g) < 0.1] = 2.5
    cost[torch.rand(n, generator=g) < 0.05] = REMOVED
    cost[torch.rand(n, generator=g) < 0.1] = torch.inf
    return cost


def sorted_choice(costs: list[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Select the first `count` of a stable sort of all units."""
    order = torch.cat(costs).argsort(stable=True)
    removed = torch.zeros(len(order), dtype=torch.bool)
    removed[order[:count]] = True
    return list(removed.split([len(cost) for cost in costs]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.01, 0.04, 0.2, 0.25, 0.5, 0.9, 1.0])
def test_selection_equals_that_of_a_plain_sort(seed, share):
    costs = [random_costs(n, 10 * seed + n) for n in (40, 1, 120, 77)]
    is_removable = int((torch.cat(costs) < torch.inf).sum())
    units = {str(i): ElementCosts(cost) for i, cost in enumerate(costs)}
    budget = int(share * is_removable)
    selection = cheapest(units, budget)
    assert selection.weights == budget
    found = list(selection.removed.values())
    for mask, expected in zip(found, sorted_choice(costs, budget), strict=True):
        assert torch.equal(mask, expected)
    selected = torch.cat(costs)[torch.cat(found)]
    largest = float(selected.max())
    assert selection.threshold == (None if largest == REMOVED else largest)


def test_neighboring_floats_are_distinguished():
    one = torch.tensor(1.0)
    above = torch.nextafter(one, torch.tensor(2.0))
    below = torch.nextafter(one, torch.tensor(0.0))
    units = {"a": ElementCosts(torch.stack([above, one, below, above]))}
    assert cheapest(units, 1).removed["a"].tolist() == [False, False, True, False]
    assert cheapest(units, 2).removed["a"].tolist() == [False, True, True, False]
    assert cheapest(units, 3).removed["a"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("cost", [0.0, -0.0, 1e-45, 3.7, 3.4e38])
@pytest.mark.parametrize("budget", [0, 1, 4, 6])
def test_equal_costs_are_selected_in_the_order_of_the_units_and_counted_exactly(
    cost, budget
):
    units = {"a": elements(*[cost] * 4), "b": elements(cost, cost)}
    selection = cheapest(units, budget)
    removed = torch.cat(list(selection.removed.values())).tolist()
    assert removed == [True] * budget + [False] * (6 - budget)
    assert selection.weights == budget


@pytest.mark.parametrize("budget", range(13))
def test_atoms_are_never_split_even_if_all_costs_are_equal(budget):
    """Each of two units has three pairs, with a kept weight between them."""
    inf = float("inf")
    cost = (1.0, inf, 1.0, 1.0, 1.0, inf, 1.0, 1.0)
    units = {"a": elements(*cost, atom=2), "b": elements(*cost, atom=2)}
    selection = cheapest(units, budget)
    assert selection.weights == budget // 2 * 2
    taken = 0
    for unit in units.values():
        name = "a" if unit is units["a"] else "b"
        for pair in ((0, 2), (3, 4), (6, 7)):
            first, second = selection.removed[name][list(pair)].tolist()
            assert first == second
            taken += first + second
    assert taken == selection.weights


@pytest.mark.parametrize(
    ("costs", "budget"),
    [(removals([1.0], [9]), 8), (elements(0.0, 1.0, atom=2), 1)],
)
def test_budget_below_the_smallest_candidate_selects_nothing(costs, budget):
    selection = cheapest({"a": costs}, budget)
    assert not selection.removed["a"].any()
    assert selection.weights == 0
    assert selection.threshold is None


@pytest.mark.parametrize(
    ("costs", "numbers"),
    [
        (removals([1.0], [9]), "10 weights should be removed, but only 9 can be"),
        (elements(1.0, torch.inf, 2.0), "10 weights should be removed, but only 2 can"),
    ],
)
def test_budget_above_the_maximum_raises_with_the_numbers(costs, numbers):
    with pytest.raises(PruningError, match=numbers):
        cheapest({"a": costs}, budget=10)


@pytest.mark.parametrize("costs", [removals([torch.nan], [9]), elements(torch.nan)])
def test_nan_cost_raises_with_the_layer(costs):
    with pytest.raises(CurvatureError, match=r"blocks\.0\.fc1"):
        cheapest({"a": removals([1.0], [9]), "blocks.0.fc1": costs}, budget=1)
