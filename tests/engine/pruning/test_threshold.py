"""One threshold for all units: the budget is used and never exceeded."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.base.errors import CurvatureError, PruningError
from surgeon_engine.pruning.threshold import Removals, cheapest


def removals(cost: list[float], weights: list[int]) -> Removals:
    """Return candidates 0, 1, ... in any order of cost, and one that must be kept."""
    values, order = torch.tensor(cost, dtype=torch.float64).sort(stable=True)
    return Removals(order, values, torch.tensor(weights)[order], len(cost) + 1)


def random_units(seed: int = 0) -> dict[str, Removals]:
    g = torch.Generator().manual_seed(seed)
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


def test_budget_below_the_smallest_candidate_selects_nothing():
    selection = cheapest({"a": removals([1.0], [9])}, budget=8)
    assert selection.weights == 0
    assert selection.threshold is None


def test_budget_above_the_maximum_raises_with_the_numbers():
    with pytest.raises(
        PruningError, match="10 weights should be removed, but only 9 can be"
    ):
        cheapest({"a": removals([1.0], [9])}, budget=10)


def test_nan_cost_raises_with_the_layer():
    with pytest.raises(CurvatureError, match=r"blocks\.0\.fc1"):
        cheapest({"blocks.0.fc1": removals([float("nan")], [9])}, budget=5)
