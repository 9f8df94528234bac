"""Undo leads back draft by draft, and a gesture is one step of however many edits."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.job.draft import Draft, Drafts
from tests.helpers.configs import pruning_config


def draft(**pruning):
    return Draft(RunConfig(pruning=pruning_config(**pruning)), None, True)


A, B, C = draft(shots=1), draft(shots=2), draft(shots=3)
SLOW = 100.0  # seconds


def test_edits_are_undone_and_redone_one_by_one():
    drafts = Drafts().with_edit(A, B, 0).with_edit(B, C, SLOW)
    back, drafts = drafts.undone(C)
    assert back == B
    back, drafts = drafts.undone(B)
    assert back == A
    assert not drafts.can_undo
    forth, drafts = drafts.redone(A)
    assert forth == B
    forth, drafts = drafts.redone(B)
    assert forth == C
    assert not drafts.can_redo


def test_a_drag_of_a_slider_is_one_step():
    drafts, before = Drafts(), draft(sparsity=0.1)
    for step in range(11, 60):
        after = draft(sparsity=step / 100)
        drafts = drafts.with_edit(before, after, step / 60)
        before = after
    back, drafts = drafts.undone(before)
    assert back == draft(sparsity=0.1)
    assert not drafts.can_undo


def test_edits_of_different_settings_or_after_a_pause_are_steps_of_their_own():
    drafts = Drafts().with_edit(A, B, 0).with_edit(B, C, SLOW)
    assert len(drafts.past) == 2
    both = replace(C, config=replace(C.config, pruning=pruning_config(sparsity=0.2)))
    assert len(drafts.with_edit(C, both, SLOW).past) == 3


def test_an_edit_after_an_undo_forgets_what_was_undone():
    drafts = Drafts().with_edit(A, B, 0)
    _, drafts = drafts.undone(B)
    drafts = drafts.with_edit(A, C, 0.1)
    assert not drafts.can_redo
    assert drafts.undone(C)[0] == A


def test_what_changes_nothing_is_no_edit():
    assert Drafts().with_edit(A, A, 0) == Drafts()
