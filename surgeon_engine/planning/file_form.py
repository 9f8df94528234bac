"""Choose the form of a run's file: the form of the original, unless it is set.

A GGUF file becomes a GGUF file, and weights of few bits are written in a number format
of about as many, which only GGUF files hold. Where Surgeon writes no GGUF file of a
model, or of a structure, the result is a checkpoint for transformers.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.export import (
    FOR_ANY_MODEL,
    QUANTIZED,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import BY_LAYER, SPARSE, PruningConfig, Widths
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.constants import BYTES
from surgeon_engine.planning.planned_file import FileForm, planned_file

# Files count as equally large up to this ratio of their sizes: headers differ.
SAME_SIZE = 1.02


def file_form(config: RunConfig, model: ModelSummary) -> FileForm:
    """Return the form in which a run writes its model.

    The format stays AUTOMATIC if transformers is to load the file, and the result
    decides which of its formats is smallest.
    """
    wanted = config.export
    format = wanted.format
    is_short = wanted.dtype in QUANTIZED  # only GGUF files hold such numbers
    if format is Format.AUTOMATIC and (
        is_short or _is_gguf_by_default(config.pruning, model)
    ):
        format = Format.GGUF
    is_open = wanted.dtype is FileDtype.SAME
    if is_open and format is Format.GGUF and not model.dtype:
        return FileForm(format, similar_dtype(model))
    dtype = number_format(wanted.dtype, config.model.dtype, model.dtype)
    return FileForm(format, dtype)


def with_file_form(config: RunConfig, model: ModelSummary) -> RunConfig:
    """Return the job with an explicit GGUF format, if its file gets one."""
    form, wanted = file_form(config, model), config.export
    if form.format is not Format.GGUF:
        return config
    dtype = form.dtype if form.dtype in QUANTIZED else wanted.dtype
    if (form.format, dtype) == (wanted.format, wanted.dtype):
        return config
    return replace(config, export=replace(wanted, format=form.format, dtype=dtype))


def export_form(
    wanted: ExportConfig, config: RunConfig, model: ModelSummary
) -> ExportConfig:
    """Return the settings of a further export of a run with an explicit GGUF format."""
    return with_file_form(replace(config, export=wanted), model).export


def number_format(wanted: FileDtype, pruned: str, stored: str) -> FileDtype:
    """Resolve the number format of a file of at least 16 bits.

    `pruned` is the format in which the model was pruned. `stored` is the format of the
    original's files; empty: they are quantized. SAME is the shorter one of both; for a
    quantized original at most 16 bits. These are bfloat16: activations of some models,
    such as Gemma 3, are beyond the range of float16.
    """
    if wanted is not FileDtype.SAME:
        return wanted
    either = (FileDtype(pruned), FileDtype(stored or FileDtype.BFLOAT16))
    return min(either, key=BYTES.__getitem__)


def _is_gguf_by_default(pruning: PruningConfig, model: ModelSummary) -> bool:
    """Return whether a file like the original's is a GGUF file, and can be one."""
    if model.gguf_widths is None or not model.tokenizer_bytes:
        return False
    # Zeros do not make these files smaller, and numbers of few bits do not keep them.
    if pruning.structure in (*BY_LAYER, *SPARSE):
        return False
    # Only files of ragged widths hold blocks without an attention or MLP, and whole
    # blocks beside pruned ones.
    is_ragged = bool(pruning.sublayers_to_drop or pruning.protect)
    if is_ragged and model.gguf_widths is Widths.SAME:
        return False
    # A GGUF file has the language model alone.
    return model.is_gguf or not (model.dtype or model.other_parameters)


def similar_dtype(model: ModelSummary) -> FileDtype:
    """Return the longest number format in which the model is as small as its files.

    It is the shortest one if the model is larger in all of them. Experts in MXFP4 stay
    in it: experts that a run does not change, and that keep all neurons, remain as
    they are.
    """
    if model.has_mxfp4_experts:
        return FileDtype.MXFP4_MOE
    most = SAME_SIZE * model.file_bytes
    unpruned = PruningConfig(sparsity=0.0)
    for dtype in FOR_ANY_MODEL:
        file = planned_file(model, FileForm(Format.GGUF, dtype), unpruned)
        if file.bytes(0) <= most:
            return dtype
    return FOR_ANY_MODEL[-1]
