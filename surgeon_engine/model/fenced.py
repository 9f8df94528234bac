"""Describe the models of strangers in a process of its own.

This module imports no torch: a program that only describes a model need not load it.
"""

from __future__ import annotations

from pathlib import Path

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.runtime import fence

_DESCRIBE = "surgeon_engine.model.inspect:describe_files"


def inspect_model(config: ModelConfig) -> ModelInspected:
    """Describe the model without reading its weights.

    Raises:
        ModelError: it cannot be found, read or pruned.
    """
    if config.source == DEMO:
        found: ModelInspected = fence.resolve(_DESCRIBE)(config)
        return found
    blame = fence.Blame(
        ModelError,
        Path(config.source).name,
        say("Choose another model, or download its files again."),
    )
    return fence.call(_DESCRIBE, (config,), ModelInspected, blame)
