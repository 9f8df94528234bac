"""Targets in other units, protected layers, and the implied changes of edits."""

from dataclasses import asdict, replace

import pytest

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import (
    COUPLED,
    SPARSE,
    Method,
    PruningConfig,
    Structure,
    Target,
    Vocabulary,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.state.job import targets
from surgeon_gui.state.job.protections import protected_layers, with_protection
from tests.helpers.configs import pruning_config, some_tokens
from tests.helpers.fake_results import model_summary

FORM = FileForm()
MODEL = model_summary()


def edited(pruning, **changes):
    before = asdict(pruning)
    after = {**before, **changes}
    return {**after, **targets.implied_changes(before, after)}


def test_target_before_a_pattern_is_restored_unless_it_was_changed():
    earlier = asdict(pruning_config(target=Target.FILE_SIZE, megabytes=5.0))
    pattern = edited(pruning_config(sparsity=0.2), structure=Structure.N_M)
    restored = targets.target_without_pattern
    assert restored(pattern, earlier, Structure.HEADS)["target"] is Target.FILE_SIZE
    assert restored(pattern, earlier, Structure.ELEMENTS) == {}  # it has no such unit
    for change in ({"sparsity": 0.4}, {"target": Target.PARAMETERS}):
        assert restored({**pattern, **change}, earlier, Structure.HEADS) == {}
    others = {**pattern, "megabytes": 400.0}
    assert restored(others, earlier, Structure.HEADS)["megabytes"] == 5.0


def converted(pruning, target, form=FORM, model=MODEL):
    values = asdict(pruning)
    return {**values, **targets.converted(values, target, model, form)}


@pytest.mark.parametrize("structure", [*COUPLED, *SPARSE])
@pytest.mark.parametrize("form", [FileForm(), FileForm(dtype=FileDtype.BFLOAT16)])
def test_converted_keeps_the_exact_number_of_weights(structure, form):
    # Others are not valid together.
    units = [x for x in Target if structure in COUPLED or x not in targets.IN_BYTES]
    for sparsity in (0.01, 0.1237, 1 / 3, 0.4999):
        share = pruning_config(structure, sparsity=sparsity)
        removed = goal_of(share, MODEL, form).removed
        for first in units:
            given = pruning_config(**converted(share, first, form))
            assert goal_of(given, MODEL, form).removed == removed, first
            for second in units:
                again = pruning_config(**converted(given, second, form))
                assert goal_of(again, MODEL, form).removed == removed, (first, second)


def test_converted_clips_an_unreachable_size_to_the_maximum_share():
    tiny = pruning_config(target=Target.PARAMETERS, million_parameters=0.4)
    assert converted(tiny, Target.PRUNABLE_SHARE)["sparsity"] == 0.95


@pytest.mark.parametrize("model", [None, MODEL])
def test_converted_without_a_reachable_size_changes_only_the_unit(model):
    unreachable = pruning_config(target=Target.PARAMETERS)  # 100 M of 2.8 M
    values = converted(unreachable, Target.PRUNABLE_SHARE, model=model)
    assert values == {**asdict(unreachable), "target": Target.PRUNABLE_SHARE}


def test_other_edits_imply_no_changes():
    values = edited(PruningConfig(), shots=9)
    assert values == {**asdict(PruningConfig()), "shots": 9}


@pytest.mark.parametrize("method", [Method.SPARSEGPT, Method.WANDA])
def test_unsupported_method_is_replaced_when_the_structure_changes(method):
    sparse = pruning_config(Structure.ELEMENTS, method=method)
    assert edited(sparse, structure=Structure.N_M)["method"] is method
    values = edited(sparse, structure=Structure.NEURONS)
    assert pruning_config(**values).method is Method.FIRST_ORDER


def test_incompatible_choices_are_disabled_with_a_reason():
    of_experts = {Method.REAP, Method.ROUTING_FREQUENCY}
    assert set(targets.disabled_methods(Structure.ROWS)) == {
        Method.SPARSEGPT,
        Method.WANDA,
        *of_experts,
    }
    reasons = targets.disabled_methods(Structure.ELEMENTS)
    assert set(reasons) == of_experts
    assert reasons[Method.REAP] == "REAP does not remove single weights."
    gates = {Method.FIRST_ORDER}
    assert (
        set(targets.disabled_methods(Structure.EXPERTS))
        == {*Method} - of_experts - gates
    )
    automatic, masked = Format.AUTOMATIC, Format.MASKED
    in_bytes = {Target.FILE_SIZE, Target.MEMORY}
    assert set(targets.disabled_targets(Structure.N_M, automatic)) == in_bytes
    assert set(targets.disabled_targets(Structure.HEADS, masked)) == in_bytes
    assert targets.disabled_targets(Structure.HEADS, automatic) == {}


def test_goal_or_none_of_an_unreachable_target_is_none():
    assert targets.goal_or_none(RunConfig(), MODEL).removed == 729_907
    unreachable = RunConfig(pruning=pruning_config(target=Target.PARAMETERS))
    assert targets.goal_or_none(unreachable, MODEL) is None


@pytest.mark.parametrize(
    ("target", "name", "before", "after"),
    [
        (Target.PRUNABLE_SHARE, "sparsity", 0.3, 0.4),
        (Target.PARAMETER_SHARE, "sparsity", 0.25, 0.35),
        (Target.PRUNABLE_SHARE, "sparsity", 0.9, 0.95),
        (Target.PARAMETERS, "million_parameters", 2.0, 1.8),
        (Target.PARAMETERS, "million_parameters", 1234.5, 1110.0),
        (Target.FILE_SIZE, "megabytes", 8.4, 7.56),
    ],
)
def test_smaller_target_leaves_a_smaller_model(target, name, before, after):
    pruning = PruningConfig(target=target, **{name: before})
    found = targets.with_step(RunConfig(pruning=pruning), is_smaller=True)
    assert found == RunConfig(pruning=replace(pruning, **{name: after}))


@pytest.mark.parametrize(
    ("target", "name", "before", "after"),
    [
        (Target.PRUNABLE_SHARE, "sparsity", 0.3, 0.2),
        (Target.PRUNABLE_SHARE, "sparsity", 0.1, 0.1),  # there is none
        (Target.FILE_SIZE, "megabytes", 8.4, 9.24),
    ],
)
def test_gentler_target_leaves_a_larger_model(target, name, before, after):
    pruning = PruningConfig(target=target, **{name: before})
    config = RunConfig(pruning=pruning)
    found = targets.with_step(config, is_smaller=False)
    assert found.pruning == replace(pruning, **{name: after})
    obstacle = targets.step_obstacle(config, is_smaller=False)
    assert bool(obstacle) == (before == after)


def test_pattern_at_its_limit_has_no_smaller_target():
    pruning = pruning_config(structure=Structure.N_M, kept=2, of=4, sparsity=0.5)
    config = RunConfig(pruning=pruning)
    assert targets.with_step(config, is_smaller=True) == config
    assert targets.step_obstacle(config, is_smaller=True)


LAYERS = model_summary().layers
FIRST = "model.layers.0.mlp.down_proj"
CHOSEN = ["block 0", "block 5", "mlp.down_proj", FIRST]
PATTERNS = [(), ("block *",), ("*.down_proj", "block 1"), ("mlp.*",), (FIRST,)]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("pattern", CHOSEN)
def test_with_protection_changes_exactly_the_chosen_layers(patterns, pattern):
    before, chosen = (
        protected_layers(patterns, LAYERS),
        protected_layers([pattern], LAYERS),
    )
    on = with_protection(patterns, pattern, LAYERS, is_protected=True)
    assert protected_layers(on, LAYERS) == before | chosen
    off = with_protection(patterns, pattern, LAYERS, is_protected=False)
    assert protected_layers(off, LAYERS) == before - chosen


def test_with_protection_merges_patterns_and_keeps_wider_ones():
    on = with_protection((FIRST,), "block 0", LAYERS, is_protected=True)
    assert on == ("block 0",)
    assert with_protection(("block *",), FIRST, LAYERS, is_protected=True) == (
        "block *",
    )
    kept = with_protection(
        ("*.up_proj", "block 3"), "block 3", LAYERS, is_protected=False
    )
    assert "block 3" not in kept
    all_but_one = with_protection(("*",), "mlp.down_proj", LAYERS, is_protected=False)
    assert len(all_but_one) == 6  # the other kinds


@pytest.mark.parametrize("unit", Target)
def test_tokens_count_toward_a_target_in_every_unit(unit):
    pruning = PruningConfig(**some_tokens(1_500))
    goal = goal_of(pruning, MODEL, FORM)
    values = converted(pruning, unit)
    found = goal_of(PruningConfig(**values), MODEL, FORM)
    assert (found.removed, found.of_tokens) == (goal.removed, goal.of_tokens)


def test_point_on_the_curve_is_what_the_blocks_lose():
    config = RunConfig(pruning=PruningConfig(**some_tokens(1_500)))
    share = targets.share_with_tokens(config, MODEL, 0.2)
    moved = replace(config.pruning, sparsity=share)
    goal = targets.goal_or_none(replace(config, pruning=moved), MODEL)
    assert goal.sparsity == pytest.approx(0.2, abs=1e-6)
    assert targets.share_with_tokens(RunConfig(), MODEL, 0.2) == 0.2


def test_whole_model_is_too_large_only_for_larger_targets():
    chosen = PruningConfig(vocabulary=Vocabulary.AUTOMATIC)
    whole = 4 * MODEL.parameters / 1e6
    for share, expected in ((0.99, False), (1.01, True)):
        target = replace(chosen, target=Target.FILE_SIZE, megabytes=share * whole)
        assert targets.is_too_large(RunConfig(pruning=target), MODEL) is expected
