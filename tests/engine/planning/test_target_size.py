"""Targets become exact goals in every unit, or raise."""

import itertools
from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.pruning import PruningConfig, Schedule, Structure, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.rounding import ceil_share, floor_share
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_engine.planning.target_size import (
    goal_of,
    number_format,
    planned_size,
    prunable_weights,
    share_of_goal,
    size_in_unit,
)
from tests.helpers.configs import AUTOMATIC, pruning_config, some_tokens

# Two layers of 10 x 9 weights with a bias, and 100 parameters that are not prunable.
LAYERS = tuple(
    LayerSummary(name, block=0, kind=name, rows=10, columns=9, weights=100)
    for name in ("up", "down")
)
MODEL = ModelSummary(
    name="model",
    source="model",
    architecture="ForCausalLM",
    parameters=300,
    prunable=200,
    blocks=1,
    hidden_size=9,
    vocabulary=10,
    longest_window=0,
    file_bytes=1200,
    layers=LAYERS,
    structures=(),
)


HEADER = 110 * (2 + 4)  # bytes: the layers, and a norm or so


def goal(dtype=FileDtype.FLOAT32, **pruning):
    return goal_of(pruning_config(**pruning), MODEL, FileForm(dtype=dtype))


def test_share_of_prunable_weights():
    reached = goal(sparsity=0.25)
    assert reached.removed == 50
    assert reached.prunable == 200
    assert reached.sparsity == 0.25
    assert reached.parameters == 250
    assert reached.weight_bytes == 1000 + HEADER


def test_share_of_all_parameters():
    assert goal(target=Target.PARAMETER_SHARE, sparsity=0.25).removed == 75


def test_number_of_remaining_parameters():
    reached = goal(target=Target.PARAMETERS, million_parameters=0.00024)
    assert reached.parameters == 240


@pytest.mark.parametrize(
    ("dtype", "parameters"), [(FileDtype.FLOAT32, 120), (FileDtype.BFLOAT16, 240)]
)
def test_file_size_counts_bytes_of_the_number_format(dtype, parameters):
    reached = goal(dtype, target=Target.FILE_SIZE, megabytes=(480 + HEADER) / 1e6)
    assert reached.parameters == parameters
    assert reached.weight_bytes == 480 + HEADER


def test_memory_counts_weights_and_context():
    model = msgspec.structs.replace(MODEL, cache_width=6)
    context = 20
    beside = memory_beside_weights(context, model)
    pruning = pruning_config(
        target=Target.MEMORY,
        memory_gigabytes=(480 + HEADER + beside) / 1e9,
        context=context,
    )
    reached = goal_of(pruning, model, FileForm(dtype=FileDtype.BFLOAT16))
    assert reached.weight_bytes == 480 + HEADER


def test_memory_counts_no_longer_context_than_the_model_supports():
    model = msgspec.structs.replace(MODEL, cache_width=6, longest_window=512)
    beside, form = memory_beside_weights(512, model), FileForm(dtype=FileDtype.BFLOAT16)
    target = {
        "target": Target.MEMORY,
        "memory_gigabytes": (480 + HEADER + beside) / 1e9,
    }
    longer = pruning_config(**target, context=4096)
    reached = goal_of(longer, model, form)
    assert reached == goal_of(replace(longer, context=512), model, form)
    assert reached.weight_bytes == 480 + HEADER
    assert "512 tokens" in size_in_unit(planned_file(model, form, longer), 0)


def test_share_is_rounded_down_to_whole_weights():
    assert goal(sparsity=0.333).removed == 66


def test_biases_and_incomplete_groups_are_not_prunable():
    counts = {
        structure: prunable_weights(pruning_config(structure), MODEL)
        for structure in (Structure.ROWS, Structure.ELEMENTS, Structure.N_M)
    }
    assert counts == {
        Structure.ROWS: 200,
        Structure.ELEMENTS: 180,
        Structure.N_M: 160,
    }


def test_pattern_limits_the_removed_weights():
    assert goal(structure=Structure.N_M, sparsity=0.5).removed == 80
    # 66.7 % of 1:3 is a little more than two of three.
    assert goal(structure=Structure.N_M, pattern="1:3", sparsity=0.667).removed == 120
    with pytest.raises(ConfigError, match="but only 80 can be removed"):
        goal(structure=Structure.N_M, target=Target.PARAMETER_SHARE, sparsity=0.3)


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        ({"target": Target.PARAMETERS}, "keeps all 300 parameters"),
        ({"target": Target.FILE_SIZE}, "unpruned model takes 0.1 MB: no more than"),
        ({"sparsity": 0.004}, "keeps all 300 parameters"),
        (
            {"target": Target.PARAMETERS, "million_parameters": 0.00005},
            "The target removes 250 weights, but only 200 can be removed",
        ),
        (
            {"target": Target.FILE_SIZE, "megabytes": 0.000001},
            "takes 0.1 MB even without all the 200 weights that can be removed",
        ),
        (
            {"target": Target.PARAMETER_SHARE, "sparsity": 0.9},
            "The target removes 270 weights",
        ),
    ],
)
def test_unreachable_target_raises_with_the_numbers(pruning, words):
    with pytest.raises(ConfigError, match=words) as refused:
        goal(**pruning)
    assert refused.value.hint


def test_fewer_bits_are_advised_only_if_there_are_some():
    pruning = {"target": Target.FILE_SIZE, "megabytes": 0.000001}
    for dtype, advises in ((FileDtype.FLOAT32, True), (FileDtype.FLOAT16, False)):
        with pytest.raises(ConfigError) as refused:
            goal(dtype, **pruning)
        assert ("fewer bits" in refused.value.hint) == advises


