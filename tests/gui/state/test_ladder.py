"""Which memory a file fits, and which file is the best for a memory."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.base import formatting
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_gui.state import ladder
from surgeon_gui.state.ladder import Rung
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.state.runs.text import NOTHING
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_runs import write_three

GB = 10**9
SPACE = "\N{NO-BREAK SPACE}"


@pytest.fixture
def runs(tmp_path):
    return [(x.name, read_state(x)) for x in write_three(tmp_path)]


def rung(memory, nats, longest=0):
    return Rung(10, round(memory * GB), nats, longest)


def test_rung_of_a_file_has_its_memory_and_its_kl(runs):
    _, run = runs[0]
    small = msgspec.structs.replace(run.exported, weight_bytes=2_000_000)
    found = ladder.file_of(replace(run, exported=small), 512)
    assert found.memory == 2_000_000 + memory_beside_weights(512, run.model)
    assert found.nats == run.evaluation.fidelity[0].divergence.value
    assert ladder.original(run.model, 512).nats == 0
    assert ladder.file_of(replace(run, exported=None), 512) is None


def test_kl_is_that_of_the_file_and_not_of_the_model_in_memory(runs):
    _, run = runs[0]
    first = run.evaluation.fidelity[0]
    nats = first.divergence.value
    saving = msgspec.structs.replace(run.exported, saving_divergence=0.5)
    assert ladder.file_of(replace(run, exported=saving), 512).nats == nats + 0.5
    coarse = msgspec.structs.replace(first, divergence=Estimate(0.7, 0.6, 0.8))
    own = msgspec.structs.replace(saving, fidelity=(coarse,))
    assert ladder.file_of(replace(run, exported=own), 512).nats == 0.7


def best(*found):
    memories = ladder.best_memories(found)
    return [
        ladder.memories(memories.get(number, ())).replace(SPACE, " ")
        for number in range(len(found))
    ]


def test_best_file_is_the_closest_of_those_that_fit():
    found = (rung(0.9, 0.5), rung(1.9, 0.2), rung(3.5, 0.3), rung(7, 0.0))
    assert best(*found) == ["1 GB", "2 GB to 6 GB", NOTHING, "8 GB and more"]


def test_file_without_fidelity_or_memory_is_never_the_best():
    assert best(rung(0.9, float("nan")), rung(1.9, 0.2)) == [NOTHING, "2 GB and more"]
    assert best(rung(0, 0.1), rung(1.9, 0.2)) == [NOTHING, "2 GB and more"]


def fits(found, context=4096):
    return ladder.fits_with(found, context).replace(SPACE, " ")


def test_file_too_large_for_all_memories_and_context_too_long_are_said():
    assert fits(rung(1000, 0.1)) == "more than 512 GB"
    assert fits(rung(1, 0.1, 2048)) == "1 GB, but the model supports 2,048 tokens"


def test_memories_are_in_the_unit_of_the_window():
    formatting.use_binary_sizes(True)
    try:
        assert fits(rung(2**30 / GB, 0.1)) == "1 GiB"
    finally:
        formatting.use_binary_sizes(False)


def test_default_context_is_that_of_a_target_or_one_that_all_support(runs):
    states = [run for _, run in runs]
    assert ladder.default_context(states) == 512
    config = RunConfig(
        pruning=PruningConfig(target=Target.MEMORY, memory_gigabytes=1.0, context=3000)
    )
    asked = replace(states[0], config=config)
    assert ladder.default_context([asked, *states]) == 3000
    assert ladder.default_context([]) == 4096


def test_memory_by_context_is_rounded_up(runs):
    _, run = runs[0]
    beside = memory_beside_weights(512, run.model)
    exported = msgspec.structs.replace(run.exported, weight_bytes=7_010_000 - beside)
    model = msgspec.structs.replace(run.model, file_bytes=9_020_000 - beside)
    _, row = ladder.context_rows(replace(run, exported=exported, model=model))
    assert [text.replace(SPACE, " ") for text in row[1::2]] == ["7.1 MB", "9.1 MB"]


def test_rows_by_context_are_powers_of_two_that_the_model_supports(runs):
    _, run = runs[0]
    assert [row[0] for row in ladder.context_rows(run)[1:]] == ["512 tokens"]
    long = msgspec.structs.replace(model_summary(), longest_window=5000)
    _, *rows = ladder.context_rows(replace(run, model=long))
    assert [row[0] for row in rows] == ["2,048 tokens", "4,096 tokens"]
    assert ladder.context_rows(replace(run, exported=None)) == ()
