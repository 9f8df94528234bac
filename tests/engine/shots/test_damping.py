"""A damping is left for another where held-out windows can tell that it is better."""

from __future__ import annotations

import math

import pytest
import torch

from surgeon_engine.api.config.pruning import SPARSE, Structure
from surgeon_engine.api.errors import CurvatureError
from surgeon_engine.api.messages.run import DampingChoice, Stage, StageStarted
from surgeon_engine.evaluation.held_out import Trial, held_out_loss, split
from surgeon_engine.pruning.measure_curvature import measure, of_units
from surgeon_engine.runtime.run_context import RunCancelled, RunContext
from surgeon_engine.shots import damping
from surgeon_engine.shots.damping import (
    GRID,
    DampingSearch,
    choose_damping,
    search,
    with_damping,
)
from surgeon_engine.shots.selection import remove, selection
from tests.helpers.pruning_states import quiet, random_windows, state_of, weights

STRUCTURES = (
    Structure.HEADS_AND_NEURONS,
    Structure.ROWS_AND_COLUMNS,
    Structure.ELEMENTS,
    Structure.N_M,
)


def task_of(state, before=None, *, is_last=True) -> DampingSearch:
    fit, held = split(state.windows.calibration)
    factors = measure(state, of_units(state, fit), quiet(), 1)
    return DampingSearch(factors, held, state.goal.removed, 1, is_last, before)


def loss_with(state, task, cost, update) -> float:
    """By hand: remove with these dampings, look at the held-out loss, put all back."""
    model = state.loaded.model
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    pruning = with_damping(state.config.pruning, cost, update)
    chosen = selection(state, task.factors, pruning, task.budget)
    remove(state, task.factors, pruning, chosen.removed)
    loss = held_out_loss(
        state.loaded.model, task.held_out, state.config.calibration.batch
    )
    model.load_state_dict(kept)
    return loss


@pytest.mark.parametrize("count", [4, 5, 8, 11, 64])
def test_held_out_windows_are_a_quarter_and_are_not_measured(count):
    windows = torch.arange(count * 3).view(count, 3)
    fit, held = split(windows)
    assert len(held) == count // 4
    assert torch.equal(torch.cat([fit, held]), windows)  # each in one part


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_windows_are_not_split(count):
    assert split(torch.zeros(count, 8)) is None


@pytest.mark.parametrize("structure", STRUCTURES)
def test_what_was_tried_is_what_removing_with_it_comes_to(monkeypatch, structure):
    state = state_of(structure=structure, sparsity=0.3)
    task = task_of(state)
    found = {}
    look = damping.search

    def watched(*arguments):
        tried, chosen = look(*arguments)
        found.update({place: trial.loss for place, trial in tried.items()})
        return tried, chosen

    monkeypatch.setattr(damping, "search", watched)
    choice = choose_damping(state, task, quiet())
    assert choice.tried == len(found) > 1
    assert found == {
        place: loss_with(state, task, GRID[place[0]], GRID[place[1]]) for place in found
    }
    chosen = (GRID.index(choice.cost), GRID.index(choice.update))
    assert choice.held_out_loss == found[chosen] <= next(iter(found.values()))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_search_leaves_every_bit_of_the_model(structure):
    state = state_of("opt", structure=structure, sparsity=0.3)
    before, removed = weights(state), state.removed
    choose_damping(state, task_of(state), quiet())
    assert state.removed is removed
    assert not any(bool(mask.any()) for mask in removed.values())
    for name, parameter in weights(state).items():
        assert torch.equal(parameter, before[name])


def test_a_cancelled_search_leaves_every_bit_of_the_model(monkeypatch):
    state = state_of(sparsity=0.3)
    task, before = task_of(state), weights(state)

    def cancelled(*_):
        raise RunCancelled

    monkeypatch.setattr(damping, "evaluate_held_out", cancelled)
    with pytest.raises(RunCancelled):
        choose_damping(state, task, quiet())
    for name, parameter in weights(state).items():
        assert torch.equal(parameter, before[name])


