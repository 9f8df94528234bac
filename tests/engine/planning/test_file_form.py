"""The file of a run has the form of the original."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.file_form import (
    SAME_SIZE,
    export_form,
    file_form,
    with_file_form,
)
from surgeon_engine.planning.formats import check_format
from surgeon_engine.planning.planned_file import (
    FileForm,
    planned_file,
    quantized_formats,
)
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.mixtures import mixture_summary

JOB = RunConfig(pruning=pruning_config(sparsity=0.3))
PLAIN = msgspec.structs.replace(model_summary(), dtype="bfloat16")
IN_GGUF = msgspec.structs.replace(PLAIN, source="/models/a.GGUF")


def quantized(bits: float, **facts):
    """Return a model whose files have so many bits a weight."""
    size = int(PLAIN.parameters * bits / 8)
    return msgspec.structs.replace(PLAIN, dtype="", file_bytes=size, **facts)


def test_folder_of_16_bits_stays_one():
    assert file_form(JOB, PLAIN) == FileForm(Format.AUTOMATIC, FileDtype.BFLOAT16)
    assert with_file_form(JOB, PLAIN) is JOB


def test_gguf_file_of_16_bits_stays_one():
    assert file_form(JOB, IN_GGUF) == FileForm(Format.GGUF, FileDtype.BFLOAT16)
    export = with_file_form(JOB, IN_GGUF).export
    assert (export.format, export.dtype) == (Format.GGUF, FileDtype.SAME)


@pytest.mark.parametrize("bits", [5.6, 6.8, 9.0])
def test_weights_of_few_bits_get_the_longest_format_that_is_no_larger(bits):
    model = quantized(bits)
    form = file_form(JOB, model)
    unpruned = pruning_config(sparsity=0.0)

    def size(dtype):
        return planned_file(model, FileForm(Format.GGUF, dtype), unpruned).bytes(0)

    dtypes = [x for x in FileDtype if x.value.startswith(("q", "iq"))]
    small = [x for x in dtypes if size(x) <= SAME_SIZE * model.file_bytes]
    assert form.format is Format.GGUF
    assert small
    assert size(form.dtype) == max(map(size, small))
    chosen = with_file_form(JOB, model).export
    assert (chosen.format, chosen.dtype) == (form.format, form.dtype)


def test_mxfp4_stays_where_experts_have_it():
    dense = quantized(9.0, has_mxfp4=True)
    assert file_form(JOB, dense) == file_form(JOB, quantized(9.0))
    mixture = msgspec.structs.replace(dense, coupled=mixture_summary().coupled)
    assert file_form(JOB, mixture).dtype is FileDtype.MXFP4_MOE
    for model in (dense, mixture):
        assert (FileDtype.MXFP4_MOE in quantized_formats(model)) is bool(model.experts)
        check_format(with_file_form(JOB, model), model)


def test_shortest_format_is_chosen_where_all_are_larger():
    assert file_form(JOB, quantized(2.0)).dtype is FileDtype.Q4_0


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"structure": Structure.ROWS}, {}),
        ({"structure": Structure.N_M}, {}),
        ({}, {"gguf_widths": None}),
        ({}, {"tokenizer_bytes": 0}),
        ({}, {"other_parameters": 1}),
        ({"dropped_sublayers": 1}, {"gguf_widths": Widths.SAME}),
        ({"protect": ("block 0",)}, {"gguf_widths": Widths.SAME}),
    ],
)
def test_where_no_gguf_file_is_possible_transformers_loads_the_result(settings, facts):
    job = replace(JOB, pruning=pruning_config(sparsity=0.3, **settings))
    model = quantized(5.0, **facts)
    assert file_form(job, model) == FileForm(Format.AUTOMATIC, FileDtype.BFLOAT16)


def test_number_format_of_few_bits_makes_a_gguf_file():
    export = ExportConfig(dtype=FileDtype.Q4_K_M)
    job = replace(JOB, export=export)
    assert file_form(job, PLAIN) == FileForm(Format.GGUF, FileDtype.Q4_K_M)
    assert with_file_form(job, PLAIN).export.format is Format.GGUF


def test_what_is_set_stays():
    model = quantized(5.0, source="/models/a.gguf")
    for export in (
        ExportConfig(format=Format.COMPACT),
        ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0),
        ExportConfig(format=Format.GGUF, dtype=FileDtype.FLOAT32),
    ):
        assert with_file_form(replace(JOB, export=export), model).export == export
        assert export_form(export, JOB, model) == export
