"""Undo and redo of drafts; a continuous gesture is one step."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.job.draft import Draft, Drafts
from tests.helpers.configs import pruning_config


def draft(**pruning):
    return Draft(RunConfig(pruning=pruning_config(**pruning)), None, True)


A, B, C = draft(shots=1), draft(shots=2), draft(shots=3)
SLOW = 100.0  # seconds


def test_undo_and_redo_go_edit_by_edit():
    drafts = Drafts().with_edit(A, B, 0).with_edit(B, C, SLOW)
    restored, drafts = drafts.undone(C)
    assert restored == B
    restored, drafts = drafts.undone(B)
    assert restored == A
    assert not drafts.can_undo
    restored, drafts = drafts.redone(A)
    assert restored == B
    restored, drafts = drafts.redone(B)
    assert restored == C
    assert not drafts.can_redo


def test_slider_drag_is_one_step():
    drafts, before = Drafts(), draft(sparsity=0.1)
    for step in range(11, 60):
        after = draft(sparsity=step / 100)
        drafts = drafts.with_edit(before, after, step / 60)
        before = after
    restored, drafts = drafts.undone(before)
    assert restored == draft(sparsity=0.1)
    assert not drafts.can_undo


def test_edits_of_other_settings_or_after_a_pause_are_separate_steps():
    drafts = Drafts().with_edit(A, B, 0).with_edit(B, C, SLOW)
    assert len(drafts.past) == 2
    both = replace(C, config=replace(C.config, pruning=pruning_config(sparsity=0.2)))
    assert len(drafts.with_edit(C, both, SLOW).past) == 3


def test_edit_after_undo_clears_redo():
    drafts = Drafts().with_edit(A, B, 0)
    _, drafts = drafts.undone(B)
    drafts = drafts.with_edit(A, C, 0.1)
    assert not drafts.can_redo
    assert drafts.undone(C)[0] == A


def test_edit_without_change_is_ignored():
    assert Drafts().with_edit(A, A, 0) == Drafts()
