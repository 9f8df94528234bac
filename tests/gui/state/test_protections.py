"""Marks in the protection tree and the patterns they produce."""

from __future__ import annotations

import pytest

from surgeon_gui.state.job.protections import protected, with_choice
from tests.helpers.fake_engine import model_summary

LAYERS = model_summary().layers
FIRST = "model.layers.0.mlp.down_proj"
CHOICES = ["block 0", "block 5", "mlp.down_proj", FIRST]
PATTERNS = [(), ("block *",), ("*.down_proj", "block 1"), ("mlp.*",), (FIRST,)]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("choice", CHOICES)
def test_with_choice_changes_exactly_the_chosen_layers(patterns, choice):
    before, chosen = protected(patterns, LAYERS), protected([choice], LAYERS)
    on = with_choice(patterns, choice, LAYERS, is_protected=True)
    assert protected(on, LAYERS) == before | chosen
    off = with_choice(patterns, choice, LAYERS, is_protected=False)
    assert protected(off, LAYERS) == before - chosen


def test_with_choice_keeps_patterns_short_and_keeps_those_of_the_user():
    on = with_choice((FIRST,), "block 0", LAYERS, is_protected=True)
    assert on == ("block 0",)
    assert with_choice(("block *",), FIRST, LAYERS, is_protected=True) == ("block *",)
    kept = with_choice(("*.up_proj", "block 3"), "block 3", LAYERS, is_protected=False)
    assert "block 3" not in kept
    all_but_one = with_choice(("*",), "mlp.down_proj", LAYERS, is_protected=False)
    assert len(all_but_one) == 6  # the other kinds
