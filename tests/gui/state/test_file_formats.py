"""Which forms of file go with what, and what sizes come of them."""

from __future__ import annotations

import pytest

from surgeon_engine.api.config.export import DESCRIPTIONS, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    COUPLED,
    SPARSE,
    PruningConfig,
    Widths,
)
from surgeon_gui.state.job import file_formats as file_forms
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import ONNX_REASON, exported

AUTOMATIC, COMPACT, STOCK, MASKED, GGUF, ONNX = Format


@pytest.mark.parametrize(
    ("structures", "possible"),
    [
        (SPARSE, {AUTOMATIC, MASKED, GGUF}),
        (BY_LAYER, {AUTOMATIC, COMPACT, MASKED}),
        (COUPLED, {AUTOMATIC, COMPACT, MASKED, GGUF, ONNX}),
    ],
)
def test_each_structure_has_its_forms(structures, possible):
    for structure in structures:
        disabled = file_forms.disabled_formats(pruning_config(structure), None)
        assert set(Format) - set(disabled) == possible
        assert all(reason.endswith(".") for reason in disabled.values())


def test_plain_files_are_for_layers_of_equal_widths():
    same = pruning_config(widths=Widths.SAME)
    assert file_forms.disabled_formats(same, None) == {}
    free = file_forms.disabled_formats(PruningConfig(), None)
    assert "The same in all layers" in free[STOCK]


def test_plain_files_are_not_for_layers_of_which_some_are_protected():
    model = model_summary()
    some = pruning_config(widths=Widths.SAME, protect=("block 0",))
    assert "some of a kind" in file_forms.disabled_formats(some, model)[STOCK]
    kind = pruning_config(widths=Widths.SAME, protect=("self_attn.o_proj",))
    assert file_forms.disabled_formats(kind, model) == {}


@pytest.mark.parametrize("form", Format)
def test_a_form_takes_only_the_number_formats_that_it_holds(form):
    disabled = file_forms.disabled_dtypes(form)
    assert set(FileDtype) - set(disabled) == set(DESCRIPTIONS[form].dtypes)


def test_a_number_format_gives_way_to_a_form_that_does_not_hold_it():
    before = {"format": GGUF, "dtype": FileDtype.Q8_0}
    after = before | {"format": ONNX}
    assert file_forms.following(before, after) == {"dtype": FileDtype.SAME}
    assert file_forms.following(before, before) == {}


def test_what_a_result_cannot_be_saved_as_has_the_engines_reason():
    result = exported("there", PruningConfig())
    reasons = file_forms.disabled_others(result)
    assert reasons[ONNX] == ONNX_REASON
    assert AUTOMATIC not in reasons
    assert file_forms.another_format(result) is GGUF


def test_a_form_of_which_the_engine_says_nothing_is_not_offered():
    result = exported("there", PruningConfig())
    fewer = [other for other in result.others if other.format is not GGUF]
    reasons = file_forms.disabled_others(
        type(result)(result.folder, 1, 1, 0.0, others=tuple(fewer))
    )
    assert reasons[GGUF]


@pytest.mark.parametrize(
    ("form", "name"), [(AUTOMATIC, "transformers"), (GGUF, "gguf")]
)
def test_a_save_goes_into_the_runs_folder_unless_told_otherwise(form, name):
    assert file_forms.folder_in("/runs/1", form) == f"/runs/1/{name}"
