"""A sweep makes a checked run for each target and method of the draft."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method, PruningConfig, Structure, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_gui.base import translation
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.queue import sweep
from surgeon_gui.state.queue.sweep import MAX_RUNS
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import FIELDS
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine
from tests.helpers.queued_runs import ready_state

FIRST = (Method.FIRST_ORDER,)


@pytest.fixture
def state(tmp_path):
    return ready_state(tmp_path / "runs")


def jobs(state, unit, values, methods=FIRST):
    found = sweep.plan(state, unit, values, methods)
    assert not isinstance(found, str)
    return [run.config for run in found]


def problem(state, unit, values, methods=FIRST):
    found = sweep.plan(state, unit, values, methods)
    assert isinstance(found, str)
    return found


def test_proposed_shares_are_10_to_40_percent(state):
    text = sweep.proposed_values(state, Target.PRUNABLE_SHARE)
    assert text == "10, 20, 30, 40"
    shares = [x.pruning.sparsity for x in jobs(state, Target.PRUNABLE_SHARE, text)]
    assert shares == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("unit", [Target.PARAMETERS, Target.FILE_SIZE])
def test_proposed_sizes_are_those_of_the_shares(state, unit):
    text = sweep.proposed_values(state, unit)
    sizes = [float(part) for part in text.split(",")]
    model = model_summary()
    left = [model.parameters - share * model.prunable for share in (0.1, 0.2, 0.3, 0.4)]
    scale = 1e6 if unit is Target.PARAMETERS else 1e6 / 4  # bytes of a float32
    assert sizes == pytest.approx([count / scale for count in left], rel=5e-3)
    assert len(jobs(state, unit, text)) == 4


def test_sizes_are_in_the_units_of_the_window(state, monkeypatch):
    unit = Target.FILE_SIZE
    before = numbers.parse_list(sweep.proposed_values(state, unit))
    text = replace(FIELDS["pruning.megabytes"], unit="MiB", unit_bytes=2**20)
    monkeypatch.setitem(FIELDS, "pruning.megabytes", text)
    (job,) = jobs(state, unit, "9.5")
    assert job.pruning.megabytes == 9.5 * 2**20 / 1e6
    proposed = numbers.parse_list(sweep.proposed_values(state, unit))
    assert [x * 2**20 / 1e6 for x in proposed] == pytest.approx(before, rel=0.01)
    assert "-1 is not possible" in problem(state, unit, "-1")


def test_memories_have_the_context_of_the_draft(state):
    assert sweep.unit_note(state, Target.FILE_SIZE) == ""
    assert "512 tokens" in sweep.unit_note(state, Target.MEMORY)
    (job,) = jobs(state, Target.MEMORY, "0.015")
    assert (job.pruning.memory_gigabytes, job.pruning.context) == (0.015, 512)
    pruning = replace(
        state.config.pruning, target=Target.MEMORY, memory_gigabytes=0.02, context=300
    )
    state = replace(state, config=replace(state.config, pruning=pruning))
    assert "300 tokens" in sweep.unit_note(state, Target.MEMORY)
    (job,) = jobs(state, Target.MEMORY, "0.015")
    assert (job.pruning.memory_gigabytes, job.pruning.context) == (0.015, 300)


def test_forecast_has_a_line_for_each_target(state):
    methods = (Method.FIRST_ORDER, Method.MAGNITUDE)
    found = sweep.plan(state, Target.FILE_SIZE, "9.5, 8.12", methods)
    assert len(found) == 4
    first, second = sweep.forecast(found, state.model).split("\n")
    memory = 9_500_000 + memory_beside_weights(512, state.model)
    assert numbers.size(memory) in first
    assert "with 512 tokens, fits in 0.25" in first
    assert second.startswith("To 8.12\xa0MB: at most ")
    (run,) = sweep.plan(state, Target.PRUNABLE_SHARE, "20", FIRST)
    size = numbers.size(goal_or_none(run.config, state.model).weight_bytes)
    assert f" prunable weights, file {size}: " in sweep.forecast([run], state.model)
    many = ", ".join(f"9.{n}" for n in range(10))
    lines = sweep.forecast(
        sweep.plan(state, Target.FILE_SIZE, many, FIRST), state.model
    ).split("\n")
    assert len(lines) == 9 and lines[-1] == "and 2 more sizes"


def test_forecast_with_a_quality_limit_promises_no_memory(state):
    pruning = replace(state.config.pruning, max_divergence=0.2)
    limited = replace(state, config=replace(state.config, pruning=pruning))
    for draft, is_sure in ((state, True), (limited, False)):
        found = sweep.plan(draft, Target.FILE_SIZE, "8.12", FIRST)
        line = sweep.forecast(found, state.model)
        assert ("at most" in line and "fits in" in line) is is_sure
        assert ("quality limit" in line) is not is_sure


def test_files_with_zeros_have_no_forecast(state):
    pruning = PruningConfig(structure=Structure.ELEMENTS)
    state = replace(state, config=replace(state.config, pruning=pruning))
    found = sweep.plan(state, Target.PRUNABLE_SHARE, "20", FIRST)
    assert found and sweep.forecast(found, state.model) == ""


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        (Target.PRUNABLE_SHARE, {"sparsity": 0.07}),
        (Target.PARAMETER_SHARE, {"sparsity": 0.07}),
        (Target.PARAMETERS, {"million_parameters": 2.5}),
        (Target.FILE_SIZE, {"megabytes": 9.5}),
        (Target.MEMORY, {"memory_gigabytes": 0.015, "context": 512}),
    ],
)
def test_each_unit_makes_its_own_target(state, unit, values):
    typed = {"prunable_share": "7", "parameter_share": "7", "parameters": "2.5"}
    typed["memory"] = "0.015"
    (job,) = jobs(state, unit, typed.get(unit, "9.5"))
    pruning = PruningConfig(target=unit, **values)
    assert job == replace(state.config, pruning=pruning)


def test_targets_and_methods_are_combined_under_names_that_tell_them_apart(state):
    methods = (Method.FIRST_ORDER, Method.MAGNITUDE)
    found = sweep.plan(state, Target.PRUNABLE_SHARE, "10 20", methods)
    assert [run.name.replace("\xa0", " ") for run in found] == [
        "Bundled demo · 10 % fewer prunable weights, First-order gates",
        "Bundled demo · 10 % fewer prunable weights, Magnitude",
        "Bundled demo · 20 % fewer prunable weights, First-order gates",
        "Bundled demo · 20 % fewer prunable weights, Magnitude",
    ]


def test_runs_have_estimates_and_the_summary_adds_them_up(state):
    found = sweep.plan(state, Target.PRUNABLE_SHARE, "10 20", FIRST)
    for run in found:
        assert run.estimate.seconds > 0
        assert run.estimate.disk == estimate(run.config, state.model, machine()).disk
    text = sweep.summary(found, 10**10).replace("\xa0", " ")
    assert text.startswith("2 runs: about ")
    assert text.endswith("MB on the disk while they run; 10.0 GB are free.")
    disk = sum(run.estimate.disk for run in found)
    assert not sweep.disk_warning(found, disk)
    assert "does not hold all" in sweep.disk_warning(found, disk - 1)


def test_equal_values_make_one_run(state):
    assert len(jobs(state, Target.PRUNABLE_SHARE, "10, 10.0; 10")) == 1


@pytest.mark.parametrize(
    ("values", "methods", "sentence"),
    [
        ("10, x", FIRST, "“x” is not a number."),
        ("10, inf", FIRST, "“inf” is not a number."),
        ("", FIRST, "at least one target"),
        ("10", (), "tick one method"),
        (
            "99",
            FIRST,
            "Removed, of prunable: 99 % is not possible. Enter more than 0 % and "
            "at most 95 %.",
        ),
        (" ".join(map(str, range(1, MAX_RUNS + 2))), FIRST, "at most 30"),
    ],
)
def test_problem_of_the_input_is_shown(state, values, methods, sentence):
    text = problem(state, Target.PRUNABLE_SHARE, values, methods)
    assert sentence in text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("unit", "value", "sentence"),
    [
        (Target.PARAMETER_SHARE, "95.01", "95.01 % is not possible"),
        (Target.PARAMETERS, "0", "Enter more than 0 and at most 10,000,000."),
        (Target.FILE_SIZE, "-3.5", "-3.5 is not possible"),
    ],
)
def test_value_out_of_range_is_named_in_its_unit(state, unit, value, sentence):
    assert sentence in problem(state, unit, f"1 {value}").replace("\xa0", " ")


def test_problem_of_one_run_names_it(state):
    text = problem(state, Target.PARAMETERS, "2.5 0.01")
    assert text.startswith("Bundled demo · To 10.0\xa0k, First-order gates: The target")


def test_method_that_cannot_remove_the_structure_is_a_problem(state):
    assert "SparseGPT" in problem(
        state, Target.PRUNABLE_SHARE, "10", (Method.SPARSEGPT,)
    )
    pruning = PruningConfig(Structure.ELEMENTS, method=Method.WANDA)
    sparse = replace(state, config=RunConfig(pruning=pruning))
    methods = (Method.SPARSEGPT, Method.LLM_SURGEON)
    assert len(jobs(sparse, Target.PRUNABLE_SHARE, "10", methods)) == 2


def test_runs_that_do_not_fit_the_machine_are_a_problem(state):
    small = replace(state, machine=machine(10**8))
    text = problem(small, Target.PRUNABLE_SHARE, "10")
    assert "Not enough memory" in text


def test_all_runs_in_one_destination_are_a_problem(state, tmp_path):
    export = ExportConfig(str(tmp_path / "out"))
    state = replace(state, config=replace(state.config, export=export))
    assert "All runs would write to" in problem(state, Target.PRUNABLE_SHARE, "10 20")


def test_german_numbers_have_a_comma(state, monkeypatch):
    monkeypatch.setattr(translation, "_language", "de")
    text = sweep.proposed_values(state, Target.PARAMETERS)
    assert text == "2,59; 2,34; 2,1; 1,86"
    assert len(jobs(state, Target.PARAMETERS, text)) == 4
    assert len(jobs(state, Target.PARAMETERS, "2,5, 2,1")) == 2