@pytest.fixture
def searches(monkeypatch):
    """What each search was asked: where to begin, which moves, how much at most."""
    seen, look = [], damping.search

    def watched(trial_at, *asked):
        seen.append(asked)
        return look(trial_at, *asked)

    monkeypatch.setattr(damping, "search", watched)
    return seen


UPDATE, COST, LESS_COST = ((0, -1), (0, 1)), ((-1, 0), (1, 0)), ((-1, 0),)
LAST = len(GRID) - 1
FREE = (LAST, LAST)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_later_shots_begin_at_the_choice_before_and_never_damp_the_costs_more(
    searches, structure
):
    state = state_of(structure=structure, sparsity=0.3)
    before = DampingChoice(GRID[1], GRID[2], 7)
    for one in (None, before):
        choose_damping(state, task_of(state, one), quiet())
    (start, moves, _), (later_start, later_moves, _) = searches
    assert start == ((2, 3) if structure in SPARSE else (3, 3))
    assert moves == (UPDATE, COST)
    assert later_start == (1, 2)
    assert later_moves == (UPDATE, LESS_COST)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_much_damping_is_for_the_last_shot(searches, structure):
    state = state_of(structure=structure, sparsity=0.3)
    for is_last in (False, True):
        choose_damping(state, task_of(state, is_last=is_last), quiet())
    before, last = [tuple(GRID[index] for index in most) for *_, most in searches]
    assert before == ((1.0, 0.1) if structure in SPARSE else (0.1, 0.1))
    assert last == (1.0, 1.0)


def test_the_search_is_a_stage_of_its_shot():
    state = state_of(sparsity=0.3)
    events = []
    context = RunContext("test", lambda envelope: events.append(envelope.event))
    choose_damping(state, task_of(state), context)
    assert events[0] == StageStarted(Stage.DAMPING, 1)


def test_a_damping_that_makes_no_factor_definite_is_skipped(monkeypatch):
    state = state_of(sparsity=0.3)
    select = damping.selection

    def fails_where_small(state, factors, pruning, budget):
        if pruning.damping.cost <= 0.1:  # where the search begins, included
            raise CurvatureError("not positive definite")
        return select(state, factors, pruning, budget)

    monkeypatch.setattr(damping, "selection", fails_where_small)
    choice = choose_damping(state, task_of(state, is_last=False), quiet())
    assert choice.cost > 0.1
    assert choice.update <= 0.1  # which was no reason for the failure
    assert math.isfinite(choice.held_out_loss)


def test_a_removal_that_leaves_no_loss_is_as_bad_as_can_be():
    state = state_of(sparsity=0.3)
    state.loaded.model.lm_head.weight.fill_(torch.nan)
    assert (
        held_out_loss(
            state.loaded.model, random_windows(2), state.config.calibration.batch
        )
        == math.inf
    )


def test_where_no_damping_works_a_sentence_says_so(monkeypatch):
    state = state_of(sparsity=0.3)
    task, before = task_of(state), weights(state)
    monkeypatch.setattr(damping, "evaluate_held_out", lambda *_: Trial(None))
    with pytest.raises(CurvatureError, match=r"None of the \d+ dampings") as error:
        choose_damping(state, task, quiet())
    assert error.value.hint
    for name, parameter in weights(state).items():
        assert torch.equal(parameter, before[name])


BOTH = (UPDATE, COST)
FAILED = Trial(None)


def trial_of(loss, noise=0.0):
    """Of 1,000 tokens; noise that is not shared gives differences an error."""
    drawn = torch.Generator().manual_seed(round(1e6 * loss) % 2**31)
    of_tokens = torch.randn(1_000, generator=drawn, dtype=torch.float64)
    return Trial(loss + noise * (of_tokens - of_tokens.mean()))


def test_a_difference_counts_when_it_is_larger_than_its_standard_error():
    clear, noisy = trial_of(1.0), trial_of(1.0, noise=10.0)
    assert clear.is_better_beyond_chance(trial_of(1.01))
    assert not clear.is_better_beyond_chance(trial_of(0.99))
    assert not clear.is_better_beyond_chance(clear)
    # Its standard error is 10 / sqrt(1,000) = 0.32.
    assert not noisy.is_better_beyond_chance(trial_of(1.2))
    assert noisy.is_better_beyond_chance(trial_of(1.5))
    assert clear.is_better_beyond_chance(FAILED)
    assert not FAILED.is_better_beyond_chance(FAILED)


