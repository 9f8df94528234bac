"""A plan selects exactly the same as a run's first shot by the same costs."""

import weakref
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.pruning import (
    OF_EXPERTS,
    CostBasis,
    Damping,
    Method,
    Structure,
    Widths,
)
from surgeon_engine.api.messages.commands import Cancel, Diagnose
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_engine.base.errors import PruningError, RunCancelled
from surgeon_engine.pruning.measure_curvature import measure
from surgeon_engine.run import diagnose as diagnosing
from surgeon_engine.server import Engine
from surgeon_engine.shots.selection import selection
from surgeon_gui.state.architecture.state import planned_architecture
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Planner
from tests.helpers.configs import DENSE, pruning_config
from tests.helpers.pruning_states import make_state, silent_context, weights
from tests.helpers.runs import Recorder, job, run
from tests.helpers.units import removable

_GATES = {"method": Method.FIRST_ORDER}
FIXED = {"damping": Damping.FIXED, "cost_damping": 0.1, "shots": 1}
SHARES = (0.02, 0.1, 0.25)
ALL = [("llama", {"structure": structure}) for structure in DENSE] + [
    ("llama", {"structure": Structure.HEADS_AND_NEURONS, "protect": ("block 0",)}),
    ("llama", {"structure": Structure.ROWS_AND_COLUMNS, "protect": ("*.q_proj",)}),
    (
        "opt",
        {
            "structure": Structure.HEADS_AND_NEURONS,
            "layer_min_density": ("block 1=0.8",),
        },
    ),
    (
        "opt",
        {"structure": Structure.ROWS_AND_COLUMNS, "layer_min_density": ("*.fc1=0.7",)},
    ),
    ("llama", {"structure": Structure.COLUMNS, "min_density": 0.7}),
    ("llama", {"structure": Structure.NEURONS, "width_multiple": 8}),
    (
        "llama",
        {
            "structure": Structure.HEADS_AND_NEURONS,
            "width_multiple": 8,
            "min_density": 0.4,
            "cost_basis": CostBasis.RAW,
        },
    ),
    ("llama", {"structure": Structure.HEADS_AND_NEURONS, "widths": Widths.SAME}),
    (
        "llama",
        {
            "structure": Structure.HEADS_AND_NEURONS,
            "widths": Widths.SAME,
            "protect": ("block 0",),
        },
    ),
    ("llama", {"structure": Structure.ROWS_AND_COLUMNS, "cost_basis": CostBasis.RAW}),
    ("llama", {"structure": Structure.ROWS, "method": Method.K_OBD}),
    *(
        ("qwen3_moe", {"structure": structure, "widths": widths} | _GATES)
        for structure, widths in zip(OF_EXPERTS, cycle(Widths), strict=False)
    ),
    # Its MLPs have two widths, and its experts two classes.
    ("deepseek_v3", {"structure": Structure.EXPERTS, "widths": "same"} | _GATES),
    ("deepseek_v3", {"structure": Structure.EXPERTS_HEADS_AND_NEURONS} | _GATES),
]


def diagnosis_of(monkeypatch, tmp_path, state, context=None):
    """Diagnose a prepared state."""
    monkeypatch.setattr(diagnosing, "prepare", lambda config, context: state)
    return diagnosing.diagnose(state.config, tmp_path, context or silent_context())


def selector(state):
    """Return a function that selects for a budget, by factors measured once."""
    factors = measure(state, state.windows.calibration, silent_context())
    return partial(selection, state, factors, state.config.pruning)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "settings"), ALL)
def test_plan_and_maximum_equal_those_of_the_engine(
    monkeypatch, tmp_path, family, settings
):
    state = make_state(family, sparsity=0.05, **FIXED, **settings)
    planner = planner_of(monkeypatch, tmp_path, state)
    check_maximum(planner, state, settings)
    selected = selector(state)
    for share in SHARES:
        budget = int(share * state.goal.prunable)
        try:
            engine = selected(budget)
        except PruningError:
            assert planner.max_removable < budget
            continue
        plan = planner.plan(budget)
        assert plan.removed == engine.weights
        assert plan.is_reached
        per_unit = {
            unit.name: int(taken)
            for unit, taken in zip(planner.costs.units, plan.removals, strict=True)
        }
        for unit in state.units:
            name, removed = unit.measured.name, engine.removed[unit.measured.name]
            if state.config.pruning.structure in (Structure.ELEMENTS, Structure.N_M):
                assert abs(per_unit.pop(name) - int(removed.sum())) <= at_threshold(
                    planner, plan
                )
            else:
                assert per_unit.pop(name) == int(removed.sum())
        assert not any(per_unit.values())  # protected layers lose nothing
        if engine.threshold is not None:
            assert plan.threshold == pytest.approx(engine.threshold, rel=0.01)


