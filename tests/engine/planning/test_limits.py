"""Maximum and minimum of removable weights are exact for a model summary."""

import functools
import re
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.pruning import (
    Coupling,
    PruningConfig,
    Structure,
    Target,
    Widths,
)
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.model.inspect import describe
from surgeon_engine.planning.limits import max_removable, min_removable
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.rounding import floor_share
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of, prunable_weights
from surgeon_engine.pruning.structures.experts_neurons import experts_in_step
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.shots.selection import cheapest_of
from tests.helpers.configs import DENSE, DENSE_COUPLED, pruning_config
from tests.helpers.mixtures import mixture_summary
from tests.helpers.pairs import pairs
from tests.helpers.pruned_models import NOWHERE
from tests.helpers.tiny_models import FAMILIES, MIXTURES, tiny_model
from tests.helpers.units import no_removals, random_measurement, removable


@functools.cache
def model_of(family: str):
    """Return a model that no test changes."""
    return tiny_model(family)


@functools.cache
def described(family: str):
    return describe(model_of(family), NOWHERE)


SETTINGS = {
    "all": {},
    "protected": {"protect": ("block 0",)},
    "limited": {"min_density": 0.3, "layer_min_density": ("block 1=0.6",)},
    "bundled": {"width_multiple": 7},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure", "settings"),
    [(family, structure, "all") for family, structure in pairs(FAMILIES, DENSE)]
    + [(family, structure, "all") for family in MIXTURES for structure in Structure]
    + [
        ("opt", structure, name)
        for structure in DENSE
        for name in SETTINGS
        if name != "all"
    ],
)
def test_max_removable_equals_the_sum_of_units(family, structure, settings):
    model = described(family)
    if any(s.structure is structure and s.reason for s in model.structures):
        pytest.skip("the model cannot be pruned like that")
    pruning = pruning_config(structure=structure, **SETTINGS[settings])
    units = units_of(pruning, model_of(family))
    most = sum(removable(unit, pruning) for unit in units)
    assert max_removable(pruning, model) == most > 0
    check(most, pruning, model)
    if most < prunable_weights(pruning, model):
        with pytest.raises((ConfigError, PruningError), match=f"{most + 1:,} weights"):
            check(most + 1, pruning, model)


def check(weights: int, pruning: PruningConfig, model) -> None:
    """Check a goal of so many removed weights."""
    stay = (model.parameters - weights) / 1_000_000
    wanted = replace(pruning, target=Target.PARAMETERS, million_parameters=stay)
    goal = goal_of(wanted, model, FileForm())
    assert goal.removed == weights
    check_target_in_limits(goal, wanted, model)


@pytest.mark.parametrize("widths", Widths)
@pytest.mark.parametrize("structure", DENSE_COUPLED)
def test_goal_below_the_minimum_raises(structure, widths):
    model = described("llama")
    pruning = pruning_config(structure=structure, widths=widths, width_multiple=10)
    units = units_of(pruning, model_of("llama"))
    of_kind = {}
    for unit in units:  # removals from 24 neurons: first 4, then 10 at a time
        bundle = 4 if unit.coupled.kind is Coupling.NEURONS else 1
        each = of_kind.setdefault(unit.coupled.kind, [])
        each.append(bundle * unit.coupled.weights_per_group)
    is_same = widths is Widths.SAME
    least = min(sum(x) if is_same else min(x) for x in of_kind.values())
    assert min_removable(pruning, model) == least
    check(least, pruning, model)
    with pytest.raises(
        PruningError, match=f"{least - 1:,} weights .* at least {least:,} "
    ):
        check(least - 1, pruning, model)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
