"""The histogram counts every candidate once; each layer has its total cost."""

import math

import pytest
import torch

from surgeon_engine.api.config.pruning import CostBasis, Structure
from surgeon_engine.pruning.cost_accounting import BINS, cost_histogram, total_cost
from surgeon_engine.pruning.measure_curvature import measure
from surgeon_engine.pruning.threshold import REMOVED, ElementCosts, Removals, cheapest
from surgeon_engine.shots.shot import run_shot
from surgeon_engine.shots.steps import ShotPlan
from tests.helpers.pruning_states import make_state, silent_context

BUNDLED = {"width_multiple": 4, "structure": Structure.HEADS_AND_NEURONS}


def removals(costs, weights=None):
    cost = torch.tensor(costs, dtype=torch.float64)
    weights = torch.tensor(weights or [2] * len(costs))
    return Removals(torch.arange(len(cost)), cost, weights, len(cost))


def total(histogram, names):
    return [sum(getattr(histogram, name)) for name in names.split()]


def test_candidate_is_counted_once_with_its_weights():
    units = {"a": removals([0.1, 1.0, 10.0]), "b": removals([0.2, 5.0], [3, 4])}
    chosen = cheapest(units, budget=7)
    found = cost_histogram(units, chosen.removed)
    assert total(found, "removed kept") == [3, 2]
    assert total(found, "removed_weights kept_weights") == [7, 6]


def test_bins_are_equally_wide_on_a_log_scale_and_hold_costs_between_their_edges():
    units = {"a": removals([1e-4, 1e-2, 1.0])}
    found = cost_histogram(units, {"a": torch.tensor([True, True, False])})
    assert len(found.edges) == BINS + 1
    assert found.edges[0] == pytest.approx(1e-4)
    assert found.edges[-1] == pytest.approx(1.0)
    ratios = [b / a for a, b in zip(found.edges, found.edges[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * BINS)
    assert found.removed[0] == 1
    assert found.removed[BINS // 2] == 1
    assert found.kept[-1] == 1


def test_removed_and_unremovable_candidates_are_not_counted():
    units = {
        "a": ElementCosts(torch.tensor([REMOVED, 0.0, 1.0, 2.0, math.inf])),
    }
    removed = torch.tensor([True, True, True, False, False])
    found = cost_histogram(units, {"a": removed})
    assert total(found, "removed kept") == [2, 1]
    assert found.removed[0] == 2  # a cost of nothing has no logarithm
    assert total_cost(units["a"], removed, CostBasis.RAW) == 1.0


def test_equal_costs_have_a_range():
    found = cost_histogram({"a": removals([2.0, 2.0])}, {"a": torch.zeros(2).bool()})
    assert found.edges[0] < 2.0 < found.edges[-1]
    assert total(found, "removed kept") == [0, 2]


def test_without_any_cost_there_is_no_histogram():
    nothing = {"a": ElementCosts(torch.tensor([REMOVED, math.inf]))}
    assert cost_histogram(nothing, {"a": torch.zeros(2).bool()}) is None


@pytest.mark.parametrize("basis", CostBasis)
@pytest.mark.parametrize("more", [{}, BUNDLED])
def test_total_cost_does_not_depend_on_the_cost_basis(basis, more):
    each = {}
    for by in (basis, CostBasis.RAW):
        state = make_state("llama", sparsity=0.3, cost_basis=by, **more)
        unit = state.units[0]
        windows = state.windows.calibration
        factors = measure(state, windows, silent_context(), 1)
        before = state.removed[unit.measured.name]
        is_removable = unit.removals(
            factors[unit.measured.name], before, state.config.pruning
        )
        removed = torch.ones(unit.candidates).bool()
        each[by] = total_cost(is_removable, removed, by)
    assert each[basis] == pytest.approx(each[CostBasis.RAW])


@pytest.mark.slow
@pytest.mark.parametrize(
    "structure",
    [Structure.HEADS_AND_NEURONS, Structure.ELEMENTS],
)
def test_shot_reports_its_costs_and_the_remaining_widths(structure):
    state = make_state("llama", structure=structure, sparsity=0.4, shots=2)
    shots = [
        run_shot(state, ShotPlan(n, n / 2, None), silent_context()) for n in (1, 2)
    ]
    went = 0
    for shot in shots:
        new = sum(layer.removed for layer in shot.layers) - went
        went += new
        assert total(shot.costs, "removed_weights") == [new]
        assert shot.costs.edges[0] <= shot.threshold <= shot.costs.edges[-1]
    cost_before = [layer.cost for layer in shots[0].layers]
    cost_after = [layer.cost for layer in shots[1].layers]
    assert all(a <= b for a, b in zip(cost_before, cost_after, strict=True))
    assert 0 < sum(cost_before) < sum(cost_after)
    for layer, real in zip(shots[1].layers, state.loaded.layers, strict=True):
        W = real.weight()[:, : real.columns] != 0
        assert layer.rows_kept == int(W.any(dim=1).sum())
        assert layer.columns_kept == int(W.any(dim=0).sum())


@pytest.mark.slow
def test_cost_of_a_coupled_unit_is_that_of_its_consumer_with_its_groups():
    state = make_state("llama", structure=Structure.HEADS_AND_NEURONS, sparsity=0.4)
    shot = run_shot(state, ShotPlan(1, 1.0, None), silent_context())
    by_kind = {layer.kind: layer for layer in shot.layers if layer.block == 0}
    down, up = by_kind["mlp.down_proj"], by_kind["mlp.up_proj"]
    assert up.cost == 0
    assert down.groups == up.groups
    assert down.groups.kind == "neurons"
    assert down.groups.of == state.original.layers[-1].columns
    assert down.groups.kept == down.columns_kept == up.rows_kept < down.groups.of
