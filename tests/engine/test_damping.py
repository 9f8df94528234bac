"""The damping is the best of what was tried on windows that were not measured."""

from __future__ import annotations

import math

import pytest
import torch

from surgeon_engine.config import Structure
from surgeon_engine.errors import CurvatureError
from surgeon_engine.events import DampingChoice, Stage, StageStarted
from surgeon_engine.session import RunCancelled, Session
from surgeon_engine.shots import damping
from surgeon_engine.shots.damping import (
    GRID,
    NO_LOSS,
    Judged,
    Task,
    choose_damping,
    descend,
    judged,
    split,
    with_damping,
)
from surgeon_engine.shots.patient import measure, of_units
from surgeon_engine.shots.removal import remove, selection
from tests.helpers.patients import patient_of, quiet, random_windows, weights

STRUCTURES = (
    Structure.HEADS_AND_NEURONS,
    Structure.ROWS_AND_COLUMNS,
    Structure.ELEMENTS,
    Structure.N_M,
)


def task_of(patient, last=None) -> Task:
    fit, held = split(patient.windows.calibration)
    factors = measure(patient, of_units(patient, fit), quiet(), 1)
    return Task(factors, held, patient.goal.removed, 1, last)


def judged_with(patient, task, cost, update) -> Judged:
    """By hand: remove with these dampings, look at the held-out loss, put all back."""
    model = patient.loaded.model
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    pruning = with_damping(patient.config.pruning, cost, update)
    chosen = selection(patient, task.factors, pruning, task.budget)
    remove(patient, task.factors, pruning, chosen.removed)
    what = judged(patient, task.held)
    model.load_state_dict(kept)
    return what


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
def test_the_choice_is_where_the_search_ended(monkeypatch, structure):
    patient = patient_of(structure=structure, sparsity=0.3)
    task = task_of(patient)
    ends = []
    search = damping.descend

    def watched(*arguments):
        ends.append(search(*arguments))
        return ends[-1]

    monkeypatch.setattr(damping, "descend", watched)
    choice = choose_damping(patient, task, quiet())
    ((best, tried),) = ends
    assert choice.tried == len(tried) > 1
    for place, what in tried.items():
        again = judged_with(patient, task, GRID[place[0]], GRID[place[1]])
        assert torch.equal(what.losses, again.losses)
    assert (choice.cost, choice.update) == (GRID[best[0]], GRID[best[1]])
    assert choice.held_out_loss == tried[best].loss


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_search_leaves_every_bit_of_the_model(structure):
    patient = patient_of("opt", structure=structure, sparsity=0.3)
    before, gone = weights(patient), patient.gone
    choose_damping(patient, task_of(patient), quiet())
    assert patient.gone is gone
    assert not any(bool(mask.any()) for mask in gone.values())
    for name, parameter in weights(patient).items():
        assert torch.equal(parameter, before[name])


def test_a_cancelled_search_leaves_every_bit_of_the_model(monkeypatch):
    patient = patient_of(sparsity=0.3)
    task, before = task_of(patient), weights(patient)

    def cancelled(*_):
        raise RunCancelled

    monkeypatch.setattr(damping, "judged", cancelled)
    with pytest.raises(RunCancelled):
        choose_damping(patient, task, quiet())
    for name, parameter in weights(patient).items():
        assert torch.equal(parameter, before[name])


def test_the_next_search_begins_at_the_last_choice():
    patient = patient_of(sparsity=0.3)
    task = task_of(patient)
    first = choose_damping(patient, task, quiet())
    again = choose_damping(patient, task_of(patient, first), quiet())
    assert again.held_out_loss <= first.held_out_loss
    corner = DampingChoice(GRID[-1], GRID[0], 7)
    from_corner = choose_damping(patient, task_of(patient, corner), quiet())
    assert (
        from_corner.held_out_loss <= judged_with(patient, task, GRID[-1], GRID[0]).loss
    )


@pytest.mark.parametrize(
    "structure", [s for s in STRUCTURES if s is not Structure.ROWS_AND_COLUMNS]
)
def test_the_damping_of_the_costs_is_chosen_for_rows_and_columns_alone(structure):
    patient = patient_of(structure=structure, sparsity=0.3)
    assert choose_damping(patient, task_of(patient), quiet()).cost == 0.01


@pytest.mark.parametrize("structure", STRUCTURES)
def test_later_shots_keep_the_damping_of_the_costs(structure):
    patient = patient_of(structure=structure, sparsity=0.3)
    last = DampingChoice(GRID[1], GRID[-1], 7)
    assert choose_damping(patient, task_of(patient, last), quiet()).cost == GRID[1]


