"""The memory in which a model runs, against counts by hand and real caches."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import PruningConfig, Structure, Target
from surgeon_engine.api.messages.run import GroupsLeft, LayerSparsity
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.running_memory import (
    memory_beside_weights,
    memory_of_export,
    planned_context,
    smallest_memory,
    usable_context,
)
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of, memory_of_goal
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import BLOCKS, exported

# Each of its blocks has 3 key-value heads of 32 numbers, each for 2 query heads.
MODEL = msgspec.structs.replace(model_summary(), longest_window=1024)
HEADS, HEAD = 3, 32
HIDDEN, MLP = 192, 512
CONTEXT = 1000
CELLS = 1024  # the context in whole blocks of 256 tokens
CACHE = CELLS * BLOCKS * HEADS * HEAD * 2 * 2  # keys and values of 16 bits
BUFFERS = 512 * (4 * (4 * MLP + 3 * HIDDEN) + 2 * CELLS)


def test_memory_is_that_of_weights_cache_and_buffers():
    assert memory_beside_weights(CONTEXT, MODEL) == CACHE + BUFFERS
    unknown = tuple(msgspec.structs.replace(x, coupling="") for x in MODEL.layers)
    no_family = msgspec.structs.replace(MODEL, layers=unknown, coupled=())
    assert memory_beside_weights(CONTEXT, no_family) == CACHE + BUFFERS


def test_blocks_with_a_sliding_window_keep_the_window_and_a_batch():
    sliding = msgspec.structs.replace(MODEL, window_blocks=(0, 2), attention_window=100)
    cells = 768  # 100 + 512 in whole blocks of 256
    less = (CELLS - cells) * 2 * HEADS * HEAD * 2 * 2
    mask = 512 * cells * 2  # a second one
    expected = CACHE + BUFFERS - less + mask
    assert memory_beside_weights(CONTEXT, sliding) == expected


def layer_left(block, kept):
    groups = GroupsLeft("heads", kept, HEADS)
    return LayerSparsity("o_proj", block, "o_proj", 100, 0, groups=groups)


def test_exported_model_has_the_cache_of_its_remaining_heads():
    layers = [layer_left(0, 1), layer_left(1, 3)]  # other blocks: unknown
    result = exported("there", PruningConfig())
    whole = result.weight_bytes + memory_beside_weights(CONTEXT, MODEL)
    less = CELLS * 2 * HEAD * 2 * 2
    assert memory_of_export(result, layers, CONTEXT, MODEL) == whole - less
    masked = msgspec.structs.replace(result, format=Format.MASKED)
    assert memory_of_export(masked, layers, CONTEXT, MODEL) == whole


def test_removed_heads_make_the_planned_context_smaller():
    of_head = 6 * HIDDEN * HEAD  # weights; 2 query heads share it
    heads = planned_context(CONTEXT, MODEL, Structure.HEADS)
    assert heads.beside(0) == heads.beside(of_head - 1) == CACHE + BUFFERS
    assert heads.beside(2 * of_head) == CACHE + BUFFERS - 2 * CELLS * HEAD * 2 * 2
    assert heads.beside(MODEL.prunable) == BUFFERS
    both = planned_context(CONTEXT, MODEL, Structure.HEADS_AND_NEURONS)
    assert both.beside(MODEL.prunable) == CACHE + BUFFERS


@pytest.mark.parametrize("kind", [Structure.HEADS, Structure.NEURONS])
def test_target_is_the_largest_model_that_runs_in_the_memory(kind):
    file = planned_file(MODEL, FileForm(), pruning_config(structure=kind))
    header = file.bytes(0) - 4 * MODEL.parameters
    whole = file.bytes(0) + memory_beside_weights(CONTEXT, MODEL)
    memory = whole - 800_000  # bytes
    pruning = pruning_config(
        structure=kind, target="memory", memory_gigabytes=memory / 1e9, context=CONTEXT
    )
    goal = goal_of(pruning, MODEL, FileForm())
    assert memory_of_goal(goal, CONTEXT, MODEL, kind) <= memory
    assert goal.weight_bytes == 4 * goal.parameters + header
    of_cache = whole - memory - 4 * goal.removed  # freed by heads
    assert (of_cache > 0) is (kind is Structure.HEADS)
    if kind is Structure.NEURONS:
        assert goal.removed == 200_000


@pytest.mark.parametrize(
    ("gigabytes", "words"),
    [
        (0.5, "In float32, the unpruned model takes 20.2 MB with a context of 1,000"),
        (0.0095, "takes 11.3 MB with a context of 1,000 tokens even without all the"),
        (0.008, "A context of 1,000 tokens takes 8.8 MB: no less than the target"),
    ],
)
def test_memory_out_of_reach_raises_with_both_sizes(gigabytes, words):
    pruning = PruningConfig(
        target=Target.MEMORY, memory_gigabytes=gigabytes, context=CONTEXT
    )
    with pytest.raises(ConfigError, match=words):
        goal_of(pruning, MODEL, FileForm())


def test_target_below_what_is_possible_names_the_smallest_size():
    pruning = pruning_config(
        structure="neurons", target="memory", memory_gigabytes=0.0125, context=CONTEXT
    )
    goal = goal_of(pruning, MODEL, FileForm())
    with pytest.raises(PruningError, match="at most") as raised:
        check_target_in_limits(goal, pruning, MODEL)
    words = "The smallest possible size is 13.1 MB with a context of 1,000 tokens: at"
    assert words in raised.value.message
    assert "larger size" in raised.value.hint
    named = replace(
        pruning, target=Target.MEMORY, memory_gigabytes=0.0131, context=CONTEXT
    )
    check_target_in_limits(goal_of(named, MODEL, FileForm()), named, MODEL)


def test_smallest_memory_holds_the_model():
    assert smallest_memory(250_000_000) == 0.25
    assert smallest_memory(250_000_001) == 0.5
    assert smallest_memory(9 * 10**9) == 12
    assert smallest_memory(9 * 2**30, gigabyte=2**30) == 12
    assert smallest_memory(10**12) is None


def test_usable_context_is_at_most_the_longest_window():
    assert usable_context(4096, MODEL) == MODEL.longest_window == 1024
    unknown = msgspec.structs.replace(MODEL, longest_window=0)
    assert usable_context(4096, unknown) == 4096
