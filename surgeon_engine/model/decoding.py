"""Decode token by token, with any version of transformers."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import DynamicCache, PreTrainedModel


def with_cache(model: PreTrainedModel) -> dict[str, Any]:
    """Return an empty cache as a keyword argument of the model.

    transformers renamed the argument in version 5.
    """
    parameters = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in parameters else "past_key_values"
    return {name: DynamicCache(config=model.config.get_text_config())}


def last_logits_alone(model: PreTrainedModel) -> dict[str, Any]:
    """Return the keyword argument for the logits of the last token only.

    It is empty for a model that does not support it.
    """
    parameters = inspect.signature(model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
