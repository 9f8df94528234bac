"""The ladder lists files by size, and which of them is best for which memory."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.pruning import Memory, PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.running_memory import memory_to_run
from surgeon_gui.base import units
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


def rung(memory, nats, saving=None, longest=0):
    return Rung(f"{memory}", 10, round(memory * GB), nats, f"{nats}", saving, longest)


def cells(found, context=4096):
    _, *rows = ladder.table(found, context)
    return [[cell.replace(SPACE, " ") for cell in row] for row in rows]


def test_rungs_are_the_files_and_one_original_by_memory(runs):
    _, run = runs[0]
    small = msgspec.structs.replace(run.exported, weight_bytes=2_000_000)
    found = ladder.rungs([*runs, ("small", replace(run, exported=small))], 512)
    assert found[0].name == "small"
    assert found[-1].name == "Bundled demo, original"
    assert len(found) == 5
    assert found[-1].nats == 0
    assert found[0].memory == memory_to_run(2_000_000, 512, run.model)
    assert found[0].nats == run.evaluation.fidelity[0].divergence.value


def test_kl_of_a_file_includes_that_of_saving_it(runs):
    name, run = runs[0]
    quantized = msgspec.structs.replace(run.exported, saving_divergence=0.5)
    (rung, _) = ladder.rungs([(name, replace(run, exported=quantized))], 512)
    nats = run.evaluation.fidelity[0].divergence.value
    assert (rung.nats, rung.saving) == (pytest.approx(nats + 0.5), 0.5)


def test_runs_without_export_are_no_rungs(runs):
    (name, run), *_ = runs
    assert ladder.rungs([(name, replace(run, exported=None))], 512) == ()
    assert ladder.table((), 512) == ()


def test_best_file_is_the_closest_of_those_that_fit():
    found = (rung(0.9, 0.5), rung(1.9, 0.2), rung(3.5, 0.3), rung(7, 0.0))
    rows = cells(found)
    assert [row[-1] for row in rows] == [
        "1 GB",
        "2 GB to 6 GB",
        NOTHING,
        "8 GB and more",
    ]
    assert [row[-2] for row in rows] == ["1 GB", "2 GB", "4 GB", "8 GB"]


def test_file_without_fidelity_is_never_the_best():
    found = (rung(0.9, float("nan")), rung(1.9, 0.2))
    assert [row[-1] for row in cells(found)] == [NOTHING, "2 GB and more"]


def test_kl_by_saving_counts_and_has_a_column():
    run_kl, saving = 0.1, 0.2
    few_bits = rung(0.9, run_kl + saving, saving)
    rows = cells((few_bits, rung(0.95, 0.25)))
    assert rows[0][3] == "0.20"
    assert [row[-1] for row in rows] == [NOTHING, "1 GB and more"]
    assert len(cells((rung(0.9, 0.1),))[0]) == len(rows[0]) - 1


def test_file_too_large_for_all_memories_and_context_too_long_are_said():
    (row,) = cells((rung(1000, 0.1),))
    assert row[-2] == "more than 512 GB"
    (row,) = cells((rung(1, 0.1, longest=2048),))
    assert row[-2] == "1 GB, but the model supports 2,048 tokens"


def test_memories_are_in_the_unit_of_the_window(monkeypatch):
    monkeypatch.setattr(units, "_units", units.Units.BINARY)
    found = (rung(2**30 / GB, 0.1),)
    assert cells(found)[0][-2] == "1 GiB"


def test_default_context_is_that_of_a_target_or_one_that_all_support(runs):
    states = [run for _, run in runs]
    assert ladder.default_context(states) == 512
    config = RunConfig(pruning=PruningConfig(target=Memory(1.0, context=3000)))
    asked = replace(states[0], config=config)
    assert ladder.default_context([asked, *states]) == 3000
    assert ladder.default_context([]) == 4096


def test_rows_by_context_are_powers_of_two_that_the_model_supports(runs):
    _, run = runs[0]
    assert [row[0] for row in ladder.context_rows(run)[1:]] == ["512 tokens"]
    long = msgspec.structs.replace(model_summary(), longest_window=5000)
    _, *rows = ladder.context_rows(replace(run, model=long))
    assert [row[0] for row in rows] == ["2,048 tokens", "4,096 tokens"]
    assert ladder.context_rows(replace(run, exported=None)) == ()
