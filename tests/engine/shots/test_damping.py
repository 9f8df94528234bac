"""The damping search moves only where held-out windows show a real improvement."""

import math

import pytest
import torch

from surgeon_engine.api.config.pruning import SPARSE, Structure
from surgeon_engine.api.messages.run import DampingChoice, Stage, StageStarted
from surgeon_engine.base.errors import CurvatureError, RunCancelled
from surgeon_engine.evaluation.held_out import Trial, evaluate_held_out, split
from surgeon_engine.pruning.measure_curvature import Factors, measure
from surgeon_engine.shots import damping
from surgeon_engine.shots.damping import (
    GRID,
    choose_damping,
    search,
    with_damping,
)
from surgeon_engine.shots.selection import remove, selection
from surgeon_engine.shots.steps import ShotPlan
from tests.helpers.pruning_states import (
    assert_unchanged,
    make_state,
    silent_context,
    weights,
)
from tests.helpers.runs import STRUCTURES, Recorder

STRUCTURE_CASES = [Structure.HEADS_AND_NEURONS, Structure.ELEMENTS]


def inputs_of(state, before=None, *, is_last=True) -> tuple[ShotPlan, Factors, int]:
    fit, _ = split(state.windows.calibration)
    factors = measure(state, fit, silent_context(), 1)
    plan = ShotPlan(1, 1.0 if is_last else 0.5, before)
    return plan, factors, state.goal.removed


def nats_with(state, inputs, cost, update) -> float:
    """Remove with these dampings, measure the held-out KL, and restore the model."""
    model = state.loaded.model
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    pruning = with_damping(state.config.pruning, cost, update)
    _, factors, budget = inputs
    chosen = selection(state, factors, pruning, budget)
    remove(state, factors, pruning, chosen.removed)
    nats = evaluate_held_out(model, state.references.held_out).divergence
    model.load_state_dict(kept)
    return nats


@pytest.mark.parametrize("count", [4, 5, 8, 11, 64])
def test_a_quarter_of_the_windows_is_held_out(count):
    windows = torch.arange(count * 3).view(count, 3)
    fit, held_out = split(windows)
    assert len(held_out) == count // 4
    assert torch.equal(torch.cat([fit, held_out]), windows)  # each in one part


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_windows_are_not_split(count):
    assert split(torch.zeros(count, 8)) is None


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURE_CASES)
def test_trial_has_the_divergence_after_removing_with_its_damping(
    monkeypatch, structure
):
    state = make_state(structure=structure, sparsity=0.3)
    inputs = inputs_of(state)
    found = {}
    run_search = damping.search

    def recorded(*arguments):
        trials, chosen = run_search(*arguments)
        found.update({point: trial.divergence for point, trial in trials.items()})
        return trials, chosen

    monkeypatch.setattr(damping, "search", recorded)
    choice = choose_damping(state, *inputs, silent_context())
    assert choice.tried == len(found) > 1
    assert found == {
        point: nats_with(state, inputs, GRID[point[0]], GRID[point[1]])
        for point in found
    }
    chosen = (GRID.index(choice.cost), GRID.index(choice.update))
    assert choice.held_out_nats == found[chosen] <= next(iter(found.values()))


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_search_leaves_the_model_bit_for_bit(structure):
    state = make_state("opt", structure=structure, sparsity=0.3)
    before, removed = weights(state), state.removed
    choose_damping(state, *inputs_of(state), silent_context())
    assert state.removed is removed
    assert not any(bool(mask.any()) for mask in removed.values())
    assert_unchanged(state, before)


def test_cancelled_search_leaves_the_model_bit_for_bit(monkeypatch):
    state = make_state(sparsity=0.3)
    inputs, before = inputs_of(state), weights(state)

    def cancelled(*_):
        raise RunCancelled

    monkeypatch.setattr(damping, "evaluate_held_out", cancelled)
    with pytest.raises(RunCancelled):
        choose_damping(state, *inputs, silent_context())
    assert_unchanged(state, before)


@pytest.fixture
def searches(monkeypatch):
    """Record the arguments of each search: start, moves, maximum."""
    seen, run_search = [], damping.search

    def recorded(trial_at, *arguments):
        seen.append(arguments)
        return run_search(trial_at, *arguments)

    monkeypatch.setattr(damping, "search", recorded)
    return seen


UPDATE, COST, LESS_COST = ((0, -1), (0, 1)), ((-1, 0), (1, 0)), ((-1, 0),)
LAST = len(GRID) - 1
FREE = (LAST, LAST)


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURE_CASES)
def test_later_shots_start_at_the_previous_choice_and_never_raise_the_cost_damping(
    searches, structure
):
    state = make_state(structure=structure, sparsity=0.3)
    before = DampingChoice(GRID[1], GRID[2], 7)
    for one in (None, before):
        choose_damping(state, *inputs_of(state, one), silent_context())
    (start, moves, _), (later_start, later_moves, _) = searches
    assert start == ((2, 3) if structure in SPARSE else (3, 3))
    assert moves == (UPDATE, COST)
    assert later_start == (1, 2)
    assert later_moves == (UPDATE, LESS_COST)


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURE_CASES)
def test_heavy_damping_is_for_the_last_shot(searches, structure):
    state = make_state(structure=structure, sparsity=0.3)
    for is_last in (False, True):
        choose_damping(state, *inputs_of(state, is_last=is_last), silent_context())
    before, last = [tuple(GRID[index] for index in maximum) for *_, maximum in searches]
    assert before == ((1.0, 0.1) if structure in SPARSE else (0.1, 0.1))
    assert last == (1.0, 1.0)


