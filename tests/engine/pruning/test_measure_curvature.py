"""Factors pooled from two parts of the windows equal the factors of all windows."""

import pytest
import torch

from surgeon_engine.api.config.pruning import Fisher, Method, Structure, methods_for
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.curvature.collect import block_gates
from surgeon_engine.curvature.measured import KroneckerFactors
from surgeon_engine.pruning import measure_curvature as module
from surgeon_engine.pruning.measure_curvature import measure, pool
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.kept import Kept
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import Recorder


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("first", [1, 5, 6])
def test_pooled_factors_equal_those_of_all_windows(family, first):
    state = make_state(family, 8)
    windows = state.windows.calibration
    one, other, both = (
        measure(state, part, silent_context(), 1, state.loaded.layers)
        for part in (windows[:first], windows[first:], windows)
    )
    pool(one, other, share=first / 8)
    assert not other
    assert one.keys() == both.keys()
    for name, expected in both.items():
        for M, N in (
            (one[name].A, expected.A),
            (one[name].G, expected.G),
        ):
            scale = float(N.abs().max())
            torch.testing.assert_close(M, N, rtol=1e-4, atol=1e-5 * scale)


def test_layers_still_share_an_A_after_pooling():
    state = make_state("llama", 8)
    windows = state.windows.calibration
    one, other = (
        measure(state, part, silent_context(), 1, state.loaded.layers)
        for part in (windows[:6], windows[6:])
    )
    shared = {(x, y) for x in one for y in one if one[x].A is one[y].A}
    assert any(x != y for x, y in shared)
    pool(one, other, share=0.75)
    assert shared == {(x, y) for x in one for y in one if one[x].A is one[y].A}


def test_factors_that_were_not_measured_are_not_pooled():
    A = torch.eye(2)
    one = {"a": KroneckerFactors(A), "b": KroneckerFactors()}
    other = {"a": KroneckerFactors(3 * A), "b": KroneckerFactors()}
    pool(one, other, share=0.25)
    assert torch.equal(one["a"].A, 2.5 * torch.eye(2))
    assert one["a"].G is one["b"].A is None


@pytest.mark.parametrize("method", methods_for(Structure.ELEMENTS))
def test_only_factors_that_a_method_needs_are_measured(method):
    state = make_state("llama", 4, method=method, structure=Structure.ELEMENTS)
    recorder = Recorder()
    factors = measure(state, state.windows.calibration, recorder.context, 1)
    assert factors.keys() == {layer.name for layer in state.loaded.layers}
    has_A = method is not Method.MAGNITUDE
    has_G = method in (Method.LLM_SURGEON, Method.K_OBD)
    for one in factors.values():
        if method is Method.FIRST_ORDER:
            assert one.weight_squares is not None
            assert one.rows is one.columns is None
        else:
            assert (one.A is not None, one.G is not None) == (has_A, has_G)
    assert (StageStarted(Stage.CURVATURE, 1) in recorder.events) == has_A


@pytest.mark.parametrize("method", [Method.LLM_SURGEON, Method.L_OBD])
def test_factors_are_the_same_where_memory_is_short(method, monkeypatch):
    """They and the inputs of the blocks are in files then."""
    state = make_state("llama", 4, method=method, structure=Structure.ELEMENTS)
    windows = state.windows.calibration
    expected = measure(state, windows, silent_context(), 1)
    monkeypatch.setattr(devices, "free_host_memory", lambda: 0)
    found = measure(state, windows, silent_context(), 1)
    for name, pair in found.items():
        assert pair.A.untyped_storage().filename is not None
        assert torch.equal(pair.A, expected[name].A)
        if method is Method.LLM_SURGEON:
            assert torch.equal(pair.G, expected[name].G)


class Gates:
    """Measures the gates of states one after another, as the runs of a process do."""

    def __init__(self):
        self.events = []
        self._kept = Kept()

    def measure(self, state, shot=1, layers=slice(None)):
        """Return the gates, and whether they were measured anew."""
        self.events.clear()
        context = RunContext("test", self._receive, self._kept)
        measured = [unit.measured for unit in state.units][layers]
        found = measure(state, state.windows.calibration, context, shot, measured)
        return found, not any(isinstance(event, Logged) for event in self.events)

    def _receive(self, envelope):
        self.events.append(envelope.event)


def gate_state(windows=4, **pruning):
    return make_state("llama", windows, method=Method.FIRST_ORDER, **pruning)


