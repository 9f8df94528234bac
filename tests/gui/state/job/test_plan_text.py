"""The sizes of the result beside that of the original, before a run."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.job import plan_text
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.text import numbers
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary

CONFIG = RunConfig(pruning=pruning_config(sparsity=0.3))
# As in a file with 4.5 bits a weight.
QUANTISED = msgspec.structs.replace(
    model_summary(), dtype="", file_bytes=int(model_summary().parameters * 4.5 / 8)
)


def test_sizes_are_those_of_the_remaining_parameters():
    parameters = goal_or_none(CONFIG, QUANTISED).parameters
    text = plan_text.format_sizes(CONFIG, QUANTISED)
    for size in (4 * parameters, 2 * parameters, int(parameters * 34 / 32)):
        assert numbers.size(size) in text
    assert text.endswith(f"original takes {numbers.size(QUANTISED.file_bytes)}.")


def test_sizes_with_zeros_are_those_of_all_parameters():
    sparse = replace(CONFIG, pruning=pruning_config(Structure.ELEMENTS, sparsity=0.3))
    text = plan_text.format_sizes(sparse, QUANTISED)
    assert numbers.size(4 * QUANTISED.parameters) in text


def test_size_in_8_bits_is_not_named_where_it_cannot_be_written():
    rows = replace(CONFIG, pruning=pruning_config(Structure.ROWS, sparsity=0.3))
    assert "8 bits" in plan_text.format_sizes(CONFIG, QUANTISED)
    assert "8 bits" not in plan_text.format_sizes(rows, QUANTISED)


def test_result_that_becomes_larger_is_announced():
    warning = plan_text.larger_forecast(CONFIG, QUANTISED)
    assert warning.startswith("The result will be larger than the original")
    half = replace(CONFIG, pruning=pruning_config(sparsity=0.9))
    as_gguf = replace(half, export=ExportConfig(format=Format.GGUF))
    assert plan_text.larger_forecast(as_gguf, QUANTISED) == ""
    usual = msgspec.structs.replace(
        QUANTISED, dtype="bfloat16", file_bytes=2 * QUANTISED.parameters
    )
    assert plan_text.larger_forecast(CONFIG, usual) == ""
    wide = replace(CONFIG, export=ExportConfig(dtype=FileDtype.FLOAT32))
    assert plan_text.larger_forecast(wide, usual) != ""
