"""The correction takes damped Newton steps while the held-out loss falls."""

from __future__ import annotations

import weakref

import pytest
import torch

from surgeon_engine.api.config.pruning import (
    Correction,
    Damping,
    Method,
    Structure,
)
from surgeon_engine.api.errors import CalibrationError, CurvatureError
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.evaluation.held_out import held_out_loss, split
from surgeon_engine.pruning.measure_curvature import CurvatureTask, measure, of_units
from surgeon_engine.recovery import correction
from surgeon_engine.recovery.correction import correct, direction
from surgeon_engine.runtime.linalg import damped
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.selection import remove, selection
from tests.helpers.configs import pruning_config
from tests.helpers.pruning_states import make_state, silent_context, weights
from tests.helpers.tensors import SmallLayer, make_layer, random_mask

R, C = 4, 6


def gradient(seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(R, C, generator=g, dtype=torch.float64)


def dense_step(A, G, slope) -> torch.Tensor:
    """Return -(G kron A)^-1 vec(gradient)."""
    layer = SmallLayer(slope, damped(A, 1.0), damped(G, 1.0))
    return -torch.linalg.solve(layer.F, slope.flatten()).view_as(slope)


def pruned(structure, windows=8, family="llama"):
    """Return a state with about a third of the weights removed."""
    state = make_state(
        family,
        windows,
        structure=structure,
        sparsity=0.3,
        correction=Correction.LOSS,
        damping=Damping.FIXED,
    )
    task = of_units(state, state.windows.calibration)
    factors = measure(state, task, silent_context(), 1)
    settings = state.config.pruning
    chosen = selection(state, factors, settings, state.goal.removed)
    state.record_removed(remove(state, factors, settings, chosen.removed))
    return state


def test_direction_is_that_of_the_dense_quadratic():
    layer, slope = make_layer(R, C), gradient()
    nothing = torch.zeros(R, C, dtype=torch.bool)
    factors = KroneckerFactors(layer.A, layer.G, slope)
    D = direction(layer.W, factors, nothing)
    torch.testing.assert_close(D, dense_step(layer.A, layer.G, slope))


def test_removed_rows_and_columns_are_left_out_of_the_quadratic():
    layer, slope = make_layer(R, C), gradient()
    is_removed = torch.zeros(R, C, dtype=torch.bool)
    is_removed[1] = is_removed[:, [0, 4]] = True
    row, column = torch.tensor([0, 2, 3]), torch.tensor([1, 2, 3, 5])
    expected = torch.zeros(R, C, dtype=torch.float64)
    expected[row.unsqueeze(1), column] = dense_step(
        layer.A[column][:, column], layer.G[row][:, row], slope[row][:, column]
    )
    D = direction(layer.W, KroneckerFactors(layer.A, layer.G, slope), is_removed)
    torch.testing.assert_close(D, expected)


def test_removed_single_weights_do_not_move():
    layer, is_removed = make_layer(R, C), random_mask(R, C)
    D = direction(layer.W, KroneckerFactors(layer.A, layer.G, gradient()), is_removed)
    assert torch.equal(D == 0, is_removed)


def test_small_enough_step_lowers_the_quadratic():
    layer, slope = make_layer(R, C), gradient()
    nothing = torch.zeros(R, C, dtype=torch.bool)
    D = direction(layer.W, KroneckerFactors(layer.A, layer.G, slope), nothing)
    assert (slope * D).sum() < 0


STRUCTURES = [
    Structure.HEADS_AND_NEURONS,
    Structure.ROWS_AND_COLUMNS,
    Structure.ELEMENTS,
    Structure.N_M,
]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_held_out_loss_falls_and_removed_weights_stay_zero(structure, family):
    state = pruned(structure, family=family)
    _, held = split(state.windows.calibration)
    before, old = (
        held_out_loss(state.loaded.model, held, state.config.calibration.batch),
        weights(state),
    )
    steps = correct(state, silent_context())
    assert steps.lengths
    assert all(length > 0 for length in steps.lengths)
    assert steps.loss_before == before
    assert steps.loss_after < before
    assert (
        held_out_loss(state.loaded.model, held, state.config.calibration.batch) < before
    )
    changed = 0
    for unit in state.units:
        for layer, is_removed in unit.zeros(state.removed[unit.measured.name]):
            W = layer.weight()
            assert torch.equal(W == 0, is_removed)
            changed += not torch.equal(layer.module.weight, old[f"{layer.name}.weight"])
    assert changed == sum(len(unit.layers) for unit in state.units)
    names = {f"{x.name}." for unit in state.units for x in unit.layers}
    for name, parameter in weights(state).items():
        if not any(name.startswith(prefix) for prefix in names):
            assert torch.equal(parameter, old[name])


def test_step_that_does_not_help_is_not_taken(monkeypatch):
    state = pruned(Structure.ELEMENTS)
    downhill = correction.direction
    monkeypatch.setattr(correction, "direction", lambda *x: -downhill(*x))
    _, held = split(state.windows.calibration)
    before, old = (
        held_out_loss(state.loaded.model, held, state.config.calibration.batch),
        weights(state),
    )
    steps = correct(state, silent_context())
    assert steps.lengths == ()
    assert steps.loss_before == steps.loss_after == before
    for name, parameter in weights(state).items():
        assert torch.equal(parameter, old[name])


def test_length_is_the_best_of_those_tried(monkeypatch):
    state = pruned(Structure.ELEMENTS)
    monkeypatch.setattr(correction, "_MAX_STEPS", 1)
    tried = {}
    judge, move = correction.held_out_loss, correction._move
    last = []

    def moved(directions, length):
        last[:] = [length]
        move(directions, length)

    def judged(*arguments):
        loss = judge(*arguments)
        if last:
            tried[last[0]] = loss
        return loss

    monkeypatch.setattr(correction, "_move", moved)
    monkeypatch.setattr(correction, "held_out_loss", judged)
    steps = correct(state, silent_context())
    assert steps.lengths == (min(tried, key=tried.__getitem__),)
    assert steps.loss_after == min(tried.values())
    first = correction._FIRST
    assert list(tried)[:2] == [first, 2 * first]
    assert sorted(tried) == [min(tried) * 2**i for i in range(len(tried))]


@pytest.mark.parametrize(
    ("valley", "length"),
    [
        (0.5, 0.4096),
        (3e-3, 3.2e-3),
        (1.6e-3, 1.6e-3),
        (1e-3, 0.8e-3),
        (1e-4, 1e-4),
        (2e-5, 2.5e-5),
        (1.5e-6, 1.5625e-6),
        (1e-7, 0),
    ],
)
def test_length_is_doubled_or_halved_from_the_first(monkeypatch, valley, length):
    """The loss is a parabola, which returns to its start at twice the minimum."""
    at = [0.0]
    monkeypatch.setattr(correction, "_MAX_STEPS", 1)
    monkeypatch.setattr(correction, "_move", lambda _, length: at.append(length))
    monkeypatch.setattr(correction, "held_out_loss", lambda *_: (at[-1] - valley) ** 2)
    steps = correct(pruned(Structure.ELEMENTS), silent_context())
    assert steps.lengths == (pytest.approx((length,)) if length else ())


def test_steps_hidden_by_rounding_do_not_end_the_search(monkeypatch):
    """In bfloat16 a short step changes few weights, and the loss randomly."""
    at = [0.0]

    def loss(*_):
        chance = 1e-6 if 1.5e-4 < at[-1] < 1e-3 else -1e-7
        return (at[-1] - 6e-3) ** 2 if at[-1] > 1e-3 else 3.6e-5 + chance

    monkeypatch.setattr(correction, "_MAX_STEPS", 1)
    monkeypatch.setattr(correction, "_move", lambda _, length: at.append(length))
    monkeypatch.setattr(correction, "held_out_loss", loss)
    assert correct(pruned(Structure.ELEMENTS), silent_context()).lengths == (6.4e-3,)


def test_step_taken_is_the_one_that_was_evaluated(monkeypatch):
    state = pruned(Structure.NEURONS)
    monkeypatch.setattr(correction, "_MAX_STEPS", 1)
    layers = [layer for unit in state.units for layer in unit.layers]
    fit, held = split(state.windows.calibration)
    factors = measure(state, CurvatureTask(layers, fit, True), silent_context())
    before = {layer.name: layer.weight() for layer in layers}
    steps = correct(state, silent_context())
    (length,) = steps.lengths
    assert held_out_loss(
        state.loaded.model, held, state.config.calibration.batch
    ) == pytest.approx(steps.loss_after, rel=1e-5)
    for unit in state.units:
        for layer, is_removed in unit.zeros(state.removed[unit.measured.name]):
            W = before[layer.name]
            D = direction(W, factors[layer.name], is_removed)
            torch.testing.assert_close(
                layer.weight(), W + length * D, rtol=1e-4, atol=1e-4 * length
            )


def test_steps_end_when_they_no_longer_help(monkeypatch):
    lengths = iter([(0.1, 3.0), (0.2, 2.0), (0.0, 2.0), (0.3, 1.0)])
    monkeypatch.setattr(correction, "_step", lambda *_: next(lengths))
    steps = correct(pruned(Structure.ELEMENTS), silent_context())
    assert steps.lengths == (0.1, 0.2)
    assert steps.loss_after == 2.0
    lengths = iter([(0.1, 3.0)] * 100)
    steps = correct(pruned(Structure.ELEMENTS), silent_context())
    assert steps.lengths == (0.1,) * correction._MAX_STEPS


def test_stopped_run_takes_the_first_step_alone(monkeypatch):
    monkeypatch.setattr(correction, "_step", lambda *_: (0.1, 3.0))
    context = silent_context()
    context.handle(StopAndKeep(run="test"))
    assert correct(pruned(Structure.ELEMENTS), context).lengths == (0.1,)


def test_measurement_error_ends_the_steps_and_not_the_run(monkeypatch):
    state = pruned(Structure.NEURONS)
    measured, events = correction.measure_blocks, []
    tries = iter([measured, lambda *_: fail()])

    def fail():
        raise CurvatureError("The inputs of block 1 are not finite.", "")

    monkeypatch.setattr(correction, "measure_blocks", lambda *x: next(tries)(*x))
    steps = correct(state, RunContext("test", lambda each: events.append(each.event)))
    assert len(steps.lengths) == 1
    assert steps.loss_after < steps.loss_before
    (message,) = [event.message for event in events if isinstance(event, Logged)]
    assert message == (
        "The correction ends after 1 steps. The inputs of block 1 are not finite."
    )


def test_factors_of_one_block_are_held_at_a_time(monkeypatch):
    state = pruned(Structure.ROWS_AND_COLUMNS)
    measured, alive = correction.measure_blocks, []

    def watched(*arguments):
        for factors in measured(*arguments):
            alive.append([weakref.ref(pair.G) for pair in factors.values()])
            yield factors
            del factors
            if len(alive) > 1:
                assert not any(ref() is not None for ref in alive[-2])

    monkeypatch.setattr(correction, "measure_blocks", watched)
    correct(state, silent_context())
    assert len(alive) >= len(state.loaded.blocks) > 1


def test_too_few_windows_raise_with_their_number():
    state = pruned(Structure.ELEMENTS, windows=3)
    with pytest.raises(CalibrationError, match="3 windows are too few") as error:
        correct(state, silent_context())
    assert "4 windows or more" in error.value.hint


@pytest.mark.parametrize("method", Method)
def test_only_methods_with_an_update_correct(method):
    settings = {"structure": Structure.ELEMENTS, "method": method}
    pruning = pruning_config(**settings, correction=Correction.LOSS)
    assert pruning.is_corrected == (method is Method.LLM_SURGEON)
    assert pruning_config(**settings) == pruning  # the default
    assert not pruning_config(**settings, correction=Correction.NONE).is_corrected