@pytest.mark.parametrize("has_shipped", [True, False])
def test_gates_count_users_and_general_text_alike(monkeypatch, has_shipped):
    """Most windows of general text are shipped; the others are the last own ones."""
    state, requests, costs = gate_state(), [], []
    own = torch.arange(40 * 16).view(40, 16) % 90
    general = own[torch.arange(32) * 40 // 32]
    object.__setattr__(state.windows, "own", own)
    if has_shipped:
        shipped = own.flip(1) + 1
        general = torch.cat([own[-8:], shipped[:24]])
        object.__setattr__(state.windows, "shipped", shipped)

    def noted(request, kinds, step):
        requests.append(request)
        costs.append({})
        for gates in block_gates(request, kinds, step):
            costs[-1] |= {name: each.column_costs() for name, each in gates.items()}
            yield gates

    monkeypatch.setattr(module, "block_gates", noted)
    found = measure(state, state.windows.calibration, silent_context(), 1)
    assert torch.equal(requests[0].windows, state.windows.calibration)
    assert torch.equal(requests[1].windows, general)
    assert requests[1].labels is Fisher.SAMPLED
    for name, gates in found.items():
        mean = (costs[0][name] + costs[1][name]) / 2
        assert torch.allclose(gates.column_costs(), mean, rtol=1e-4)


@pytest.mark.parametrize(("windows", "draws"), [(64, 2), (65, 1)])
def test_much_text_has_one_draw_of_labels(monkeypatch, windows, draws):
    requests = []
    monkeypatch.setattr(module, "block_gates", lambda *x: requests.append(x[0]) or ())
    state = gate_state(windows, fisher=Fisher.SAMPLED)
    measure(state, state.windows.calibration, silent_context(), 1)
    assert [request.backwards for request in requests] == [draws]


def test_gates_of_an_original_are_measured_once():
    gates = Gates()
    first, is_new = gates.measure(gate_state(sparsity=0.2))
    assert is_new
    again, is_new = gates.measure(gate_state(sparsity=0.4))
    assert not is_new
    assert StageStarted(Stage.CURVATURE, 1, is_kept=True) in gates.events
    assert first.keys() == again.keys()
    for name, gate in first.items():
        assert torch.equal(gate.columns, again[name].columns)
    again.clear()  # as a diagnosis does
    again, is_new = gates.measure(gate_state(sparsity=0.4))
    assert again.keys() == first.keys()
    assert not is_new
    some, is_new = gates.measure(gate_state(), layers=slice(1))
    assert len(some) == 1
    assert not is_new


@pytest.mark.parametrize(
    "other",
    [
        {"windows": 5},
        {"fisher": Fisher.EMPIRICAL},
        {"structure": Structure.ROWS_AND_COLUMNS},
    ],
)
def test_gates_of_other_settings_are_measured_anew(other):
    gates = Gates()
    gates.measure(gate_state(fisher=Fisher.SAMPLED))
    found, is_new = gates.measure(gate_state(**{"fisher": Fisher.SAMPLED, **other}))
    assert is_new
    assert found.keys()


@pytest.mark.parametrize("kind", ["own", "shipped"])
def test_gates_on_other_general_text_are_measured_anew(kind):
    gates, state = Gates(), gate_state()
    for name in ("own", "shipped"):
        object.__setattr__(state.windows, name, state.windows.calibration)
    assert gates.measure(state)[1]
    assert not gates.measure(state)[1]
    object.__setattr__(state.windows, kind, state.windows.calibration.flip(1))
    assert gates.measure(state)[1]


def test_gates_of_more_layers_or_another_shot_are_measured_anew():
    gates = Gates()
    gates.measure(gate_state(), layers=slice(1))
    assert gates.measure(gate_state())[1]
    assert gates.measure(gate_state(), shot=2)[1]


def test_gates_of_a_pruned_model_are_measured_anew():
    gates, state = Gates(), gate_state()
    gates.measure(state)
    removed = {name: mask.clone() for name, mask in state.removed.items()}
    next(iter(removed.values()))[0] = True
    state.record_removed(removed)
    assert gates.measure(state)[1]


def test_gates_of_single_weights_are_not_kept():
    gates = Gates()
    gates.measure(gate_state(structure=Structure.ELEMENTS))
    assert gates.measure(gate_state(structure=Structure.ELEMENTS))[1]


def test_sampled_labels_differ_between_shots_but_not_between_runs():
    state = make_state("llama", 4, fisher=Fisher.SAMPLED)
    windows = state.windows.calibration
    one, again, later = (
        measure(state, windows, silent_context(), shot) for shot in (1, 1, 2)
    )
    for name in one:
        assert torch.equal(one[name].G, again[name].G)
        assert not torch.equal(one[name].G, later[name].G)
