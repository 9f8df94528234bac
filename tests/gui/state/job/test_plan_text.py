"""Sentences before a run: sizes, other ways to make as small a file, resources."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.needs import Need, Resource
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from surgeon_gui.state.job import plan_text, resource_text
from surgeon_gui.state.job.alternatives import advice
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary

CONFIG = RunConfig(
    pruning=pruning_config(sparsity=0.3), export=ExportConfig(format=Format.COMPACT)
)
# As in a file with 4.5 bits a weight.
QUANTIZED = msgspec.structs.replace(
    model_summary(), dtype="", file_bytes=int(model_summary().parameters * 4.5 / 8)
)


def test_sizes_are_those_of_the_remaining_parameters():
    parameters = goal_or_none(CONFIG, QUANTIZED).parameters
    text = plan_text.format_sizes(CONFIG, QUANTIZED)
    forms = [FileForm(dtype=x) for x in (FileDtype.FLOAT32, FileDtype.FLOAT16)]
    short = (FileDtype.Q8_0, FileDtype.Q4_K_M)
    for form in (*forms, *(FileForm(Format.GGUF, x) for x in short)):
        file = PlannedFile(QUANTIZED, form, CONFIG.pruning)
        assert numbers.size(file.bytes(QUANTIZED.parameters - parameters)) in text
    assert text.endswith(f"original takes {numbers.size(QUANTIZED.file_bytes)}.")


def test_sizes_with_zeros_are_those_of_all_parameters():
    sparse = replace(CONFIG, pruning=pruning_config(Structure.ELEMENTS, sparsity=0.3))
    text = plan_text.format_sizes(sparse, QUANTIZED)
    assert numbers.size(4 * QUANTIZED.parameters) in text


def test_size_in_8_bits_is_not_named_where_it_cannot_be_written():
    rows = replace(CONFIG, pruning=pruning_config(Structure.ROWS, sparsity=0.3))
    assert "8 bits" in plan_text.format_sizes(CONFIG, QUANTIZED)
    assert "8 bits" not in plan_text.format_sizes(rows, QUANTIZED)


def test_result_that_becomes_larger_is_announced():
    warning = plan_text.larger_forecast(CONFIG, QUANTIZED)
    assert warning.startswith("The result will be larger than the original")
    half = replace(CONFIG, pruning=pruning_config(sparsity=0.9))
    as_gguf = replace(half, export=ExportConfig(format=Format.GGUF))
    assert plan_text.larger_forecast(as_gguf, QUANTIZED) == ""
    usual = msgspec.structs.replace(
        QUANTIZED, dtype="bfloat16", file_bytes=2 * QUANTIZED.parameters
    )
    assert plan_text.larger_forecast(CONFIG, usual) == ""
    wide = replace(CONFIG, export=ExportConfig(dtype=FileDtype.FLOAT32))
    assert plan_text.larger_forecast(wide, usual) != ""


def as_gguf(dtype: FileDtype, **pruning) -> RunConfig:
    export = ExportConfig(format=Format.GGUF, dtype=dtype)
    pruning = {"sparsity": 0.3} | pruning
    return RunConfig(pruning=pruning_config(**pruning), export=export)


def test_plan_states_bits_and_widths_of_a_quantized_file():
    config = as_gguf(FileDtype.Q4_0)
    plan = plan_text.brief_sizes(config, QUANTIZED)
    goal = goal_or_none(config, QUANTIZED)
    file = PlannedFile(QUANTIZED, FileForm(Format.GGUF, FileDtype.Q4_0), config.pruning)
    # As in the report of the run: with the header and the tokenizer of the file.
    left = QUANTIZED.parameters - goal.removed
    bits = numbers.fixed(8 * file.bytes(goal.removed) / left, 2)
    assert f"4 bits (Q4_0) takes {bits} bits per weight." in plan
    multiple = file.needed_multiple
    assert multiple > 1
    assert f"multiples of {multiple}: the file would fill up" in plan
    chosen = as_gguf(FileDtype.Q4_0, width_multiple=8)
    assert "would fill up" not in plan_text.brief_sizes(chosen, QUANTIZED)
    assert plan_text.quantization(CONFIG, QUANTIZED) == ""


def test_plan_says_what_different_widths_need():
    same = replace(CONFIG, pruning=pruning_config(widths=Widths.SAME))
    for widths, has_gguf in ((Widths.FREE, True), (Widths.SAME, False)):
        model = msgspec.structs.replace(QUANTIZED, gguf_widths=widths, dtype="float16")
        plan = plan_text.brief_sizes(CONFIG, model)
        assert "the code beside it" in plan
        assert ("cannot become a GGUF file" in plan) is not has_gguf
        assert "the code beside it" not in plan_text.brief_sizes(same, model)
        rows = replace(CONFIG, pruning=pruning_config(Structure.ROWS_AND_COLUMNS))
        plan = plan_text.brief_sizes(rows, model)
        assert "the code beside it" in plan
        assert "With " not in plan  # no other setting needs less


def test_plan_explains_the_widths_of_a_gpu():
    sentence = "MLP widths become multiples of 8, which GPUs compute faster."
    assert sentence not in plan_text.brief_sizes(CONFIG, QUANTIZED)
    assert sentence in plan_text.brief_sizes(CONFIG, QUANTIZED, on_cuda=True)
    masked = replace(CONFIG, export=ExportConfig(format=Format.MASKED))
    assert sentence in plan_text.brief_sizes(masked, QUANTIZED, on_cuda=True)
    needs_more = as_gguf(FileDtype.Q4_0)
    for config in (needs_more, as_gguf(FileDtype.FLOAT16, width_multiple=4)):
        assert sentence not in plan_text.brief_sizes(config, QUANTIZED, on_cuda=True)


def test_plan_names_the_number_format_where_its_blocks_are_as_long_as_those_of_a_gpu(
    monkeypatch,
):
    monkeypatch.setattr(PlannedFile, "needed_multiple", 8)
    for on_cuda in (False, True):
        plan = plan_text.brief_sizes(
            as_gguf(FileDtype.Q4_0, shots=7), QUANTIZED, on_cuda=on_cuda
        )
        assert "multiples of 8: the file would fill up" in plan


def test_plan_states_what_is_removed_as_a_whole():
    config = RunConfig(pruning=pruning_config(dropped_blocks=2, dropped_sublayers=1))
    sentence = "Removed first, as a whole: 2 blocks and 1 attention or MLP."
    assert sentence in plan_text.describe_goal(config, QUANTIZED)
    config = RunConfig(pruning=pruning_config(dropped_blocks=1))
    assert "Removed first, as a whole: 1 block." in plan_text.describe_goal(
        config, QUANTIZED
    )
    assert "as a whole" not in plan_text.describe_goal(CONFIG, QUANTIZED)


def test_plan_says_that_a_gguf_file_has_one_width():
    gguf = replace(CONFIG, export=ExportConfig(format=Format.GGUF))
    model = msgspec.structs.replace(model_summary(), gguf_widths=Widths.SAME)
    assert "one width for all" in plan_text.describe_goal(gguf, model)
    assert "one width" not in plan_text.describe_goal(CONFIG, model)


def test_format_like_the_original_is_named_where_it_is_chosen():
    like = replace(CONFIG, export=ExportConfig())
    chosen = plan_text.chosen_format(like, QUANTIZED)
    label = choice_label(file_form(like, QUANTIZED).dtype)[0]
    assert chosen == f"For this model, that is GGUF for llama.cpp in {label}."
    assert label in plan_text.brief_sizes(like, QUANTIZED)
    assert plan_text.larger_forecast(like, QUANTIZED) == ""
    plain = msgspec.structs.replace(QUANTIZED, dtype="float16")
    assert plan_text.chosen_format(like, plain) == ""
    assert plan_text.chosen_format(CONFIG, QUANTIZED) == ""


def test_note_of_the_export_says_how_to_quantize_alone():
    hint = "To quantize without pruning, choose a size of 0 %."
    assert plan_text.quantized_note(as_gguf(FileDtype.Q4_0), QUANTIZED).endswith(hint)
    alone = as_gguf(FileDtype.Q4_0, sparsity=0.0)
    assert hint not in plan_text.quantized_note(alone, QUANTIZED)
    assert plan_text.quantized_note(CONFIG, QUANTIZED) == ""


def test_target_of_zero_only_writes_the_model():
    config = as_gguf(FileDtype.Q4_0, sparsity=0.0)
    assert plan_text.brief_plan(config.pruning) == "Write without pruning"
    text = plan_text.describe_goal(config, QUANTIZED)
    assert "nothing is removed. The run writes the model in 4 bits (Q4_0)" in text
    assert "multiples" not in text


def test_fallbacks_are_a_warning():
    narrow = as_gguf(FileDtype.Q4_K_M, width_multiple=8)
    file = PlannedFile(
        QUANTIZED, FileForm(Format.GGUF, FileDtype.Q4_K_M), narrow.pruning
    )
    count = sum(file.fallbacks.values())
    assert count > 1
    warning = plan_text.fallback_warning(narrow, QUANTIZED)
    assert f"the rows of {count} matrices do not fill the blocks" in warning
    assert warning.startswith("In 4 bits (Q4_K_M)")
    assert all(kind in warning for kind in file.fallbacks)
    assert plan_text.brief_sizes(narrow, QUANTIZED).endswith(warning)
    assert plan_text.fallback_warning(CONFIG, QUANTIZED) == ""


PLAIN = model_summary()


def job_of(sparsity=0.3, structure=Structure.HEADS_AND_NEURONS, **export):
    pruning = pruning_config(structure, sparsity=sparsity)
    return RunConfig(pruning=pruning, export=ExportConfig(**export))


def test_quantizing_is_advised_where_it_makes_as_small_a_file():
    text = advice(job_of(), PLAIN)
    size = PlannedFile(
        PLAIN, FileForm(Format.GGUF, FileDtype.Q8_0), pruning_config(sparsity=0.0)
    ).bytes(0)
    assert text.startswith("If only the size of the file counts, quantize instead")
    assert f"{choice_label(FileDtype.Q8_0)[0]} takes {numbers.size(size)}" in text


def test_longest_number_format_that_is_as_small_is_advised():
    # The rows of this model fill no blocks of Q6_K: it would be as large as Q8_0.
    text = advice(job_of(0.1, format=Format.GGUF, dtype=FileDtype.Q8_0), PLAIN)
    assert choice_label(FileDtype.Q5_K_M)[0] in text


def test_pruning_on_top_of_few_bits_has_no_alternative():
    text = advice(job_of(0.3, format=Format.GGUF, dtype=FileDtype.Q4_0), PLAIN)
    assert text.startswith("Quantizing alone does not make it as small")


@pytest.mark.parametrize(
    "config",
    [job_of(0.0), job_of(structure=Structure.ELEMENTS), job_of(format=Format.MASKED)],
)
def test_nothing_is_advised_where_the_file_keeps_its_size(config):
    assert advice(config, PLAIN) == ""


def test_nothing_is_advised_for_a_model_that_gguf_files_of_this_kind_cannot_hold():
    other = msgspec.structs.replace(PLAIN, gguf_widths=None)
    assert advice(job_of(), other) == ""


def test_unknown_free_space_is_not_said_to_fit():
    """The free disk space of another computer is not known."""
    assert not resource_text.has_light(Need(Resource.DISK, 5e6, None))
    assert resource_text.has_light(Need(Resource.DISK, 5e6, 9e6))
