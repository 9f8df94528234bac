"""The vocabulary that a job leaves, and a model with fewer tokens."""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.constants import HEADER_OPTIONS

TYPICAL_SHARE = 2 / 3  # share of tokens to keep where nothing else decides
_MIN_TOKENS = 256  # byte tokens, which always stay


def planned_tokens(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return how many tokens a job keeps; all, if the run chooses the number."""
    if pruning.tokens_to_keep is not None:
        return min(pruning.tokens_to_keep, model.vocabulary)
    if pruning.removes_tokens and not pruning.chooses_tokens:
        return typical_tokens(model.vocabulary)
    return model.vocabulary


def check_fewer_tokens(tokens: int | None, model: ModelSummary) -> None:
    """Check that a number of tokens to keep, if one is set, is below the model's.

    Raises:
        ConfigError: It is not.
    """
    if tokens is not None and tokens >= model.vocabulary:
        raise ConfigError(
            "The model has {most:,} tokens, and {tokens:,} are to be kept: none would "
            "be removed.",
            "Keep fewer tokens, or the whole vocabulary.",
            settings=("vocabulary_tokens",),
            most=model.vocabulary,
            tokens=tokens,
        )


def typical_tokens(tokens: int) -> int:
    """Return how many tokens stay if there is nothing to compare their costs with."""
    return round(TYPICAL_SHARE * tokens)


def parameters_to_choose(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return the parameters of the tokens that a run may choose to remove."""
    if not pruning.chooses_tokens:
        return 0
    return max(0, model.vocabulary - _MIN_TOKENS) * model.token_parameters


def with_fewer_tokens(model: ModelSummary, tokens: int) -> ModelSummary:
    """Return the summary of a model with so many tokens left.

    The bytes of its files stay as they are. Its `token_parameters` say what a token
    takes.
    """
    removed = max(0, model.vocabulary - tokens)
    if not removed or not model.token_parameters:
        return model
    options = min(HEADER_OPTIONS, model.tokenizer_bytes)
    of_tokens = (model.tokenizer_bytes - options) * tokens // model.vocabulary
    return msgspec.structs.replace(
        model,
        vocabulary=tokens,
        parameters=model.parameters - removed * model.token_parameters,
        tokenizer_bytes=options + of_tokens,
    )
