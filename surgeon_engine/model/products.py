"""Matrix products of a model with 16-bit inputs, where that is fast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel

from surgeon_engine.model.families import family_of
from surgeon_engine.runtime import devices


def fast_products(
    model: PreTrainedModel, dtype: torch.dtype | None = None
) -> AbstractContextManager[object]:
    """Return the context of `devices.fast_products` for a model, if it runs in it.

    `dtype` is the model's own number format; None: the present one of its weights.
    """
    dtype = dtype or model.dtype
    family = family_of(model.config.get_text_config().model_type)
    if family.needs_exact_products and dtype == torch.float32:
        return nullcontext()
    return devices.fast_products(model.device, dtype)
