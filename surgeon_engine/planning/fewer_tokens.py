"""A model with fewer tokens, as all other planning takes it."""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.target import PrunableShare
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.constants import HEADER_OPTIONS
from surgeon_engine.planning.file_form import similar_dtype
from surgeon_engine.planning.planned_file import FileForm, planned_file


def with_fewer_tokens(model: ModelSummary, tokens: int) -> ModelSummary:
    """Return the summary of a model of which so many tokens are left.

    The bytes of its files are those that its original would have with these tokens, in
    number formats that are as long.

    Args:
        model: the original; its `token_parameters` say what a token takes.
        tokens: the number of kept rows of its embedding.
    """
    removed = max(0, model.vocabulary - tokens)
    if not removed or not model.token_parameters:
        return model
    options = min(HEADER_OPTIONS, model.tokenizer_bytes)
    of_tokens = (model.tokenizer_bytes - options) * tokens // model.vocabulary
    fewer = msgspec.structs.replace(
        model,
        vocabulary=tokens,
        parameters=model.parameters - removed * model.token_parameters,
        tokenizer_bytes=options + of_tokens,
    )
    form = FileForm(Format.AUTOMATIC, FileDtype(model.dtype or FileDtype.BFLOAT16))
    if model.is_gguf or not model.dtype:
        form = FileForm(Format.GGUF, similar_dtype(model))
    unpruned = PruningConfig(target=PrunableShare(0.0))
    before, after = (
        planned_file(each, form, unpruned).bytes(0) for each in (model, fewer)
    )
    file_bytes = model.file_bytes * after // before
    return msgspec.structs.replace(fewer, file_bytes=file_bytes)