def test_the_search_is_a_stage_of_its_shot():
    patient = patient_of(sparsity=0.3)
    events = []
    session = Session("test", lambda envelope: events.append(envelope.event))
    choose_damping(patient, task_of(patient), session)
    assert events[0] == StageStarted(Stage.DAMPING, 1)


def test_a_damping_that_makes_no_factor_definite_is_skipped(monkeypatch):
    patient = patient_of(sparsity=0.3)
    task = task_of(patient)
    search = damping.selection

    def fails_where_small(patient, factors, pruning, budget):
        if pruning.cost_damping <= 0.1:  # where the search begins, included
            raise CurvatureError("not positive definite")
        return search(patient, factors, pruning, budget)

    monkeypatch.setattr(damping, "selection", fails_where_small)
    choice = choose_damping(patient, task, quiet())
    assert choice.cost > 0.1
    assert math.isfinite(choice.held_out_loss)


def test_a_removal_that_leaves_no_loss_is_as_bad_as_can_be():
    patient = patient_of(sparsity=0.3)
    patient.loaded.model.lm_head.weight.fill_(torch.nan)
    assert judged(patient, random_windows(2)).loss == math.inf


def test_where_no_damping_works_a_sentence_says_so(monkeypatch):
    patient = patient_of(sparsity=0.3)
    task, before = task_of(patient), weights(patient)
    monkeypatch.setattr(damping, "judged", lambda *_: NO_LOSS)
    with pytest.raises(CurvatureError, match=r"None of the \d+ dampings") as error:
        choose_damping(patient, task, quiet())
    assert error.value.hint
    for name, parameter in weights(patient).items():
        assert torch.equal(parameter, before[name])


UPDATE = ((0, -1), (0, 1))
COST = ((-1, 0), (1, 0))
LAST = len(GRID) - 1


def certain(loss: float) -> Judged:
    """Every token has the same loss: any difference is more than chance."""
    return Judged(torch.full((4, 8), float(loss), dtype=torch.float64))


def test_a_difference_counts_where_it_is_more_than_its_standard_error():
    losses = torch.rand(4, 250, dtype=torch.float64, generator=torch.manual_seed(0))
    noise = torch.randn(4, 250, dtype=torch.float64, generator=torch.manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()
    error = 1 / math.sqrt(1000)
    here = Judged(losses)
    assert Judged(losses + noise - 1.01 * error).beats(here)
    assert not Judged(losses + noise - 0.99 * error).beats(here)
    assert not here.beats(here)
    assert here.beats(NO_LOSS)
    assert not NO_LOSS.beats(here)
    assert not NO_LOSS.beats(NO_LOSS)


def test_where_little_damping_fails_more_is_tried():
    def judge(place):
        return certain(1) if place[1] == LAST else NO_LOSS

    best, _ = descend(judge, (0, 0), UPDATE + COST)
    assert best[1] == LAST


@pytest.mark.parametrize("start", [(3, 3), (0, 0), (LAST, LAST), (0, LAST)])
@pytest.mark.parametrize("best", [(0, 0), (LAST, LAST), (1, 4), (3, 3), (5, 0)])
def test_a_bowl_is_descended_to_its_ground(start, best):
    def judge(place):
        return certain((place[0] - best[0]) ** 2 + (place[1] - best[1]) ** 2)

    end, tried = descend(judge, start, UPDATE + COST)
    assert end == best
    assert len(tried) < len(GRID) ** 2


def test_no_place_is_tried_twice_and_none_lies_outside():
    tried = []

    def judge(place):
        tried.append(place)
        return certain(sum(place))

    _, all_of_them = descend(judge, (1, 2), UPDATE + COST)
    assert len(tried) == len(set(tried)) == len(all_of_them)
    assert all(0 <= index <= LAST for place in tried for index in place)


def test_a_flat_loss_is_not_searched_beyond_its_neighbours():
    best, tried = descend(lambda place: certain(1), (3, 3), UPDATE)
    assert set(tried) == {(3, 3), (3, 2), (3, 4)}
    assert best == (3, 3)  # where it began


def by_chance(place) -> Judged:
    """Means that differ by less than their error; the more of both, the smaller."""
    draw = torch.manual_seed(place[1])
    noise = torch.randn(4, 250, dtype=torch.float64, generator=draw)
    return Judged(noise - noise.mean() - 1e-3 * place[1])


def test_more_damping_is_taken_for_any_gain():
    best, _ = descend(by_chance, (3, 2), UPDATE)
    assert best == (3, LAST)


def test_less_damping_is_not_taken_for_what_may_be_chance():
    def mirrored(place):
        return by_chance((place[0], LAST - place[1]))

    best, tried = descend(mirrored, (3, 3), UPDATE)
    assert tried[(3, 2)].loss < tried[(3, 3)].loss
    assert best == (3, 3)
