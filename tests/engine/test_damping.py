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
    Task,
    choose_damping,
    descend,
    held_out_loss,
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


def loss_with(patient, task, cost, update) -> float:
    """By hand: remove with these dampings, look at the held-out loss, put all back."""
    model = patient.loaded.model
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    pruning = with_damping(patient.config.pruning, cost, update)
    chosen = selection(patient, task.factors, pruning, task.budget)
    remove(patient, task.factors, pruning, chosen.removed)
    loss = held_out_loss(patient, task.held)
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
def test_the_choice_is_the_best_that_was_tried(monkeypatch, structure):
    patient = patient_of(structure=structure, sparsity=0.3)
    task = task_of(patient)
    tried = {}
    search = damping.descend

    def watched(*arguments):
        tried.update(search(*arguments))
        return tried

    monkeypatch.setattr(damping, "descend", watched)
    choice = choose_damping(patient, task, quiet())
    assert choice.tried == len(tried) > 1
    again = {
        place: loss_with(patient, task, GRID[place[0]], GRID[place[1]])
        for place in tried
    }
    assert tried == again
    best = min(again, key=again.__getitem__)
    assert (choice.cost, choice.update) == (GRID[best[0]], GRID[best[1]])
    assert choice.held_out_loss == again[best]


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

    monkeypatch.setattr(damping, "held_out_loss", cancelled)
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
    assert from_corner.held_out_loss <= loss_with(patient, task, GRID[-1], GRID[0])


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
    assert held_out_loss(patient, random_windows(2)) == math.inf


def test_where_no_damping_works_a_sentence_says_so(monkeypatch):
    patient = patient_of(sparsity=0.3)
    task, before = task_of(patient), weights(patient)
    monkeypatch.setattr(damping, "held_out_loss", lambda *_: math.inf)
    with pytest.raises(CurvatureError, match=r"None of the \d+ dampings") as error:
        choose_damping(patient, task, quiet())
    assert error.value.hint
    for name, parameter in weights(patient).items():
        assert torch.equal(parameter, before[name])


UPDATE = ((0, -1), (0, 1))
COST = ((-1, 0), (1, 0))
LAST = len(GRID) - 1


def test_where_little_damping_fails_more_is_tried():
    def loss(place):
        return 1.0 if place[1] == LAST else math.inf

    losses = descend(loss, (0, 0), UPDATE + COST)
    assert min(losses, key=losses.__getitem__)[1] == LAST


@pytest.mark.parametrize("start", [(3, 3), (0, 0), (LAST, LAST), (0, LAST)])
@pytest.mark.parametrize("best", [(0, 0), (LAST, LAST), (1, 4), (3, 3), (5, 0)])
def test_a_bowl_is_descended_to_its_ground(start, best):
    def loss(place):
        return (place[0] - best[0]) ** 2 + (place[1] - best[1]) ** 2

    losses = descend(loss, start, UPDATE + COST)
    assert min(losses, key=losses.__getitem__) == best
    assert len(losses) < len(GRID) ** 2


def test_no_place_is_tried_twice_and_none_lies_outside():
    tried = []

    def loss(place):
        tried.append(place)
        return float(sum(place))

    losses = descend(loss, (1, 2), UPDATE + COST)
    assert len(tried) == len(set(tried)) == len(losses)
    assert all(0 <= index <= LAST for place in tried for index in place)


def test_a_flat_loss_is_not_searched_beyond_its_neighbours():
    losses = descend(lambda place: 1.0, (3, 3), UPDATE)
    assert losses == {(3, 3): 1.0, (3, 2): 1.0, (3, 4): 1.0}
    assert min(losses, key=losses.__getitem__) == (3, 3)  # where it began