def test_noise_that_both_share_does_not_hide_a_difference():
    tokens = torch.linspace(0, 20, 100, dtype=torch.float64)
    assert Trial(tokens).is_better_beyond_chance(Trial(tokens + 0.01))


@pytest.mark.parametrize("start", [(3, 3), (0, 0), (LAST, LAST), (0, LAST)])
@pytest.mark.parametrize("best", [(0, 0), (LAST, LAST), (1, 4), (3, 3), (5, 0)])
def test_a_bowl_is_descended_to_its_ground(start, best):
    def trial(place):
        return trial_of((place[0] - best[0]) ** 2 + (place[1] - best[1]) ** 2)

    tried, chosen = search(trial, start, BOTH, FREE)
    assert chosen == best
    assert len(tried) < len(GRID) ** 2


def test_no_place_is_tried_twice_and_none_lies_outside():
    asked = []

    def trial(place):
        asked.append(place)
        return trial_of(float(sum(place)))

    tried, _ = search(trial, (1, 2), BOTH, FREE)
    assert len(asked) == len(set(asked)) == len(tried)
    assert all(0 <= index <= LAST for place in asked for index in place)


def test_where_windows_cannot_tell_the_search_stays_where_it_begins():
    def trial(place):
        return trial_of(1.0 - 0.01 * sum(place), noise=5.0)

    tried, chosen = search(trial, (3, 3), (UPDATE,), FREE)
    assert chosen == (3, 3)
    assert set(tried) == {(3, 3), (3, 2), (3, 4)}


def test_the_update_is_not_damped_beyond_the_most():
    def trial(place):
        return trial_of(float(-place[1]))  # the more, the better

    tried, chosen = search(trial, (3, 2), BOTH, (LAST, 3))
    assert chosen == (3, 3)
    assert max(place[1] for place in tried) == 3
    assert search(trial, (3, 2), BOTH, FREE)[1] == (3, LAST)


def test_the_costs_are_not_damped_beyond_the_most():
    def trial(place):
        return trial_of(float(-place[0]))  # the more, the better

    tried, chosen = search(trial, (2, 3), BOTH, (3, LAST))
    assert chosen == (3, 3)
    assert max(place[0] for place in tried) == 3
    assert search(trial, (2, 3), BOTH, FREE)[1] == (LAST, 3)


def test_where_little_damping_fails_more_is_tried_but_no_more_than_it_takes():
    def trial(place):
        return trial_of(-0.01 * place[1]) if place[0] >= 4 else FAILED

    # Both are raised together; then the update's comes back to where it may be.
    assert search(trial, (2, 3), BOTH, (3, 3))[1] == (4, 3)
    assert search(trial, (2, 3), (UPDATE, LESS_COST), (3, 3))[1] == (4, 3)


def test_the_costs_come_back_too_where_it_was_the_update_that_failed():
    def trial(place):
        return trial_of(-0.01 * sum(place)) if place[1] >= 4 else FAILED

    assert search(trial, (3, 3), BOTH, (3, 3))[1] == (3, 4)


def test_coming_back_to_the_most_may_not_ruin_the_model():
    losses = {(4, 4): 3.5, (4, 3): 50.0, (3, 4): 3.55}

    def trial(place):
        return trial_of(losses[place]) if place in losses else FAILED

    assert search(trial, (3, 3), (UPDATE,), (3, 3))[1] == (4, 4)
    assert search(trial, (3, 3), BOTH, (3, 3))[1] == (3, 4)


def test_a_start_beyond_the_most_does_not_hold_the_search():
    def trial(place):
        return trial_of((place[0] - 1) ** 2 + (place[1] - 1) ** 2)

    assert search(trial, (3, LAST), BOTH, (3, 3))[1] == (1, 1)


def test_where_everything_fails_the_most_of_both_was_tried():
    tried, chosen = search(lambda place: FAILED, (2, 4), BOTH, (3, 3))
    assert chosen == (LAST, LAST)
    assert tried[chosen].losses is None
