"""The memory in which a model runs: its weights, its context and its logits.

    weights   the bytes of the file
    context   keys and values of each token in each block, 16 bits each
    logits    of one batch of 512 tokens, 32 bits each

Programs such as llama.cpp and vLLM reserve these at the start. Their own code, and the
rest of the machine, come on top. Removed heads make the context smaller; as the cost
decides where they are removed, all of them count here.
"""

from __future__ import annotations

from surgeon_engine.api.messages.sources import ModelSummary

_CACHE_BYTES = 2  # of a key's or a value's number
_BATCH = 512  # tokens that are computed at once
_LOGIT_BYTES = 4


def memory_to_run(weight_bytes: int, context: int, model: ModelSummary) -> int:
    """Return the bytes in which a model runs.

    Args:
        weight_bytes: of its file.
        context: tokens of prompt and answer together.
        model: the model before pruning.
    """
    return weight_bytes + memory_beside_weights(context, model)


def memory_beside_weights(context: int, model: ModelSummary) -> int:
    """Return the bytes of the context and of the logits of a batch."""
    cache = _CACHE_BYTES * model.cache_width * context
    return cache + _LOGIT_BYTES * model.vocabulary * min(_BATCH, context)
