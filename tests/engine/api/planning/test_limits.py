"""Limits computed from the description of a model equal those of its units."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.pruning import (
    COUPLED,
    Coupling,
    Parameters,
    PruningConfig,
    Structure,
    Widths,
)
from surgeon_engine.api.errors import ConfigError, PruningError
from surgeon_engine.api.planning.limits import (
    check_target_in_limits,
    max_removable,
    min_removable,
)
from surgeon_engine.api.planning.target_size import goal_of, prunable_weights
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.source import ModelSource
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import FAMILIES, tiny_model
from tests.helpers.units import removable


def described(family: str, tmp_path):
    return describe(tiny_model(family), ModelSource(family, tmp_path))


SETTINGS = {
    "all": {},
    "protected": {"protect": ("block 0",)},
    "limited": {"min_density": 0.3, "layer_min_density": ("block 1=0.6",)},
    "bundled": {"width_multiple": 7},
}


@pytest.mark.parametrize("structure", Structure)
@pytest.mark.parametrize(
    ("family", "settings"),
    [(family, "all") for family in FAMILIES]
    + [
        (family, name)
        for family in ("opt", "llama")
        for name in SETTINGS
        if name != "all"
    ],
)
def test_max_removable_is_the_sum_over_all_units(family, structure, settings, tmp_path):
    model = described(family, tmp_path)
    if any(s.structure is structure and s.reason for s in model.structures):
        pytest.skip("the model cannot be pruned like that")
    pruning = pruning_config(structure=structure, **SETTINGS[settings])
    units = units_of(pruning, tiny_model(family))
    maximum = sum(removable(unit, pruning) for unit in units)
    assert max_removable(pruning, model) == maximum > 0
    check(maximum, pruning, model)
    if maximum < prunable_weights(pruning, model):
        with pytest.raises(
            (ConfigError, PruningError), match=f"{maximum + 1:,} weights"
        ):
            check(maximum + 1, pruning, model)


def check(weights: int, pruning: PruningConfig, model) -> None:
    """Check a target that removes this number of weights."""
    remaining = (model.parameters - weights) / 1_000_000
    config = replace(pruning, target=Parameters(remaining))
    goal = goal_of(config, model, FileDtype.FLOAT32)
    assert goal.removed == weights
    check_target_in_limits(goal, config, model)


@pytest.mark.parametrize("widths", Widths)
@pytest.mark.parametrize("structure", COUPLED)
def test_target_below_the_smallest_removal_raises(structure, widths, tmp_path):
    model = described("llama", tmp_path)
    pruning = pruning_config(structure=structure, widths=widths, width_multiple=10)
    units = units_of(pruning, tiny_model("llama"))
    weights_by_kind = {}
    for unit in units:  # the first bundle of 24 neurons has 4, the others 10
        bundle = 4 if unit.coupled.kind is Coupling.NEURONS else 1
        each = weights_by_kind.setdefault(unit.coupled.kind, [])
        each.append(bundle * unit.coupled.weights_per_group)
    is_same = widths is Widths.SAME
    minimum = min(sum(x) if is_same else min(x) for x in weights_by_kind.values())
    assert min_removable(pruning, model) == minimum
    check(minimum, pruning, model)
    with pytest.raises(
        PruningError, match=f"{minimum - 1:,} weights .* {minimum:,} go at"
    ):
        check(minimum - 1, pruning, model)


@pytest.mark.parametrize("widths", Widths)
def test_min_removable_ignores_protected_layers(widths, tmp_path):
    model = described("llama", tmp_path)
    pruning = pruning_config(widths=widths, layer_min_density=("mlp.down_proj=1",))
    heads = units_of(pruning_config(structure=Structure.HEADS), tiny_model("llama"))
    each = [unit.coupled.weights_per_group for unit in heads]
    minimum = sum(each) if widths is Widths.SAME else min(each)
    assert min_removable(pruning, model) == minimum
    check(minimum, pruning, model)
    with pytest.raises(PruningError, match=f"{minimum:,} go at least"):
        check(minimum - 1, pruning, model)


def test_equal_widths_follow_the_tightest_block(tmp_path):
    model = described("llama", tmp_path)
    settings = {"structure": Structure.NEURONS, "layer_min_density": ("block 0=0.5",)}
    free, same = (
        pruning_config(**settings),
        pruning_config(**settings, widths=Widths.SAME),
    )
    each = units_of(free, tiny_model("llama"))[0].coupled.weights_per_group
    assert max_removable(free, model) == (12 + 23) * each
    assert max_removable(same, model) == (12 + 12) * each


def test_description_without_coupled_layers_has_no_limits(tmp_path):
    model = msgspec.structs.replace(described("llama", tmp_path), coupled=())
    pruning = pruning_config(structure=Structure.HEADS)
    assert max_removable(pruning, model) == model.prunable
    assert min_removable(pruning, model) == 1