@pytest.mark.parametrize("structure", [Structure.HEADS, Structure.NEURONS])
def test_shares_of_the_error_can_be_typed(family, structure):
    model = described(family)
    pruning = pruning_config(structure=structure)
    p, least = model.prunable, min_removable(pruning, model)
    most = max_removable(pruning, model)
    for wrong, words in ((least - 1, "at least"), (most + 1, "at most")):
        with pytest.raises(PruningError, match=words) as refused:
            check(wrong, pruning, model)
        share = re.search(rf"{words} [\d,]+ \(([\d.]+) %", refused.value.message)[1]
        removed = floor_share(p, float(share) / 100)
        assert least <= removed <= most


@pytest.mark.parametrize("widths", Widths)
def test_fully_limited_layers_do_not_set_the_minimum(widths):
    model = described("llama")
    pruning = pruning_config(widths=widths, layer_min_density=("mlp.down_proj=1",))
    heads = units_of(pruning_config(structure=Structure.HEADS), model_of("llama"))
    each = [unit.coupled.weights_per_group for unit in heads]
    least = sum(each) if widths is Widths.SAME else min(each)
    assert min_removable(pruning, model) == least
    check(least, pruning, model)
    with pytest.raises(PruningError, match=f"at least {least:,} "):
        check(least - 1, pruning, model)


def test_equal_widths_lose_what_the_tightest_block_allows():
    model = described("llama")
    settings = {"structure": Structure.NEURONS, "layer_min_density": ("block 0=0.5",)}
    free, same = (
        pruning_config(**settings),
        pruning_config(**settings, widths=Widths.SAME),
    )
    each = units_of(free, model_of("llama"))[0].coupled.weights_per_group
    assert max_removable(free, model) == (12 + 23) * each
    assert max_removable(same, model) == (12 + 12) * each


@pytest.mark.parametrize("widths", Widths)
def test_experts_of_a_minimum_density_lose_what_the_plan_allows(widths):
    densities = {"min_density": 0.3, "layer_min_density": ("block 0=0.6",)}
    structure = Structure.EXPERTS_AND_NEURONS
    pruning = pruning_config(structure, widths=widths, **densities)
    most = max_removable(pruning, described("qwen3_moe"))
    units = units_of(pruning, model_of("qwen3_moe"))
    least = []
    for seed in range(20):
        costs = {
            unit.measured.name: unit.removals(
                random_measurement(unit, seed), no_removals(unit), pruning
            )
            for unit in units
        }
        if widths is Widths.SAME:
            costs |= experts_in_step(costs, pruning.cost_basis)
        found = cheapest_of(units, costs, pruning, most, reaches=False)
        assert found.weights <= most
        least.append(sum(int(each.weights.sum()) for each in costs.values()))
    step = 8 * 48 * 8  # one step of neurons in all experts
    assert most <= min(least) < most + step


def test_size_beyond_which_the_smallest_removal_goes_raises():
    model = described("llama")
    pruning = pruning_config(structure=Structure.HEADS, target=Target.FILE_SIZE)
    whole = planned_file(model, FileForm(), pruning).bytes(0)
    wanted = replace(pruning, megabytes=(whole - 4) / 1e6)
    goal, least = goal_of(wanted, model, FileForm()), min_removable(wanted, model)
    assert 0 < goal.removed < least
    with pytest.raises(PruningError, match=f"at least {least:,} weights"):
        check_target_in_limits(goal, wanted, model)


def test_models_without_coupled_layers_have_no_limits_of_heads():
    model = msgspec.structs.replace(described("llama"), coupled=())
    pruning = pruning_config(structure=Structure.HEADS)
    assert max_removable(pruning, model) == model.prunable
    assert min_removable(pruning, model) == 1


def test_target_that_only_experts_reach_names_their_structure():
    model = mixture_summary()
    for structure, is_named in ((Structure.HEADS, True), (Structure.EXPERTS, False)):
        pruning = pruning_config(structure, sparsity=0.94)
        goal = goal_of(pruning, model, FileForm())
        with pytest.raises(PruningError) as error:
            check_target_in_limits(goal, pruning, model)
        assert ("choose experts_and_neurons" in error.value.hint) is is_named
