"""Marks in the protection tree and the patterns they produce."""

from __future__ import annotations

import pytest

from surgeon_gui.state.job.protections import protected_layers, with_protection
from tests.helpers.fake_engine import model_summary

LAYERS = model_summary().layers
FIRST = "model.layers.0.mlp.down_proj"
CHOSEN = ["block 0", "block 5", "mlp.down_proj", FIRST]
PATTERNS = [(), ("block *",), ("*.down_proj", "block 1"), ("mlp.*",), (FIRST,)]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("pattern", CHOSEN)
def test_with_protection_changes_exactly_the_chosen_layers(patterns, pattern):
    before, chosen = (
        protected_layers(patterns, LAYERS),
        protected_layers([pattern], LAYERS),
    )
    on = with_protection(patterns, pattern, LAYERS, is_protected=True)
    assert protected_layers(on, LAYERS) == before | chosen
    off = with_protection(patterns, pattern, LAYERS, is_protected=False)
    assert protected_layers(off, LAYERS) == before - chosen


def test_with_protection_merges_patterns_and_keeps_wider_ones():
    on = with_protection((FIRST,), "block 0", LAYERS, is_protected=True)
    assert on == ("block 0",)
    assert with_protection(("block *",), FIRST, LAYERS, is_protected=True) == (
        "block *",
    )
    kept = with_protection(
        ("*.up_proj", "block 3"), "block 3", LAYERS, is_protected=False
    )
    assert "block 3" not in kept
    all_but_one = with_protection(("*",), "mlp.down_proj", LAYERS, is_protected=False)
    assert len(all_but_one) == 6  # the other kinds