def test_groups_wider_than_every_layer_raise():
    pruning = {"structure": Structure.N_M, "pattern": "31:32", "sparsity": 0.01}
    with pytest.raises(ConfigError, match="No layer of the model has 32") as refused:
        goal(**pruning)
    assert refused.value.hint == "Choose shorter groups."


@pytest.mark.parametrize(
    ("wanted", "pruned", "stored", "expected"),
    [
        (FileDtype.SAME, "float32", "bfloat16", FileDtype.BFLOAT16),
        (FileDtype.SAME, "bfloat16", "float32", FileDtype.BFLOAT16),
        (FileDtype.SAME, "bfloat16", "float16", FileDtype.BFLOAT16),
        (FileDtype.FLOAT16, "float32", "", FileDtype.FLOAT16),
        (FileDtype.SAME, "bfloat16", "", FileDtype.BFLOAT16),
        (FileDtype.Q8_0, "float32", "float32", FileDtype.Q8_0),
        (FileDtype.FLOAT32, "float16", "float16", FileDtype.FLOAT32),
    ],
)
def test_shorter_number_format_is_the_default(wanted, pruned, stored, expected):
    assert number_format(wanted, pruned, stored) is expected


HUNDREDTHS = range(101)
THINGS = [1, 30, 200, 101, 100_000, 640 * 768, 14336 * 4096 * 10, 8_030_261_248]


@pytest.mark.parametrize("things", THINGS)
def test_shares_are_floor_and_ceil(things):
    for n in HUNDREDTHS:
        exact = Fraction(n, 100) * things
        assert floor_share(things, n / 100) == exact.__floor__()
        assert ceil_share(things, n / 100) == exact.__ceil__()


def test_shares_above_one_are_exact():
    assert floor_share(1_000_000, 66246.9 / 4) == 16_561_725_000
    assert ceil_share(1_000_000, 66246.9 / 4) == 16_561_725_000


# 1,000 tokens of 9 parameters, beside 300 others.
WORDS = msgspec.structs.replace(
    MODEL, vocabulary=1_000, parameters=9_300, token_parameters=9
)
SHARE = Target.PARAMETER_SHARE


def goal_with(vocabulary, tokens=None, **pruning):
    config = pruning_config(**pruning, **vocabulary)
    return goal_of(config, WORDS, FileForm(), tokens)


def test_tokens_count_toward_the_target():
    reached = goal_with(some_tokens(990), target=SHARE, sparsity=0.02)
    assert (reached.of_tokens, reached.removed) == (90, 96)
    assert reached.parameters == 9_300 - 186
    assert reached.weight_bytes == 4 * reached.parameters + HEADER
    assert goal_with(some_tokens(990), sparsity=0.0).parameters == 9_210


def test_target_beyond_the_blocks_is_reached_with_tokens():
    with pytest.raises(ConfigError, match="only 200 can be"):
        goal_of(pruning_config(target=SHARE, sparsity=0.5), WORDS, FileForm())
    assert goal_with(some_tokens(500), target=SHARE, sparsity=0.5).removed == 150
    # The run chooses the tokens before it knows the goal of the blocks.
    assert goal_with(AUTOMATIC, target=SHARE, sparsity=0.5).removed == 4_650
    assert goal_with(AUTOMATIC, tokens=500, target=SHARE, sparsity=0.5).removed == 150
    assert goal_with(AUTOMATIC, tokens=400, target=SHARE, sparsity=0.5).removed == 0
    with pytest.raises(ConfigError, match="can be removed"):
        goal_with(AUTOMATIC, target=SHARE, sparsity=0.9)


@pytest.mark.parametrize(
    "target",
    [
        {"sparsity": 0.3},
        {"target": Target.PARAMETERS, "million_parameters": 0.009},
        {"target": Target.FILE_SIZE, "megabytes": 0.036},
    ],
)
def test_tokens_that_reach_a_target_alone_are_too_many(target):
    with pytest.raises(ConfigError, match="100 tokens have 900 parameters"):
        goal_with(some_tokens(900), **target)


def test_files_of_a_plan_have_the_tokens_that_stay():
    whole = PruningConfig(sparsity=0.0)
    sizes = {
        tokens: planned_size(
            RunConfig(pruning=replace(whole, **some_tokens(tokens))),
            WORDS,
        ).export_bytes
        for tokens in (1_000, 600)
    }
    assert sizes[1_000] - sizes[600] == 2 * 400 * 9


@pytest.mark.parametrize("schedule", Schedule)
def test_schedule_starts_at_0_and_ends_at_1(schedule):
    assert share_of_goal(0.0, schedule) == 0
    assert share_of_goal(1.0, schedule) == 1  # exactly: the goal is a whole number


@pytest.mark.parametrize("schedule", Schedule)
def test_every_step_removes_something(schedule):
    shares = [share_of_goal(i / 24, schedule) for i in range(25)]
    assert all(later > earlier for earlier, later in itertools.pairwise(shares))


def test_linear_steps_are_equal():
    assert share_of_goal(0.25, Schedule.LINEAR) == 0.25


def test_cubic_steps_leave_the_cube_of_the_rest():
    assert share_of_goal(0.5, Schedule.CUBIC) == 1 - 0.5**3
    assert share_of_goal(0.2, Schedule.CUBIC) == pytest.approx(1 - 0.8**3)