def test_search_is_a_stage_of_its_shot():
    state, recorder = make_state(sparsity=0.3), Recorder()
    choose_damping(state, *inputs_of(state), recorder.context)
    assert recorder.events[0] == StageStarted(Stage.DAMPING, 1)


def test_damping_that_leaves_a_factor_indefinite_is_skipped(monkeypatch):
    state = make_state(sparsity=0.3)
    select = damping.selection

    def fails_where_small(state, factors, pruning, budget, check):
        if pruning.cost_damping <= 0.1:  # includes the start of the search
            raise CurvatureError("not positive definite")
        return select(state, factors, pruning, budget, check)

    monkeypatch.setattr(damping, "selection", fails_where_small)
    choice = choose_damping(state, *inputs_of(state, is_last=False), silent_context())
    assert choice.cost > 0.1
    assert choice.update <= 0.1  # did not cause the failure
    assert math.isfinite(choice.held_out_nats)


def test_held_out_divergence_of_a_broken_model_is_infinite():
    state = make_state(sparsity=0.3)
    state.loaded.model.lm_head.weight.fill_(torch.nan)
    trial = evaluate_held_out(state.loaded.model, state.references.held_out)
    assert trial.divergence == math.inf


def test_error_is_raised_if_no_damping_works(monkeypatch):
    state = make_state(sparsity=0.3)
    inputs, before = inputs_of(state), weights(state)
    monkeypatch.setattr(damping, "evaluate_held_out", lambda *_: Trial(None))
    with pytest.raises(CurvatureError, match=r"None of the \d+ dampings") as error:
        choose_damping(state, *inputs, silent_context())
    assert error.value.hint
    assert_unchanged(state, before)


BOTH = (UPDATE, COST)
FAILED = Trial(None)


def trial_of(loss, noise=0.0):
    """Return a trial of 1,000 tokens; its own noise gives differences an error."""
    drawn = torch.Generator().manual_seed(round(1e6 * loss) % 2**31)
    of_tokens = torch.randn(1_000, generator=drawn, dtype=torch.float64)
    return Trial(loss + noise * (of_tokens - of_tokens.mean()))


def test_difference_counts_if_it_exceeds_its_standard_error():
    clear, noisy = trial_of(1.0), trial_of(1.0, noise=10.0)
    assert clear.is_better_beyond_chance(trial_of(1.01))
    assert not clear.is_better_beyond_chance(trial_of(0.99))
    assert not clear.is_better_beyond_chance(clear)
    # Its standard error is 10 / sqrt(1,000) = 0.32.
    assert not noisy.is_better_beyond_chance(trial_of(1.2))
    assert noisy.is_better_beyond_chance(trial_of(1.5))
    assert clear.is_better_beyond_chance(FAILED)
    assert not FAILED.is_better_beyond_chance(FAILED)


@pytest.mark.parametrize("start", [(3, 3), (0, 0), (LAST, LAST), (0, LAST)])
@pytest.mark.parametrize("best", [(0, 0), (LAST, LAST), (1, 4), (3, 3), (5, 0)])
def test_search_finds_the_minimum_of_a_bowl(start, best):
    def trial(point):
        return trial_of((point[0] - best[0]) ** 2 + (point[1] - best[1]) ** 2)

    trials, chosen = search(trial, start, BOTH, FREE)
    assert chosen == best
    assert len(trials) < len(GRID) ** 2


def test_search_stays_at_its_start_if_differences_are_noise():
    def trial(point):
        return trial_of(1.0 - 0.01 * sum(point), noise=5.0)

    trials, chosen = search(trial, (3, 3), (UPDATE,), FREE)
    assert chosen == (3, 3)
    assert set(trials) == {(3, 3), (3, 2), (3, 4)}


@pytest.mark.parametrize("axis", [COST, UPDATE])
def test_damping_does_not_exceed_its_maximum(axis):
    def point_at(place):
        return (place, 3) if axis is COST else (3, place)

    def trial(point):
        return trial_of(float(-point[axis is UPDATE]))  # the more, the better

    limits = (3, LAST) if axis is COST else (LAST, 3)
    trials, chosen = search(trial, point_at(2), BOTH, limits)
    assert chosen == (3, 3)
    assert max(point[axis is UPDATE] for point in trials) == 3
    assert search(trial, point_at(2), BOTH, FREE)[1] == point_at(LAST)


def test_damping_is_raised_until_the_loss_is_finite_and_no_further():
    def trial(point):
        return trial_of(-0.01 * point[1]) if point[0] >= 4 else FAILED

    # Both are raised together; then the update damping is lowered to its maximum.
    assert search(trial, (2, 3), BOTH, (3, 3))[1] == (4, 3)
    assert search(trial, (2, 3), (UPDATE, LESS_COST), (3, 3))[1] == (4, 3)


def test_cost_damping_is_lowered_again_if_the_update_failed():
    def trial(point):
        return trial_of(-0.01 * sum(point)) if point[1] >= 4 else FAILED

    assert search(trial, (3, 3), BOTH, (3, 3))[1] == (3, 4)


def test_return_to_the_maximum_does_not_ruin_the_model():
    losses = {(4, 4): 3.5, (4, 3): 50.0, (3, 4): 3.55}

    def trial(point):
        return trial_of(losses[point]) if point in losses else FAILED

    assert search(trial, (3, 3), (UPDATE,), (3, 3))[1] == (4, 4)
    assert search(trial, (3, 3), BOTH, (3, 3))[1] == (3, 4)
