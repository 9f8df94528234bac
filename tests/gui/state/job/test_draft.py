"""Undo and redo of drafts; a continuous gesture is one step."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_gui.state.app import with_computer
from surgeon_gui.state.job.draft import Draft, DraftHistory
from surgeon_gui.state.job.editing import draft_of, with_config, with_draft
from surgeon_gui.state.request import RequestKind
from tests.helpers.configs import pruning_config
from tests.helpers.queued_runs import ready_state


def draft(*structure, **pruning):
    return Draft(RunConfig(pruning=pruning_config(*structure, **pruning)), None, True)


PRUNING = pruning_config(shots=1)
A, B, C = draft(shots=1), draft(shots=2), draft(shots=3)
LATER = 100.0  # seconds


def test_undo_and_redo_restore_one_edit_at_a_time():
    history = DraftHistory().with_edit(A, B, 0).with_edit(B, C, LATER)
    restored, history = history.undo(C)
    assert restored == B
    restored, history = history.undo(B)
    assert restored == A
    assert not history.past
    restored, history = history.redo(A)
    assert restored == B
    restored, history = history.redo(B)
    assert restored == C
    assert not history.future


@pytest.mark.parametrize(
    ("after", "step"),
    [
        (B, "Shots"),
        (draft(shots=2, sparsity=0.5), "Sparsity and others"),
        (draft(Structure.HEADS, shots=1), "What to prune"),
        (replace(A, config=RunConfig(ModelConfig("other"), pruning=PRUNING)), "Model"),
        (replace(A, model_is_chosen=False), "Model"),
        (replace(B, own_config=A.config), "Preset"),
    ],
)
def test_undo_and_redo_name_their_step(after, step):
    history = DraftHistory()
    assert history.undo_step(A) == history.redo_step(A) == ""
    history = history.with_edit(A, after, 0)
    assert history.undo_step(after) == step
    before, history = history.undo(after)
    assert history.undo_step(before) == ""
    assert history.redo_step(before) == step


def test_slider_drag_is_one_step():
    history, before = DraftHistory(), draft(sparsity=0.1)
    for step in range(11, 60):
        after = draft(sparsity=step / 100)
        history = history.with_edit(before, after, step / 60)
        before = after
    restored, history = history.undo(before)
    assert restored == draft(sparsity=0.1)
    assert not history.past


def test_edits_of_other_settings_or_after_a_pause_are_separate_steps():
    history = DraftHistory().with_edit(A, B, 0).with_edit(B, C, LATER)
    assert len(history.past) == 2
    both = replace(C, config=replace(C.config, pruning=pruning_config(sparsity=0.2)))
    assert len(history.with_edit(C, both, LATER).past) == 3


def test_edit_after_undo_clears_redo():
    history = DraftHistory().with_edit(A, B, 0)
    _, history = history.undo(B)
    history = history.with_edit(A, C, 0.1)
    assert not history.future
    assert history.undo(C)[0] == A


def test_edit_without_change_is_ignored():
    assert DraftHistory().with_edit(A, A, 0) == DraftHistory()


def test_undo_restores_what_the_engine_has_read_of_the_draft(tmp_path):
    state = ready_state(tmp_path)
    model, before = state.model, draft_of(state)
    state = with_config(state, RunConfig(ModelConfig("another")))
    assert state.model is None
    after = draft_of(state)
    history = DraftHistory().with_edit(before, after, 0)
    state = replace(state, draft_history=history, is_fitting=True)
    elsewhere = with_computer(state, "gpu-box")  # which may have another file there
    state = with_draft(state, *history.undo(after))
    assert state.model is model
    assert not state.is_fitting
    redone = with_draft(state, *state.draft_history.redo(draft_of(state)))
    assert redone.request(RequestKind.INSPECTION).id == ""
    elsewhere = with_draft(elsewhere, *elsewhere.draft_history.undo(after))
    assert elsewhere.model is None