def planner_of(monkeypatch, tmp_path, state):
    costs = read_costs(diagnosis_of(monkeypatch, tmp_path, state))
    return Planner(costs, state.config.pruning)


def at_threshold(planner, plan):
    """Return the number of weights in the bin of the threshold."""
    at = int(np.flatnonzero(planner.costs.found.cost == plan.threshold)[0])
    so_far = planner.costs.found.so_far.sum(axis=0)
    return int(so_far[at] - (so_far[at - 1] if at else 0))


@pytest.mark.slow
@pytest.mark.parametrize("structure", [Structure.ELEMENTS, Structure.N_M])
def test_whole_bins_of_single_weights_equal_the_selection_of_the_engine(
    monkeypatch, tmp_path, structure
):
    state = make_state(structure=structure, sparsity=0.05, **FIXED)
    planner = planner_of(monkeypatch, tmp_path, state)
    totals, selected = planner.costs.found.so_far.sum(axis=0), selector(state)
    for budget in totals[:: max(1, len(totals) // 20)].tolist():
        engine, plan = selected(budget), planner.plan(budget)
        removed = [int(engine.removed[u.name].sum()) for u in planner.costs.units]
        assert plan.removals.tolist() == removed
        assert plan.removed == engine.weights == budget


def check_maximum(planner, state, settings):
    """Check that the planner's maximum equals the engine's."""
    maximum = sum(removable(unit, state.config.pruning) for unit in state.units)
    assert planner.max_removable >= maximum  # slightly less for rows and columns
    if settings.get("structure") is not Structure.ROWS_AND_COLUMNS:
        assert planner.max_removable == maximum
    plan = planner.plan(10 * planner.max_removable)
    assert plan.removed == planner.max_removable
    assert not plan.is_reached


def test_rise_is_the_sum_of_the_costs(monkeypatch, tmp_path):
    settings = {"structure": Structure.NEURONS, "cost_basis": CostBasis.RAW}
    state = make_state(sparsity=0.05, **FIXED, **settings)
    planner = planner_of(monkeypatch, tmp_path, state)
    found = planner.costs.found
    for count, rise in zip(*planner.curve(20), strict=True):
        total = 0.0
        for number, taken in enumerate(planner.plan(int(count)).removals):
            start = found.start[number]
            total += float(found.cost[start : start + taken].sum())
        assert rise == pytest.approx(total)


@pytest.mark.slow
@pytest.mark.parametrize("structure", [Structure.ELEMENTS, Structure.N_M])
def test_rise_by_single_weights_is_close_to_the_sum_of_their_costs(
    monkeypatch, tmp_path, structure
):
    state = make_state(structure=structure, sparsity=0.05, **FIXED)
    planner = planner_of(monkeypatch, tmp_path, state)
    counts, rises = planner.curve(3)
    factors = measure(state, state.windows.calibration, silent_context())
    chosen = selection(state, factors, state.config.pruning, int(counts[1]))
    total = 0.0
    for unit in state.units:
        name = unit.measured.name
        found = unit.removals(factors[name], state.removed[name], state.config.pruning)
        total += float(found.cost[chosen.removed[name]].double().sum())
    assert rises[1] == pytest.approx(total, rel=0.02)


@pytest.mark.slow
def test_costs_are_those_of_the_first_shot_with_its_damping(monkeypatch, tmp_path):
    state = make_state(windows=8, sparsity=0.2, shots=2)
    before = weights(state)
    answer = diagnosis_of(monkeypatch, tmp_path, state)
    assert answer.damping_tried > 1
    assert all(torch.equal(W, before[name]) for name, W in weights(state).items())
    given = replace(
        state.config.pruning, damping=Damping.FIXED, cost_damping=answer.cost_damping
    )
    state = state.with_pruning(given, state.units)
    again = diagnosis_of(monkeypatch, tmp_path / "again", state)
    one, other = read_costs(answer).found, read_costs(again).found
    np.testing.assert_allclose(one.cost, other.cost, rtol=1e-3)


def test_costs_of_single_weights_are_released_with_their_layer(monkeypatch, tmp_path):
    """Hold the costs of two layers at most, while one of them is measured."""
    state = make_state("llama", structure=Structure.ELEMENTS, **FIXED)
    kind = type(state.units[0])
    measured, costs = kind.removals, []

    def removals(*arguments):
        assert sum(each() is not None for each in costs) <= 1
        found = measured(*arguments)
        costs.append(weakref.ref(found.cost))
        return found

    monkeypatch.setattr(kind, "removals", removals)
    diagnosis_of(monkeypatch, tmp_path, state)
    assert len(costs) == len(state.units)


def test_diagnosis_reports_progress_and_can_be_cancelled(monkeypatch, tmp_path):
    state, recorder = make_state(sparsity=0.1, **FIXED), Recorder()
    context = recorder.context
    answer = diagnosis_of(monkeypatch, tmp_path, state, context)
    stages = [event.stage for event in recorder.of(StageStarted)]
    assert stages == [Stage.BASELINE, Stage.CURVATURE, Stage.SELECTION]
    last = recorder.of(Progressed)[-1]
    assert last.done == last.total == len(answer.units)
    context.handle(Cancel(run="test"))
    with pytest.raises(RunCancelled):
        diagnosis_of(monkeypatch, tmp_path / "cancelled", state, context)
    assert not (tmp_path / "cancelled").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["costs.npz"]


def test_layers_report_the_weights_they_lose_with_a_group(monkeypatch, tmp_path):
    state = make_state("opt", structure=Structure.HEADS_AND_NEURONS, sparsity=0.1)
    state = state.with_pruning(pruning_config(**FIXED), state.units)
    answer = diagnosis_of(monkeypatch, tmp_path, state)
    for unit, diagnosed in zip(state.units, answer.units, strict=True):
        removed = torch.zeros(unit.candidates, dtype=torch.bool)
        removed[1:3] = True
        zeros = {layer.name: int(mask.sum()) for layer, mask in unit.zeros(removed)}
        assert {layer.name: 2 * layer.each for layer in diagnosed.layers} == zeros
        couplings = [layer.coupling for layer in diagnosed.layers]
        assert couplings == [diagnosed.group] + [""] * (len(couplings) - 1)
    assert Path(answer.path).is_file()
    assert answer.prunable == state.goal.prunable


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@pytest.mark.parametrize(
    ("structure", "damping"),
    [
        (Structure.HEADS_AND_NEURONS, Damping.AUTOMATIC),
        (Structure.ROWS_AND_COLUMNS, Damping.FIXED),
    ],
)
def test_run_of_one_shot_has_the_planned_removals_and_costs(
    tmp_path, structure, damping
):
    """The whole engine runs, from the files of a model."""
    settings = {"structure": structure, "sparsity": 0.15, "damping": damping}
    protect = {"protect": ("*.layers.0.mlp.*",), "layer_min_density": ("block 1=0.7",)}
    config = job(tmp_path, windows=8, **settings, **protect)
    envelopes = []
    engine = Engine(lambda envelope: envelopes.append(envelope))
    engine.handle(Diagnose(run="d", config=config, folder=str(tmp_path / "costs")))
    serve_waiting_commands(engine)
    answer = envelopes[-1].event
    assert isinstance(answer, Diagnosed), answer
    assert envelopes[-1].run == "d"
    found = run(tmp_path, windows=8, **settings, **protect)
    last = found.shots[-1]
    costs = read_costs(answer)
    plan = Planner(costs, config.pruning).plan(int(last.target * answer.prunable))
    planned = planned_architecture(found.started.model, costs, plan, config.pruning)
    for layer in last.layers:
        mine = planned.layer(layer.name)
        assert mine.removed == layer.removed, layer.name
        assert (mine.after.rows, mine.after.columns) == (
            layer.rows_kept,
            layer.columns_kept,
        )
        assert (mine.cost or 0.0) == pytest.approx(layer.cost, rel=1e-4, abs=1e-12)
    assert last.damping.cost == answer.cost_damping


def serve_waiting_commands(engine):
    """Let an engine execute its queued commands and end."""
    engine._queue.put(None)
    engine.serve()


@pytest.mark.slow
@pytest.mark.parametrize("structure", [Structure.HEADS_AND_NEURONS, Structure.ROWS])
def test_protected_and_limited_units_are_measured_too(monkeypatch, tmp_path, structure):
    """Otherwise less protection would need another measurement."""
    rules = {
        "protect": ("block 0",),
        "layer_min_density": ("*=0.8",),
        "min_density": 0.5,
    }
    settings = {"structure": structure, "sparsity": 0.02, **FIXED}
    ruled, free = (
        diagnosis_of(monkeypatch, tmp_path / name, make_state(**settings, **more))
        for name, more in (("ruled", rules), ("free", {}))
    )
    assert ruled.units == free.units
    one, other = read_costs(ruled).found, read_costs(free).found
    np.testing.assert_allclose(one.cost, other.cost, rtol=1e-9)
