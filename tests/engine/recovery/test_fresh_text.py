"""Each epoch of a long training reads new text, which the original writes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import HeldOutMeasured, Progressed
from surgeon_engine.evaluation.fidelity import reference_of
from surgeon_engine.recovery import distillation
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.fresh_text import FreshText
from surgeon_engine.recovery.judge import Judge
from tests.engine.recovery.test_distillation import state_of
from tests.engine.recovery.test_refit import original_of, remove_some, text
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import Recorder

USERS = 6


def fresh_text(state, seed=0):
    """Return the text of a state whose model is the original as yet."""
    original, windows = original_of(state), text().fitted.windows
    first = reference_of(original.model, windows, 4, int)
    return FreshText(original, first, windows[:USERS], seed)


def test_epochs_have_the_users_windows_and_new_ones_of_the_original():
    fresh = fresh_text(state_of())
    first, *others = (fresh.of(epoch, int) for epoch in range(3))
    assert first is fresh.first
    for each in others:
        assert each.windows.shape == first.windows.shape
        assert torch.equal(each.windows[:USERS], fresh.users)
        expected = reference_of(fresh.original.model, each.windows, 4, int)
        for found, wanted in zip(each.hidden, expected.hidden, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)
    written = [each.windows[USERS:] for each in (first, *others)]
    rows = {tuple(row) for windows in written for row in windows.tolist()}
    assert len(rows) == 3 * len(written[0])
    assert torch.equal(fresh.of(1, int).windows, others[0].windows)  # as it was kept
    assert not torch.equal(fresh_text(state_of(), 1).of(1, int).windows, written[1])


def train(state, fresh, context=None, **settings):
    recovery = replace(state.config.recovery, **settings)
    state.config = replace(state.config, recovery=recovery)
    context = context or silent_context()
    judge = Judge.of(fresh.original.model, state.loaded.model, text().held_out, context)
    return distil(state, fresh, judge, judge.before, context)


@pytest.mark.slow
def test_training_on_new_text_leaves_the_original_as_it_is(monkeypatch):
    monkeypatch.setattr(distillation, "_LONG_RATE", 3e-3)
    state = state_of()
    fresh = fresh_text(state)
    fresh.original.model.model.norm.weight.data = state.loaded.model.model.norm.weight
    before = fresh.original.model.model.norm.weight.clone()
    remove_some(state)
    recorder = Recorder()
    training = train(state, fresh, recorder.context, epochs=3.0)
    assert training.steps == 36
    assert training.after < training.before
    assert torch.equal(fresh.original.model.model.norm.weight, before)
    assert not torch.equal(state.loaded.model.model.norm.weight, before)
    assert [each.done for each in recorder.of(HeldOutMeasured)] == [0, 9, 18, 27, 36]


@pytest.mark.slow
def test_training_that_gains_nothing_ends_early(monkeypatch):
    monkeypatch.setattr(distillation, "_LONG_RATE", 1e-9)
    rates = []
    monkeypatch.setattr(
        distillation, "rate_at", lambda *args: rates.append(args[2]) or 1e-9
    )
    state = state_of()
    fresh = fresh_text(state)
    remove_some(state)
    training = train(state, fresh, epochs=100.0)
    # Five checks, at the ends of epochs of 12 steps, then a third of them more.
    assert training.steps == 60 + 20
    assert rates[-1] == pytest.approx(1.0, abs=0.06)  # the schedule is at its end
    assert rates == sorted(rates)


@pytest.mark.slow
def test_training_lasts_as_long_as_the_settings_say(monkeypatch):
    rates = []
    monkeypatch.setattr(
        distillation, "rate_at", lambda *args: rates.append(args[2]) or 1e-4
    )
    seconds = property(lambda _: 12.0 * len(rates))
    monkeypatch.setattr(distillation._Distillation, "_elapsed", seconds)
    monkeypatch.setattr(distillation, "_FLAT_GAIN", -1.0)  # it is never flat
    state = state_of()
    fresh = fresh_text(state)
    remove_some(state)
    recorder = Recorder()
    training = train(state, fresh, recorder.context, epochs=1.0, minutes=10.0)
    assert training.steps == 51
    assert rates == pytest.approx([step / 50 for step in range(51)])
    *_, first, last = recorder.of(HeldOutMeasured)
    assert (first.done, first.total) == (48, 50)
    assert last.done == last.total == 51
    assert [each.done for each in recorder.of(Progressed)][-1] == distillation._PARTS


def test_stop_while_text_is_written_ends_the_training():
    state = state_of()
    fresh = fresh_text(state)
    remove_some(state)
    recorder = Recorder()

    def stop(event):
        if isinstance(event, HeldOutMeasured) and event.done == 12:
            recorder.context.handle(StopAndKeep(run="test"))

    recorder.react = stop
    training = train(state, fresh, recorder.context, epochs=100.0)
    assert training.steps <= 13
    assert recorder.of(HeldOutMeasured)[-1].done == training.steps
