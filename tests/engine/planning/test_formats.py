"""Formats that no result of a run can have, with the reasons."""

import msgspec
import pytest

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    OF_EXPERTS,
    SPARSE,
    PruningConfig,
    Target,
    Widths,
)
from surgeon_engine.planning.formats import impossible_formats
from tests.helpers.configs import DENSE_COUPLED, pruning_config
from tests.helpers.fake_engine import model_summary

AUTOMATIC, COMPACT, PLAIN, MASKED, GGUF = Format


@pytest.mark.parametrize(
    ("structures", "possible"),
    [
        (SPARSE, {AUTOMATIC, MASKED, GGUF}),
        (BY_LAYER, {AUTOMATIC, COMPACT, MASKED}),
        (DENSE_COUPLED, {AUTOMATIC, COMPACT, MASKED, GGUF}),
        (OF_EXPERTS, {AUTOMATIC, COMPACT, GGUF}),
    ],
)
def test_impossible_formats_by_structure(structures, possible):
    for structure in structures:
        found = impossible_formats(pruning_config(structure), None)
        assert set(Format) - set(found) == possible
        assert all(reason.endswith(".") for reason in found.values())


def test_plain_files_require_equal_widths():
    same = pruning_config(widths=Widths.SAME)
    assert impossible_formats(same, None) == {}
    free = impossible_formats(PruningConfig(), None)
    assert 'pruning.widths = "same"' in free[PLAIN]


def test_gguf_is_impossible_for_a_family_without_such_files():
    other = msgspec.structs.replace(model_summary(), gguf_widths=None)
    found = impossible_formats(pruning_config(), other)
    assert "no GGUF files of this architecture" in found[GGUF]


def test_plain_files_are_impossible_without_an_attention_or_mlp():
    pruning = pruning_config(widths=Widths.SAME, dropped_blocks=1)
    assert impossible_formats(pruning, None) == {}
    pruning = pruning_config(widths=Widths.SAME, dropped_sublayers=1)
    reason = impossible_formats(pruning, None)[PLAIN]
    assert "has an attention and an MLP" in reason


def test_plain_files_are_impossible_if_some_layers_of_a_kind_are_protected():
    model = model_summary()
    some = pruning_config(widths=Widths.SAME, protect=("block 0",))
    model = msgspec.structs.replace(model, gguf_widths=Widths.SAME)
    reasons = impossible_formats(some, model)
    assert reasons.keys() == {PLAIN, GGUF}
    assert "some layers are protected" in reasons[PLAIN]
    kind = pruning_config(widths=Widths.SAME, protect=("self_attn.o_proj",))
    assert impossible_formats(kind, model) == {}


def test_masked_files_cannot_reach_a_size():
    sized = pruning_config(target=Target.FILE_SIZE, megabytes=8)
    assert "as large as the original" in impossible_formats(sized, None)[MASKED]
