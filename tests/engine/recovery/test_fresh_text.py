"""Each epoch of a training reads new text."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from surgeon_engine.api.messages.commands import Cancel, StopAndKeep
from surgeon_engine.api.messages.run import HeldOutMeasured, Progressed
from surgeon_engine.base.errors import RunCancelled
from surgeon_engine.evaluation.fidelity import reference_of
from surgeon_engine.planning.constants import EPOCH_OWN
from surgeon_engine.planning.windows import shipped_of_epoch
from surgeon_engine.recovery import distillation
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.fresh_text import FreshText
from surgeon_engine.recovery.judge import Judge, predictions
from surgeon_engine.runtime.hidden_store import HiddenStore
from tests.engine.recovery.test_distillation import state_of
from tests.engine.recovery.test_refit import original_of, remove_some, text
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import Recorder

USERS, SHIPPED = 6, 2  # among the 24 windows of the refit and of each epoch
LATER = 16  # shipped ones of an epoch: all of general text but an eighth

pytestmark = pytest.mark.slow


def fresh_text(state, seed=0):
    """Return the text of a state whose model is the original as yet."""
    original, windows = original_of(state), text().fitted.windows
    store = HiddenStore(state.loaded.device)
    more = torch.arange(2 * LATER).unsqueeze(1)
    pool = torch.cat([windows[-SHIPPED:], more.expand(-1, windows.shape[1])])
    users, own = list(windows[:USERS, None]), windows[USERS:-SHIPPED]
    return FreshText(original, users, own, pool, SHIPPED, 4, seed, store)


def pruned_and_text():
    """Return a pruned model, and the text of its original."""
    state = state_of()
    fresh = fresh_text(state)
    remove_some(state)
    return state, fresh


def test_most_general_text_of_later_epochs_is_shipped_until_it_is_used_up():
    fresh = fresh_text(state_of())
    last = [fresh.of_epoch(epoch, int).windows[-LATER:] for epoch in (1, 2)]
    assert torch.equal(torch.cat(last), fresh.pool[SHIPPED:])
    found = fresh.of_epoch(3, int).windows
    assert torch.equal(found[-SHIPPED:], fresh.pool[:SHIPPED])
    written = {tuple(row) for row in found[USERS:-SHIPPED].tolist()}
    assert len(written) == len(found) - USERS - SHIPPED == 16
    assert written.isdisjoint(tuple(row) for row in fresh.own.tolist())


@pytest.mark.parametrize(
    ("general", "first", "pool"), [(56, 28, 112), (56, 28, 49), (16, 8, 100), (8, 0, 0)]
)
def test_no_shipped_window_is_read_again_while_others_are_unread(general, first, pool):
    times, counts = torch.zeros(pool), []
    times[:first] += 1
    for epoch in range(1, 12):
        places = shipped_of_epoch(epoch, general, first, pool)
        for place in places:
            times[place % pool] += 1
        counts.append(len(places))
        assert not pool or times.max() - times.min() <= 1
    most = general - general // EPOCH_OWN
    new = (pool - first) // most
    assert counts == [most] * new + [first] * (11 - new)


def test_epochs_have_the_users_windows_and_new_ones_of_the_original():
    fresh = fresh_text(state_of())
    users, written, held = torch.cat(list(fresh.users)), list[Tensor](), list[Tensor]()
    fresh.users = list(torch.stack([users, users.flip(1)], dim=1))
    for epoch in (1, 2):
        found = fresh.of_epoch(epoch, int)
        assert not held  # dropped
        held = found.hidden
        assert len(found.windows) == USERS + 16 + SHIPPED
        assert torch.equal(found.windows[:USERS], (users, users.flip(1))[epoch % 2])
        expected = reference_of(fresh.original.model, found.windows, 4, int)
        for hidden, wanted in zip(found.hidden, expected.hidden, strict=True):
            torch.testing.assert_close(hidden, wanted, rtol=0.02, atol=0.02)
        written.append(found.windows[USERS:-LATER])
    assert torch.equal(written[0], fresh.own[[0, 8]])  # used by the refit
    rows = {tuple(row) for windows in written for row in windows.tolist()}
    assert list(map(len, written)) == [2, 2]
    assert len(rows) == 2 + 2
    again, other = fresh_text(state_of()), fresh_text(state_of(), seed=1)
    assert torch.equal(again.of_epoch(2, int).windows[USERS:-LATER], written[1])
    assert not torch.equal(other.of_epoch(2, int).windows[USERS:-LATER], written[1])


def train(state, fresh, context=None, **settings):
    recovery = replace(state.config.recovery, **settings)
    state.config = replace(state.config, recovery=recovery)
    context = context or silent_context()
    held_out = predictions(fresh.original.model, text().held_out, int)
    model = state.loaded.model
    judge = Judge(model, held_out, context, model.dtype)
    return distil(state, fresh, judge, judge.divergence(), context)


def test_training_on_new_text_leaves_the_original_as_it_is(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    state, fresh = pruned_and_text()
    norm = fresh.original.model.model.norm
    norm.weight.data = state.loaded.model.model.norm.weight
    before = norm.weight.clone()
    recorder, read, of_epoch = Recorder(), [], FreshText.of_epoch
    monkeypatch.setattr(
        FreshText, "of_epoch", lambda *given: read.append(given[1]) or of_epoch(*given)
    )
    training = train(state, fresh, recorder.context, epochs=3.0)
    assert training.steps == 36
    assert read == [1, 2, 3]
    assert training.after < training.before
    assert torch.equal(norm.weight, before)
    assert fresh.original is None  # released
    assert not torch.equal(state.loaded.model.model.norm.weight, before)
    assert [each.done for each in recorder.of(HeldOutMeasured)] == [0, 9, 18, 27, 36]


@pytest.mark.parametrize(("epochs", "flat_after"), [(10.0, 5), (60.0, 10)])
def test_training_that_gains_nothing_ends_early(epochs, flat_after, monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 1e-9)
    rates = []
    monkeypatch.setattr(
        distillation, "rate_at", lambda *args: rates.append(args[2]) or 1e-9
    )
    state, fresh = pruned_and_text()
    training = train(state, fresh, epochs=epochs)
    steps = 12 * flat_after  # it is measured at the end of each epoch
    assert training.steps == steps + steps // 3
    assert rates[-1] == pytest.approx(1.0, abs=0.06)  # the schedule is at its end
    steps = [after - before for before, after in itertools.pairwise(rates)]
    assert 0 < min(steps) < max(steps) < 0.05  # it has no jump


def test_training_lasts_as_long_as_the_settings_say(monkeypatch):
    rates = []
    monkeypatch.setattr(
        distillation, "rate_at", lambda *args: rates.append(args[2]) or 1e-4
    )
    seconds = property(lambda _: 12.0 * len(rates))
    monkeypatch.setattr(distillation._Distillation, "_elapsed", seconds)
    monkeypatch.setattr(distillation, "_FLAT_GAIN", -1.0)  # it is never flat
    state, fresh = pruned_and_text()
    recorder = Recorder()
    training = train(state, fresh, recorder.context, epochs=1.0, minutes=10.0)
    assert training.steps == 51
    assert rates == pytest.approx([step / 50 for step in range(51)])
    *_, first, last = recorder.of(HeldOutMeasured)
    assert (first.done, first.total) == (48, 50)
    assert last.done == last.total == 51
    assert [each.done for each in recorder.of(Progressed)][-1] == distillation._PARTS


def test_training_makes_one_step_in_the_shortest_time():
    state, fresh = pruned_and_text()
    assert train(state, fresh, minutes=1e-9).steps == 1


def test_cancel_is_obeyed_between_two_steps():
    state, fresh = pruned_and_text()
    recorder, steps = Recorder(), []

    def step(*_):
        steps.append(recorder.context.handle(Cancel(run="test")))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunCancelled):
        patch.setattr(distillation.WeightTraining, "step", step)
        train(state, fresh, recorder.context, minutes=10_000.0)
    assert len(steps) == 1


def test_stop_while_text_is_written_ends_the_training():
    state, fresh = pruned_and_text()
    recorder = Recorder()

    def stop(event):
        if isinstance(event, HeldOutMeasured) and event.done == 12:
            recorder.context.handle(StopAndKeep(run="test"))

    recorder.react = stop
    training = train(state, fresh, recorder.context, epochs=100.0)
    assert training.steps <= 13
    assert recorder.of(HeldOutMeasured)[-1].done == training.steps
